"""A model of many adapters on one encoder, as it is served.

A adapters, B rows. Each row is computed with the changes and the head of its own adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpipeline.data.text_names import joined
from tfpipeline.models.architectures import form_of_adapters
from tfpipeline.models.inputs import ADAPTERS, by_text
from tfpipeline.models.layer_changes import Changes
from tfpipeline.models.text_model import TextModel


class Adapter(NamedTuple):
    """What one adapter has learnt.

    Attributes:
        changes: of the encoder's layers.
        head: path of a variable of the head -> its value, float32.
    """

    changes: Changes
    head: Mapping[str, np.ndarray]


class AdaptedModel:
    """Maps the encoder's inputs, and the number of each row's adapter, to the outputs of the rows' heads.

    Outputs of heads of different widths are padded to the widest (``Head.row_padding``).

    Args:
        model: with the base's weights; its head is of the kind that all adapters have.
        adapters: at least one.

    Attributes:
        limits: as :attr:`TextModel.limits`.
        variables: the weights that it reads, each once.
    """

    def __init__(self, model: TextModel, adapters: Sequence[Adapter]) -> None:
        self._model, self.limits = model, model.limits
        self._encoder = form_of_adapters(model.encoder, [adapter.changes for adapter in adapters])
        self._head = _HeadByRow(model.head, [adapter.head for adapter in adapters])
        self.variables = [*self._encoder.variables, *self._head.weights.values()]

    def __call__(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """The outputs, without dropout.

        Args:
            inputs: as of :class:`TextModel`, and ``adapters``, int32 [B].
            training: not supported.
        """
        if training:
            raise ValueError("a model for serving cannot be trained")
        rows = {ADAPTERS: inputs[ADAPTERS]}
        outputs = {
            text: self._model._run(self._encoder, {**own, **rows}, None, self._head)
            for text, own in by_text(inputs).items()
        }
        return joined(outputs)


class _HeadByRow:
    """The heads of all adapters in the place of one head."""

    takes_noise, takes_inputs = False, True

    def __init__(self, head: Any, heads: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._head, self.merges = head, head.merges
        self.weights = {}
        for path in heads[0]:
            padding = head.row_padding.get(path.rpartition("/")[2], 0.0)
            stacked = np.stack(_padded([own[path] for own in heads], padding))
            self.weights[path] = tf.Variable(stacked, trainable=False, name=path.replace("/", "_"))

    def __call__(self, encoded: Mapping[str, Any], mask: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        own = {path: tf.gather(table, inputs[ADAPTERS]) for path, table in self.weights.items()}
        outputs: dict[str, Any] = self._head.call_by_row(encoded, mask, own)
        return outputs


def _padded(arrays: Sequence[np.ndarray], value: float) -> list[np.ndarray]:
    """Arrays that are padded on their last axis to the widest."""
    widest = max(array.shape[-1] for array in arrays)
    return [
        np.pad(
            array,
            [*[(0, 0)] * (array.ndim - 1), (0, widest - array.shape[-1])],
            constant_values=value,
        ).astype(np.float32)
        for array in arrays
    ]
