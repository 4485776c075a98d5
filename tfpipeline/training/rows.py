"""Reads and checks the rows of a run. Imports no TensorFlow, so that invalid rows are reported before it is
loaded.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfpipeline import config, paths, tasks
from tfpipeline.data import Example, Rows
from tfpipeline.data.row_errors import RowErrors
from tfpipeline.errors import UserError
from tfpipeline.tasks import Arrays
from tfpipeline.training.run_config import RunConfig

CONFIG_FILE = "config.yaml"  # in a run directory
_PIECE = 4096  # rows


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training and the task fitted to them.

    Attributes:
        splits: "train", "validation" and "test"; "test" may be empty.
        task: the task, fitted to the training rows.
    """

    splits: Mapping[str, Rows]
    task: tasks.Task


def read_rows(run_config: RunConfig, output: Path | None = None) -> TrainingRows:
    """Read the data files of a run file.

    Args:
        run_config: the resolved run file.
        output: the future run directory; large data is stored temporarily on its disk.
    Raises:
        UserError: a file cannot be read, or rows are invalid; names the first ten.
    """
    folder = None if output is None else _nearest(output)
    splits = run_config.task.load_splits(run_config.data, folder)
    return TrainingRows(splits, learn_task(run_config, splits))


def read_new_rows(run_config: RunConfig) -> TrainingRows | None:
    """The rows of a run that does not exist yet; None if it exists or cannot be started.

    If the output or the checkpoint is unusable, the training reports it; large files are not read for that.
    """
    output, checkpoint = run_config.output, run_config.checkpoint
    if paths.is_far(output) or not (paths.is_far(checkpoint) or paths.local(checkpoint).exists()):
        return None
    path = paths.local(output)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        return None
    return read_rows(run_config, path)


def read_more_rows(run: str | Path, data: str | Path, reading: Mapping[str, str] = {}) -> Rows | None:
    """The rows of a data file for scoring a run; None if ``run`` is not a local run directory.

    Args:
        run: the run directory.
        data: the file.
        reading: the file's encoding, delimiter or sheet, if they differ from those of the run's own data
            files.
    Raises:
        UserError: as :func:`read_rows`.
    """
    if paths.is_far(run) or not (paths.local(run) / CONFIG_FILE).is_file():
        return None
    path = paths.local(run)
    run_config = config.load(path / CONFIG_FILE, RunConfig)
    rows = run_config.task.read(run_config.data.model_copy(update=dict(reading)), data)
    check_targets(run_config.task.load(path), [rows])
    return rows


def learn_task(run_config: RunConfig, splits: Mapping[str, Sequence[Example]]) -> tasks.Task:
    """Fit the task to the training rows, and check the targets of all rows. Each row is read once.

    Args:
        run_config: the resolved run file.
        splits: the rows; the task is fitted to those of "train".
    Raises:
        UserError: rows are invalid; names the first ten.
    """
    errors = RowErrors()
    task = run_config.task.fit(splits["train"], errors)
    check_targets(task, (rows for name, rows in splits.items() if name != "train"), errors)
    return task


def check_targets(
    task: tasks.Task, parts: Iterable[Sequence[Example]], errors: RowErrors | None = None
) -> None:
    """Check the target of every row, so that an unknown label is reported now and not after the first epoch.

    Args:
        task: the task.
        parts: sequences of rows; each row is read once.
        errors: earlier errors of other rows, which are raised together with these.
    Raises:
        UserError: rows are invalid; names the first ten.
    """
    errors = RowErrors() if errors is None else errors
    for examples in parts:
        # In pieces, because the targets of a row may be all words of its text.
        for piece in _pieces(examples):
            try:
                task.targets(piece)
            except UserError:
                known = errors.count
                for row in piece:
                    try:
                        task.targets([row])
                    except UserError as error:
                        errors.add(error)
                if errors.count == known:  # no single row is invalid, only all together
                    raise
    errors.check()


class TargetReader:
    """Collects the targets and weights of a data set in one pass over its rows, piece by piece.

    Args:
        task: the task.
        training: whether the rows are for training; otherwise they are for scoring.
    """

    def __init__(self, task: tasks.Task, *, training: bool) -> None:
        self._task, self._training = task, training
        self._targets: dict[str, list[np.ndarray]] = {}
        self._weights = array("d")

    def add(self, examples: Sequence[Example]) -> None:
        """Add the next rows.

        Raises:
            UserError: a row's target is invalid; names its file and line.
        """
        for name, values in self._task.targets(examples, training=self._training).items():
            self._targets.setdefault(name, []).append(values)
        self._weights.extend(example.weight for example in examples)

    def finish(self) -> tuple[Arrays, np.ndarray]:
        """The targets of all rows, each [N, ...], and the weights of the rows, float64 [N]."""
        targets: Arrays = {name: np.concatenate(pieces) for name, pieces in self._targets.items()}
        self._targets.clear()
        weights = self._task.weights(targets, np.array(self._weights))
        return self._task.for_training(targets, weights) if self._training else (targets, weights)


def read_targets(
    task: tasks.Task, examples: Sequence[Example], *, training: bool = False
) -> tuple[Arrays, np.ndarray]:
    """The targets and weights of a data set. Each row is read once; see :class:`TargetReader`."""
    reader = TargetReader(task, training=training)
    for piece in _pieces(examples):
        reader.add(piece)
    return reader.finish()


def _pieces(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """Rows in pieces; each row is parsed once."""
    for start in range(0, len(examples), _PIECE):
        yield list(examples[start : start + _PIECE])


def _nearest(path: Path) -> Path:
    """The nearest existing parent folder, which is on the future run's disk."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
