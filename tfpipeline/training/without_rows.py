"""A trained model that is no run: it has one set of weights, and no rows of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tfpipeline import checkpoints, tasks
from tfpipeline.data import Example, Rows, TokenCache
from tfpipeline.data.cache import See
from tfpipeline.errors import SettingsError, UserError
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.trained_model import TrainedModel


class ModelWithoutRows(TrainedModel):
    """A model of a checkpoint's encoder; the constructor sets the attributes that begin with ``_``.

    Attributes:
        kind: what it is, for messages.
    """

    reports = None
    kind: ClassVar[str]
    _checkpoint: checkpoints.Checkpoint
    _config: RunConfig
    _task: tasks.Task

    @property
    def config(self) -> RunConfig:
        """The settings in the form of a run file."""
        return self._config

    @property
    def task(self) -> tasks.Task:
        """The task of its head."""
        return self._task

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens, ordered by ID."""
        return self._checkpoint.vocabulary

    @property
    def text_identity(self) -> str:
        """Everything that determines the tokens of a text, apart from the text and the truncation."""
        return "\n".join([*self.vocabulary, str(self.tokenizer_options)])

    def require_fixed(self, *fields: str, own: Any) -> None:
        """Refuse settings of the task that contradict its head.

        Args:
            fields: of the task's options, which the head determines.
            own: the head's own options.
        Raises:
            SettingsError: one of them differs.
        """
        for field in fields:
            if getattr(self._config.task, field) != getattr(own, field):
                raise SettingsError(f"task.{field} of {self.name} is fixed by its head; do not change it")

    def has_weights(self, weights: str) -> bool:
        """Whether weights of this name exist. Its own are called "best"."""
        return weights == "best"

    def require_weights(self, weights: str) -> None:
        """Raise a UserError for other weights than its own."""
        if not self.has_weights(weights):
            raise UserError(f'{self.name} is {self.kind}: it has no "{weights}" weights, only its own')

    def has_split(self, split: str) -> bool:
        """Always False: it has no rows."""
        return False

    def examples(self, split: str) -> Rows:
        """It has none: raises UserError."""
        raise self._no_rows()

    def token_cache(self, split: str, examples: Sequence[Example], see: See | None = None) -> TokenCache:
        """It has none: raises UserError."""
        raise self._no_rows()

    def _no_rows(self) -> UserError:
        return UserError(f"{self.name} is {self.kind} without rows of its own; give a data file with --data")
