"""A task before it sees any row: its section of the run file.

A task module holds one subclass of :class:`TaskOptions`, named by ``OPTIONS``. It validates and rewrites
rows, and fits the :class:`~tfpipeline.tasks.base.Task` to the training rows. docs/adding-a-task.md has a
complete example.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tfpipeline.config import Section
from tfpipeline.data import Encoding, Rows, load_splits, read_data_file
from tfpipeline.data.row_errors import RowErrors
from tfpipeline.errors import UserError
from tfpipeline.tasks.base import FITTED_FILE

if TYPE_CHECKING:
    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions
    from tfpipeline.tasks.base import Task
    from tfpipeline.text.truncation import Truncation


class Fitter(abc.ABC):
    """Fits a task to training rows. It sees each row once, because the rows may not fit into memory."""

    @abc.abstractmethod
    def add(self, example: Example) -> None:
        """Add one row, and check its target.

        Raises:
            UserError: the row is invalid; names its file and line.
        """

    @abc.abstractmethod
    def finish(self) -> Task:
        """Make the task, after the last row.

        Raises:
            UserError: the rows cannot train it, for example because there is only one class.
        """


class TaskOptions(Section):
    """The ``task`` section of a run file; the base class of the options of all tasks.

    Attributes:
        name: the name of the task and of its module.
        task_class: the class of the task; None if the options of another task make it.
        data_defaults: column names that replace the defaults of the ``data`` section (``text``, ``label``).
        together: the field of an ``Example`` that keeps rows together: rows with an equal value stay in one
            split. An example is ``text_pair``, for questions about one context. None if rows are independent.
            The run file's ``split.by`` overrides it.
        top_level_only: whether it must be the whole task of a run, not a part of another task (``pair``,
            ``multitask``).
        changeable: the fields of a trained run that --set may change for an evaluation or an export, because
            training does not depend on them.
        fixed_by_head: the fields, besides ``name``, that a trained head determines. With a fine-tuned
            checkpoint, users cannot set them.
        reads_windows: whether long texts may be read in windows (``text.long``).
        reads_turns: whether it reads dialogues (``data.turns``).
        pretrains: whether it is a task of pre-training: a checkpoint that has only the head of such a task
            counts as pre-trained, not as fine-tuned.
        encoding: whether the two texts of a row are one sequence of tokens (``joint``: ``[CLS] A [SEP] B
            [SEP]``), or each text is a sequence of its own (``separate``). Batches then hold all of them, the
            second as ``text_pair/input_ids`` and so on. Such a task cannot be part of another.
        needs_head: whether a checkpoint must have a head of this task to be opened. If not, users can open
            any encoder with ``task.name``.
        checkpoint_data: settings of the ``data`` section for checkpoints, which have no data of their own.
        asks_for_pairs: whether predictions for rows with two texts need both. If not, they are made for one
            text, and for two only if a caller gives two.
    """

    task_class: ClassVar[type[Task] | None] = None
    data_defaults: ClassVar[Mapping[str, str | None]] = {}
    together: ClassVar[str | None] = None
    top_level_only: ClassVar[bool] = False
    changeable: ClassVar[tuple[str, ...]] = ()
    fixed_by_head: ClassVar[tuple[str, ...]] = ()
    encoding: ClassVar[Encoding] = "joint"
    needs_head: ClassVar[bool] = True
    checkpoint_data: ClassVar[Mapping[str, str]] = {}
    asks_for_pairs: ClassVar[bool] = True
    reads_windows: ClassVar[bool] = True
    reads_turns: ClassVar[bool] = False
    pretrains: ClassVar[bool] = False

    name: str

    @property
    def makes_pairs(self) -> bool:
        """Whether the task divides single texts into rows with two texts each (see :meth:`Task.divide`)."""
        return False

    @property
    def token_separator(self) -> str:
        """What joins the tokens of texts that are lists of them."""
        return " "

    # Called before any row is read.

    def check(self, data: DataOptions) -> None:
        """Check this section against the ``data`` section.

        Raises:
            ValueError: they do not fit together; reported with the run file's other errors.
        """

    def truncation(self, truncation: Truncation, data: DataOptions) -> Truncation:
        """How long texts are handled, for a task whose texts have limits of their own.

        Args:
            truncation: as the run file's ``text`` section says, with the special tokens of the tokenizer.
            data: the ``data`` section.
        Raises:
            ValueError: the limits do not fit together; reported for the section ``text``.
        """
        return truncation

    def target_columns(self) -> Sequence[str] | None:
        """The columns of the targets, read from ``Example.columns``; None: the column that ``data.label``
        names.
        """
        return None

    def note_on(self, checkpoint: Checkpoint) -> str | None:
        """A note on options that differ from those that a checkpoint was trained with; None if there is none.

        Called before a training from this checkpoint.
        """
        return None

    # Called for each row.

    def preprocess(self, example: Example) -> Example:
        """Validate a row of a data file, and return it in the form in which it is stored.

        Raises:
            UserError: the row is invalid; names its file and line.
        """
        return example

    def strata(self, example: Example) -> Collection[Hashable]:
        """The labels of a preprocessed row. Every split gets the same proportion of each label, and the
        training rows get all labels.
        """
        return () if example.label is None else (example.label,)

    def load_splits(self, data: DataOptions, folder: Path | None = None) -> dict[str, Rows]:
        """The rows to train, validate and test on; see :func:`tfpipeline.data.load_splits`."""
        return load_splits(
            data,
            self.strata,
            folder,
            columns=self.target_columns(),
            prepare=self.preprocess,
            together=self.together,
        )

    def read(self, data: DataOptions, path: str | Path) -> Rows:
        """The rows of one file; see :func:`tfpipeline.data.read_data_file`."""
        return read_data_file(path, data, self.target_columns(), prepare=self.preprocess)

    # Making the task: from all training rows, from a run directory, or from a checkpoint.

    def fitter(self) -> Fitter:
        """Make the fitter. The default checks the targets of the training rows and fits nothing."""
        return _CheckOnly(self._task_class()(self))

    def fit(self, examples: Iterable[Example], errors: RowErrors | None = None) -> Task:
        """Make the task, fitted to the training rows, which are read once.

        Args:
            examples: the training rows.
            errors: collects the errors of rows that cannot be used; by default they are raised.
        Raises:
            UserError: some rows cannot be used (the message lists the first ten), or the rows together cannot
                train the task.
        """
        fitter, own = self.fitter(), RowErrors() if errors is None else errors
        for example in examples:
            try:
                fitter.add(example)
            except UserError as error:
                own.add(error)
        try:
            task = fitter.finish()
        except UserError:
            own.check()  # raises the rows' errors first, if there are any
            raise
        if errors is None:
            own.check()
        return task

    def load(self, directory: Path) -> Task:
        """Restore the task from the files that its :meth:`~tfpipeline.tasks.base.Task.save` wrote.

        Raises:
            UserError: the files cannot be read.
        """
        path = directory / FITTED_FILE
        try:
            fitted = json.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}; is {directory} a run directory?") from error
        return self._task_class()(self, fitted)

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        """Whether this task can use the head of a fine-tuned checkpoint."""
        return False

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Task:
        """Make the task of a fine-tuned checkpoint for which :meth:`serves` is true (or of any, if the task
        needs no head), with the options that its files determine.

        Raises:
            UserError: something that the head needs is missing.
        """
        raise NotImplementedError

    def _task_class(self) -> type[Task]:
        if self.task_class is None:
            raise NotImplementedError(f"{type(self).__name__} names no task_class")
        return self.task_class


class _CheckOnly(Fitter):
    """Checks each row's target, and fits nothing."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def add(self, example: Example) -> None:
        self._task.targets([example])

    def finish(self) -> Task:
        return self._task
