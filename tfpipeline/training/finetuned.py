"""A checkpoint that another program has fine-tuned, ready for evaluation, export and prediction."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tfpipeline import checkpoints, config, tasks
from tfpipeline.data import Example, Rows, TokenCache
from tfpipeline.data.cache import See
from tfpipeline.errors import UserError
from tfpipeline.models import EncoderConfig, TextModel
from tfpipeline.paths import AnyPath
from tfpipeline.text import TokenizerOptions
from tfpipeline.training.model_settings import check_positions, tokenizer_options
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.trained_model import TrainedModel


class FineTunedCheckpoint(TrainedModel):
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
    reports = None

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
        for field in ("name", *own.fixed_by_head):
            if getattr(options, field) != getattr(own, field):
                raise UserError(f"task.{field} of {self.name} is fixed by its head; do not change it")
        read = self.truncation.text_tokens(self.has_joint_pairs)
        task = self._task.with_options(options).limit_length(read)
        self._task = task.with_tokenizer(self.vocabulary, self.tokenizer_options)
        self._task.check_encoder(self._checkpoint.config)

    @functools.cached_property
    def config(self) -> RunConfig:
        """The settings in the form of a run file."""
        return self._config

    @functools.cached_property
    def task(self) -> tasks.Task:
        """The task of the checkpoint's head."""
        return self._task

    @functools.cached_property
    def model_config(self) -> EncoderConfig:
        """The encoder's architecture."""
        return self._checkpoint.config

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens, ordered by ID."""
        return self._checkpoint.vocabulary

    @property
    def tokenizer_options(self) -> TokenizerOptions:
        """The checkpoint's own options, overridden by the settings."""
        return tokenizer_options(self._config, self._checkpoint)

    @property
    def text_identity(self) -> str:
        """Everything that determines the tokens of a text, apart from the text and the truncation."""
        return "\n".join([*self._checkpoint.vocabulary, str(self.tokenizer_options)])

    def has_weights(self, weights: str) -> bool:
        """Whether weights of this name exist. The checkpoint's own weights are called "best"."""
        return weights == "best"

    def set_weights(self, weights: str, model: TextModel) -> None:
        """Copy the checkpoint's weights into a model."""
        if not self.has_weights(weights):
            raise UserError(f'{self.name} is a checkpoint: it has no "{weights}" weights, only its own')
        model.encoder.assign(self._checkpoint.tensors)
        for name, variable in self._task.head_variables(model.head).items():
            variable.assign(self._checkpoint.heads[name])

    def has_split(self, split: str) -> bool:
        """Always False: a checkpoint has no rows."""
        return False

    def examples(self, split: str) -> Rows:
        """A checkpoint has none: raises UserError."""
        raise self._no_rows()

    def token_cache(self, split: str, examples: Sequence[Example], see: See | None = None) -> TokenCache:
        """A checkpoint has none: raises UserError."""
        raise self._no_rows()

    def _no_rows(self) -> UserError:
        return UserError(f"{self.name} is a checkpoint without rows of its own; give a data file with --data")

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
