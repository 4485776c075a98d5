"""A task before it sees any row: its section of the run file.

A task module holds one subclass of :class:`TaskOptions`, named by ``OPTIONS``. It reads, checks and rewrites
rows, and fits the :class:`~tfpipeline.tasks.base.Task` to the training rows. docs/adding-a-task.md shows one
from beginning to end.
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


class Fitter(abc.ABC):
    """Fits a task to training rows. It sees each row once, because the rows may not fit into memory."""

    @abc.abstractmethod
    def add(self, example: Example) -> None:
        """Add one row, and check its target.

        Raises:
            UserError: it can't be used; names its file and line.
        """

    @abc.abstractmethod
    def finish(self) -> Task:
        """The task, after the last row.

        Raises:
            UserError: the rows can't train it (there is one class only, say).
        """


class TaskOptions(Section):
    """The ``task`` section of a run file; the base of every task's own.

    Attributes:
        name: of the task: its module's.
        task_class: the task that is made; None where another task's options make it.
        data_defaults: the columns' names where the run file's ``data`` section gives none (``text``,
            ``label``).
        together: the field of an ``Example`` whose equal values a split keeps in one part, such as
            ``text_pair`` for questions about one context; None where rows are independent. The run file's
            ``split.by`` overrides it.
        top_level_only: whether it must be the whole task of a run, not a part of another task (``pair``,
            ``multitask``).
        fixed_by_head: the fields, besides ``name``, that a trained head decides: a fine-tuned checkpoint
            refuses to set them otherwise.
        encoding: whether the two texts of a row are one sequence of tokens (``joint``:
            ``[CLS] A [SEP] B [SEP]``), or one each (``separate``), which batches hold side by side, the
            second as ``text_pair/input_ids`` and so on. Such a task cannot be a part of another.
    """

    task_class: ClassVar[type[Task] | None] = None
    data_defaults: ClassVar[Mapping[str, str]] = {}
    together: ClassVar[str | None] = None
    top_level_only: ClassVar[bool] = False
    fixed_by_head: ClassVar[tuple[str, ...]] = ()
    encoding: ClassVar[Encoding] = "joint"

    name: str

    # Before any row is read.

    def check(self, data: DataOptions) -> None:
        """Check this section against the ``data`` section.

        Raises:
            ValueError: they do not fit together; reported with the run file's other errors.
        """

    def target_columns(self) -> Sequence[str] | None:
        """The columns of the targets, read from ``Example.columns``; None: the one that ``data.label``
        names.
        """
        return None

    # Row by row.

    def preprocess(self, example: Example) -> Example:
        """A row as it is kept, made of what the data file has.

        Raises:
            UserError: the row can't be used; names its file and line.
        """
        return example

    def strata(self, example: Example) -> Collection[Hashable]:
        """A preprocessed row's labels: a split keeps each in proportion, and each that there is in the
        training rows.
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

    # From all training rows, a run directory or a checkpoint to the task.

    def fitter(self) -> Fitter:
        """What fits a task to training rows; by default nothing is learnt from them, but their targets are
        checked.
        """
        return _CheckOnly(self._task_class()(self))

    def fit(self, examples: Iterable[Example], errors: RowErrors | None = None) -> Task:
        """The task, fitted to its training rows, which are read once.

        Args:
            examples: the training rows.
            errors: collects those of rows that can't be used; by default they are raised.
        Raises:
            UserError: rows can't be used, the first ten of them; or all of them together can't train the
                task.
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
            own.check()  # the reason, if a row is
            raise
        if errors is None:
            own.check()
        return task

    def load(self, directory: Path) -> Task:
        """The task, with what its :meth:`~tfpipeline.tasks.base.Task.save` wrote.

        Raises:
            UserError: it can't be read.
        """
        path = directory / FITTED_FILE
        try:
            fitted = json.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}; is {directory} a run directory?") from error
        return self._task_class()(self, fitted)

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        """Whether a fine-tuned checkpoint has a head for this task."""
        return False

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Task:
        """The task of a fine-tuned checkpoint that it :meth:`serves`, with the options that follow from its
        files.

        Raises:
            UserError: something that its head needs is missing.
        """
        raise NotImplementedError

    def _task_class(self) -> type[Task]:
        if self.task_class is None:
            raise NotImplementedError(f"{type(self).__name__} names no task_class")
        return self.task_class


class _CheckOnly(Fitter):
    """Learns nothing; checks each row's target."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def add(self, example: Example) -> None:
        self._task.targets([example])

    def finish(self) -> Task:
        return self._task
