"""An adapter on its base: a trained model like a run's."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpipeline import checkpoints, config
from tfpipeline.models import EncoderConfig, TextModel, neutral
from tfpipeline.paths import AnyPath
from tfpipeline.text import TokenizerOptions
from tfpipeline.training import adapter_file
from tfpipeline.training.finetuned import task_name
from tfpipeline.training.run_as_checkpoint import load_checkpoint
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.without_rows import ModelWithoutRows


class AdaptedCheckpoint(ModelWithoutRows):
    """An ``adapter.safetensors`` on the checkpoint that it was trained on.

    Args:
        source: the file, or its contents.
        base: the checkpoint, or a run; by default the one that the file names.
        overrides: settings, in the form of ``--set``.
    Raises:
        UserError: the file or the checkpoint cannot be read, the file is of another base, or a setting does
            not fit its head.
    """

    stages = (("best", "with the adapter"),)
    kind = "an adapter"

    def __init__(
        self,
        source: AnyPath | adapter_file.AdapterFile,
        base: AnyPath | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        adapter = source if isinstance(source, adapter_file.AdapterFile) else adapter_file.read(source)
        adapter.check_task(task_name(overrides) or adapter.settings["task"]["name"])
        own = adapter.config
        self.adapter, self.name = adapter, adapter.name
        self._config = config.resolve(config.settings(own), RunConfig, overrides, source=adapter.name)
        options = self._config.task
        task = adapter.task(options)
        self.require_fixed(*own.task.fixed_by_head, own=own.task)
        self._checkpoint = load_checkpoint(adapter.base.name if base is None else base, head=False)
        adapter.base.check(self._checkpoint, adapter.name)
        self.path = self._checkpoint.source
        task = task.limit_length(self.truncation.text_tokens(self.has_joint_pairs))
        self._task = task.with_tokenizer(self.vocabulary, self.tokenizer_options)

    @functools.cached_property
    def model_config(self) -> EncoderConfig:
        """The base's architecture, with the dropout rates of the adapter's training."""
        return self.adapter.base.config

    @functools.cached_property
    def tokenizer_options(self) -> TokenizerOptions:
        """How texts become tokens, as in the adapter's training."""
        return self.adapter.tokenizer_options

    def validation_scores(self, weights: str) -> Mapping[str, float]:
        """The scores of the adapter's training."""
        return self.adapter.scores if self.has_weights(weights) else {}

    def set_weights(self, weights: str, model: TextModel) -> None:
        """Copy the weights of base, adaptation and head into a model."""
        self.require_weights(weights)
        model.encoder.assign(self._checkpoint.tensors)
        assign(model, self.adapter.tensors, self.name)

    def facts(self) -> dict[str, str]:
        """The file, its task, its method and its base."""
        return {
            "path": self.name,
            "task": self._config.task.name,
            "state": f"an adapter ({self.adapter.method}) on {self.adapter.base.name}",
            "longest text": f"{self._config.text.max_length} tokens",
        }

    @property
    def base(self) -> checkpoints.Checkpoint:
        """The checkpoint of the base."""
        return self._checkpoint


def variables_of(model: TextModel) -> dict[str, Any]:
    """What an adapter stores of a model: the variables of adaptation and head, by path."""
    return {variable.path: variable for variable in [*model.adaptation.variables, *model.head.weights]}


def assign(model: TextModel, tensors: Mapping[str, np.ndarray], name: str) -> None:
    """Set the variables of adaptation and head.

    Args:
        model: with the adaptation.
        tensors: by the paths of the variables.
        name: of the adapter, for errors.
    Raises:
        UserError: names or shapes differ; all of them are listed, and nothing is set.
    """
    variables = variables_of(model)
    neutral.check(
        {path: tuple(variable.shape) for path, variable in variables.items()},
        {path: array.shape for path, array in tensors.items()},
        f"{name} does not fit the model that its metadata describes",
    )
    for path, variable in variables.items():
        variable.assign(tensors[path])
