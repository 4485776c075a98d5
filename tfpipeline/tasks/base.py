"""What a task is: everything that differs between one kind of question to a text and another.

Training, evaluation, export and serving know this interface and no task by name. A task module holds one
subclass of :class:`Task` named by ``TASK``; at import it needs no TensorFlow, so that a run file is checked
before TensorFlow is loaded. docs/adding-a-task.md shows one from beginning to end.
"""

from __future__ import annotations

import abc
import functools
import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfpipeline.config import Section
from tfpipeline.data import Rows, load_splits, read_data_file
from tfpipeline.errors import UserError
from tfpipeline.files import write_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions
    from tfpipeline.models import BertConfig

FITTED_FILE = "task.json"


class Task(abc.ABC):
    """One kind of question to a text.

    Letters in shapes: B texts in a batch, T positions, C classes, N rows of a data set.

    Args:
        options: of the run file's ``task`` section.
        fitted: what :meth:`from_examples` learnt, as JSON has it.

    Attributes:
        options: as given.
        fitted: as given; two tasks with equal options and an equal ``fitted`` answer alike.
        Options: the pydantic model of the run file's ``task`` section.
        best_metric: the metric that picks the best checkpoint unless the run file names another.
        lower_is_better: names of this task's metrics for which less is better (``loss`` always is).
        top_level_only: whether it must be the whole task of a run, not a part of another one (``pair``, ``multitask``).
        offsets: those of the answers that are places in a text, counted in code points -> the text, ``text`` or
            ``text_pair``. A task with some is given the texts and where each token stands in them.
        data_defaults: what columns are called that the run file's ``data`` section does not name (``text``, ``label``).
        together: the field of an ``Example`` whose equal values a split keeps in one part, such as ``text_pair`` for
            questions about one context; None where rows stand alone. The run file's ``split.by`` overrides it.
    """

    Options: ClassVar[type[Section]]
    best_metric: str
    lower_is_better: frozenset[str] = frozenset()
    top_level_only: ClassVar[bool] = False
    offsets: Mapping[str, str] = {}
    data_defaults: ClassVar[Mapping[str, str]] = {}
    together: ClassVar[str | None] = None

    def __init__(self, options: Any, fitted: Any = None) -> None:
        self.options, self.fitted = options, fitted

    # What it asks of the data files; known from the options alone.

    @classmethod  # noqa: B027 - most ask nothing
    def check(cls, options: Any, data: DataOptions) -> None:
        """Hold the ``task`` section against the ``data`` section, before anything is read.

        Raises:
            ValueError: they do not fit together; reported with the run file's other errors.
        """

    @classmethod
    def columns(cls, options: Any) -> Sequence[str] | None:
        """The columns of the targets, read from ``Example.columns``; None: the one that ``data.label`` names."""
        return None

    @classmethod
    def strata(cls, options: Any, example: Example) -> Collection[Hashable]:
        """A row's labels: a split keeps each in proportion, and none out of the training rows."""
        return () if example.label is None else (example.label,)

    @classmethod
    def preprocess(cls, options: Any, example: Example) -> Example:
        """A row as it is kept, made of what the data file has.

        Raises:
            UserError: the row can't be used; names its file and line.
        """
        return example

    @classmethod
    def load_splits(cls, options: Any, data: DataOptions, folder: Path | None = None) -> dict[str, Rows]:
        """The rows to train, validate and test on; see :func:`tfpipeline.data.load_splits`."""
        strata = functools.partial(cls.strata, options)
        return load_splits(
            data,
            strata,
            folder,
            columns=cls.columns(options),
            prepare=functools.partial(cls.preprocess, options),
            together=cls.together,
        )

    @classmethod
    def read(cls, options: Any, data: DataOptions, path: str | Path) -> Rows:
        """The rows of one file; see :func:`tfpipeline.data.read_data_file`."""
        prepare = functools.partial(cls.preprocess, options)
        return read_data_file(path, data, cls.columns(options), prepare=prepare)

    # What is learnt from the training rows (label names), and where a run keeps it.

    @classmethod
    @abc.abstractmethod
    def from_examples(cls, options: Any, examples: Sequence[Example]) -> Task:
        """The task as its training rows define it.

        Raises:
            UserError: the rows can't train it (one class only, say).
        """

    def limit_length(self, tokens: int) -> Task:
        """The same task for a model that reads at most so many tokens of a row, special ones counted."""
        return self

    def save(self, directory: Path) -> None:
        """Write what ``from_examples`` learnt into a run directory."""
        write_text(directory / FITTED_FILE, json.dumps(self.fitted, indent=1) + "\n")

    @classmethod
    def load(cls, options: Any, directory: Path) -> Task:
        """Read what ``save`` wrote.

        Raises:
            UserError: it can't be read.
        """
        path = directory / FITTED_FILE
        try:
            return cls(options, json.loads(path.read_text("utf-8-sig")))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}; is {directory} a run directory?") from error

    # Checkpoints that other programs have fine-tuned.

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        """Whether a fine-tuned checkpoint has a head that means what this task answers."""
        return False

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Task:
        """The task as a fine-tuned checkpoint that it :meth:`serves` defines it.

        Raises:
            UserError: something that its head needs is missing.
        """
        raise NotImplementedError

    def with_options(self, options: Any) -> Task:
        """The same task with other options, of a checkpoint that it :meth:`serves`."""
        return type(self)(options, self.fitted)

    def head_variables(self, head: Any) -> dict[str, Any]:
        """Neutral name (``models.neutral.HEADS``) -> the head's variable that it is read into."""
        raise NotImplementedError

    # Rows in.

    @abc.abstractmethod
    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """What loss and metrics compare with: named arrays, each [N, ...].

        Arrays of objects are for the metrics alone: the loss does not see them.

        Args:
            examples: the rows.
            training: whether they are trained on, or scored.
        Raises:
            UserError: a row's target can't be used; names its file and line.
        """

    def token_targets(
        self, examples: Sequence[Example], tokens: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """What the loss compares single tokens with: named arrays, int32 [B, T, ...]; made once, and kept on disk.

        Args:
            examples: some rows.
            tokens: theirs, as the tokenizer gives them: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32
                [B, T], and of a task with ``offsets`` also ``offsets`` [B, T, 2] and ``word_starts`` [B, T].
        """
        return {}

    def count_kept_targets(self, examples: Sequence[Example], tokens: Mapping[str, np.ndarray]) -> np.ndarray:
        """How many of a row's targets are to be among its tokens, and how many of them are: integers, [B, 2].

        Asked of the training rows, before the first step: what is cut off teaches nothing, so it is warned about, and if no
        row has a target left, there is nothing to train on. By default there are none that could be missed.

        Args:
            examples: some rows.
            tokens: theirs, with what :meth:`token_targets` gave for them.
        """
        return np.zeros((len(examples), 2), np.int64)

    def weights(self, examples: Sequence[Example], *, training: bool) -> np.ndarray:
        """How much each row counts, float64 [N]; by default the weight that the data gives it.

        Args:
            examples: the rows.
            training: whether they are trained on; a score counts classes as they are.
        """
        return np.fromiter((example.weight for example in examples), np.float64, len(examples))

    # The model.

    @abc.abstractmethod
    def head(self, config: BertConfig, seed: int) -> keras.layers.Layer:
        """The layer on top of the encoder; its outputs are a dict of tensors, each [B, ...].

        ``seed`` decides its first weights.
        """

    @abc.abstractmethod
    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The loss of each example, [B], not reduced and not weighted, in the dtype of the outputs.

        ``targets`` holds what ``targets`` and ``token_targets`` gave, and the tokens: ``attention_mask`` and so on.
        """

    # Answers out.

    @abc.abstractmethod
    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """The finished answer, in the graph: named tensors, batch first, string or 32-bit.

        This is what the served model returns, so that no client needs a label file. Every dimension but the first is
        known before: servers put the answers to several callers together.

        Args:
            outputs: of the head.
            inputs: what was asked: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T]; for a task with
                ``offsets`` also ``offsets`` [B, T, 2], ``word_starts`` [B, T], and the texts themselves, ``text`` string
                [B] and perhaps ``text_pair``.
        """

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """What ``tune``, ``metrics``, ``report``, ``mistakes`` and ``figures`` are given; by default :meth:`predictions`.

        A task leaves out what they do not read (the names of a thousand classes beside each row), and adds what tells
        rows apart whose probabilities of 32 bits are alike. Arguments as of :meth:`predictions`; in the graph, too.
        """
        return self.predictions(outputs, inputs)

    def tune(
        self,
        head: Any,
        answers: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        weights: np.ndarray,
    ) -> Mapping[str, np.ndarray]:
        """Choose on validation rows what is not trained (thresholds), before they are scored.

        What is chosen is assigned to variables of ``head`` that are not trainable, so that it is saved, resumed and
        exported with the weights that it belongs to.

        Returns:
            The answers as they are with it.
        """
        return answers

    # Scores.

    @abc.abstractmethod
    def metrics(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> dict[str, float]:
        """Named scores over a data set; ``answers`` as :meth:`scored_predictions` gives them, each [N, ...]."""

    def report(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> str:
        """The same for a reader: a table as text; by default a line a metric."""
        scores = self.metrics(answers, targets, weights)
        width = max(map(len, scores))
        return "".join(f"{name:<{width}}  {value:10.4f}\n" for name, value in scores.items())

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        """A cheap model's name and answers to ``test``, to compare with; None where there is none."""
        return None

    def mistakes(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> list[tuple[int, str, str]]:
        """Rows answered wrongly, worst first: (row, expected, predicted); empty where that means nothing."""
        return []

    def near_ties(self, answers: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
        """Rows, bool [N], whose words another rounding may change: two numbers that decide are as near as that."""
        return np.zeros(len(next(iter(answers.values()))), bool)

    def figures(self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Plots for the report: name -> ``matplotlib.figure.Figure``.

        A figure's own label (``set_label``), if it has one, is printed below it. Drawn when the scores are saved already;
        one that fails costs a warning.
        """
        return {}
