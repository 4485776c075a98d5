"""What a task is: everything that differs between one kind of question to a text and another.

Training, evaluation, export and serving know this interface and no task by name. A task module holds one
subclass of :class:`Task` named by ``TASK``; at import it needs no TensorFlow, so that a run file is checked
before TensorFlow is loaded.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfpipeline.config import Section

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.models import BertConfig


class Task(abc.ABC):
    """One kind of question to a text.

    Letters in shapes: B texts in a batch, T positions, C classes, N rows of a data set.

    Attributes:
        Options: the pydantic model of the run file's ``task`` section.
        best_metric: the metric that picks the best checkpoint unless the run file names another.
        lower_is_better: names of this task's metrics for which less is better (``loss`` always is).
        served_head: the head of other programs' checkpoints (``models.neutral.HEADS``) that this task answers with.
    """

    Options: ClassVar[type[Section]]
    best_metric: ClassVar[str]
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    served_head: ClassVar[str | None] = None

    def __init__(self, options: Any) -> None:
        self.options = options

    # What is learnt from the training rows (label names), and where a run keeps it.

    @classmethod
    @abc.abstractmethod
    def from_examples(cls, options: Any, examples: Sequence[Example]) -> Task:
        """The task as its training rows define it.

        Raises:
            UserError: the rows can't train it (one class only, say).
        """

    @abc.abstractmethod
    def learnt(self) -> Any:
        """What ``from_examples`` learnt, as JSON has it: two tasks of equal options and this answer alike."""

    @abc.abstractmethod
    def save(self, directory: Path) -> None:
        """Write what ``from_examples`` learnt into a run directory."""

    @classmethod
    @abc.abstractmethod
    def load(cls, options: Any, directory: Path) -> Task:
        """Read what ``save`` wrote."""

    # Checkpoints that other programs have fine-tuned; for tasks with a `served_head`.

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Task:
        """The task as a fine-tuned checkpoint defines it.

        Raises:
            UserError: its head means something else.
        """
        raise NotImplementedError

    def head_variables(self, head: Any) -> dict[str, Any]:
        """Neutral name -> the head's variable that it is read into."""
        raise NotImplementedError

    # Rows in.

    @abc.abstractmethod
    def targets(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """What the loss compares with: named arrays, each [N, ...].

        Raises:
            UserError: a row's target can't be used; names its file and line.
        """

    def weights(self, examples: Sequence[Example], *, training: bool) -> np.ndarray:
        """How much each row counts, float32 [N]; by default the weight that the data gives it.

        Args:
            examples: the rows.
            training: whether they are trained on; a score counts classes as they are.
        """
        return np.fromiter((example.weight for example in examples), np.float32, len(examples))

    # The model.

    @abc.abstractmethod
    def head(self, config: BertConfig, seed: int) -> keras.layers.Layer:
        """The layer on top of the encoder; its outputs are a dict of tensors, each [B, ...].

        ``seed`` decides its first weights.
        """

    @abc.abstractmethod
    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The loss of each example, [B], not reduced and not weighted, in the dtype of the outputs."""

    # Answers out.

    @abc.abstractmethod
    def answers(self, outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The finished answer, in the graph: named tensors, batch first, string or 32-bit.

        This is what the served model returns, so that no client needs a label file.
        """

    # Scores.

    @abc.abstractmethod
    def metrics(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> dict[str, float]:
        """Named scores over a data set; ``answers`` as :meth:`answers` gives them, each [N, ...]."""

    @abc.abstractmethod
    def report(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> str:
        """The same for a reader: a table as text."""

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        """A cheap model's name and answers to ``test``, to compare with; None where there is none."""
        return None

    def mistakes(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> list[tuple[int, str, str]]:
        """Rows answered wrongly, worst first: (row, expected, answered); empty where that means nothing."""
        return []

    def figures(self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Plots for the report: name -> ``matplotlib.figure.Figure``."""
        return {}
