"""A checkpoint that another program has fine-tuned, ready for evaluation, export and prediction."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tfpipeline import checkpoints, config, tasks
from tfpipeline.models import EncoderConfig, TextModel
from tfpipeline.paths import AnyPath
from tfpipeline.text import TokenizerOptions
from tfpipeline.training.model_settings import check_positions, tokenizer_options
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.without_rows import ModelWithoutRows


class FineTunedCheckpoint(ModelWithoutRows):
    """A checkpoint with a head that one of the tasks supports.

    Args:
        source: a checkpoint, see :func:`tfpipeline.checkpoints.load`.
        overrides: settings that its files do not contain, such as ``data.text=review`` or
            ``text.max_length=128``, in the form of ``--set``.
        checkpoint: the loaded checkpoint, if the caller has read it already.
    Raises:
        UserError: the checkpoint cannot be read, has no head that a task supports, or has fewer positions
            than ``text.max_length``.
    """

    stages = (("best", "fine-tuned checkpoint"),)
    kind = "a checkpoint"

    def __init__(
        self,
        source: AnyPath,
        overrides: Sequence[str] = (),
        checkpoint: checkpoints.Checkpoint | None = None,
    ) -> None:
        self._checkpoint = checkpoint or checkpoints.load(source)
        self.path = self._checkpoint.source
        self.name = str(source)
        checkpoints.say_notes(self._checkpoint)
        self._task = tasks.of_checkpoint(self._checkpoint, task_name(overrides))
        positions, sentence = self._checkpoint.config.max_position_embeddings, self._checkpoint.sentence
        settings = {
            "checkpoint": self.name,
            "output": self.name,
            "data": {"train": self.name, **self._task.options.checkpoint_data},
            "text": {"max_length": positions if sentence is None else sentence.max_length},
            "task": self._task.options.model_dump(mode="json"),
        }
        self._config = config.resolve(settings, RunConfig, overrides, source=self.name)
        check_positions(self._config, self._checkpoint.config)
        options, own = self._config.task, self._task.options
        self.require_fixed("name", *own.fixed_by_head, own=own)
        read = self.truncation.text_tokens(self.has_joint_pairs)
        task = self._task.with_options(options).limit_length(read)
        self._task = task.with_tokenizer(self.vocabulary, self.tokenizer_options)
        self._task.check_encoder(self._checkpoint.config)

    @functools.cached_property
    def model_config(self) -> EncoderConfig:
        """The encoder's architecture."""
        return self._checkpoint.config

    @property
    def tokenizer_options(self) -> TokenizerOptions:
        """The checkpoint's own options, overridden by the settings."""
        return tokenizer_options(self._config, self._checkpoint)

    def set_weights(self, weights: str, model: TextModel) -> None:
        """Copy the checkpoint's weights into a model."""
        self.require_weights(weights)
        model.encoder.assign(self._checkpoint.tensors)
        for name, variable in self._task.head_variables(model.head).items():
            variable.assign(self._checkpoint.heads[name])

    def facts(self) -> dict[str, str]:
        """The checkpoint's path, its task and the longest text that it reads."""
        return {
            "path": str(self.path),
            "task": self._config.task.name,
            "state": f"a fine-tuned checkpoint ({self._checkpoint.format})",
            "longest text": f"{self._config.text.max_length} tokens",
        }


def task_name(overrides: Sequence[str]) -> str | None:
    """The name of the task that users ask for; None if they leave it to the checkpoint's head."""
    named = (override.partition("=") for override in overrides)
    return next((value for field, _, value in named if field == "task.name"), None)
