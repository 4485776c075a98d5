"""The path from texts to predictions of a model with many adapters: each request names them row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.models.adapted_model import AdaptedModel
from tfpipeline.models.inputs import ADAPTERS
from tfpipeline.models.name_table import NameTable
from tfpipeline.tasks import Input, Task
from tfpipeline.training.prediction_graph import PredictionGraph, Tensors, TextInputs

ADAPTER = "adapter"  # the input of requests, string [B]


class AdapterGraph(PredictionGraph):
    """A :class:`PredictionGraph` whose requests have the input ``adapter``, string [B].

    Args:
        model: of all adapters.
        task: of :meth:`tfpipeline.tasks.Task.by_row`.
        text_inputs: how texts become the model's inputs.
        names: of the adapters, in the model's order.
    """

    def __init__(
        self, model: AdaptedModel, task: Task, text_inputs: TextInputs, names: Sequence[str]
    ) -> None:
        super().__init__(model, task, text_inputs)
        self._table = NameTable(names)
        self.row_inputs = {ADAPTER: Input(examples=tuple(names), choices=tuple(names))}

    def from_texts(self, texts: Mapping[str, Any]) -> Tensors:
        """See :meth:`PredictionGraph.from_texts`."""
        own = {name: values for name, values in texts.items() if name != ADAPTER}
        return {**self.text_inputs(own), **self._numbers(texts[ADAPTER])}

    def from_ids(self, *tokens: Any, adapter: Any = None, **others: Any) -> Tensors:
        """See :meth:`PredictionGraph.from_ids`; ``adapter``, string [B], names the adapters."""
        return {**super().from_ids(*tokens, **others), **self._numbers(adapter)}

    def _numbers(self, names: tf.Tensor) -> Tensors:
        return {ADAPTERS: self._table(names)[0]}
