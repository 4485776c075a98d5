"""The rows of a run, read and checked; without TensorFlow, so that a row that can't be used is named before
that is loaded.
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

CONFIG_FILE = "config.yaml"  # of a run directory
_PIECE = 4096  # rows


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training.

    Attributes:
        splits: "train", "validation" and "test"; "test" may be empty.
        task: with what it learnt from the training rows.
    """

    splits: Mapping[str, Rows]
    task: tasks.Task


def read_rows(run_config: RunConfig, output: Path | None = None) -> TrainingRows:
    """Read the data files of a run file.

    Args:
        run_config: the run file as resolved.
        output: where the run will be; many rows are kept on that disk meanwhile.
    Raises:
        UserError: a file can't be read; or rows that can't be used, the first ten of them.
    """
    folder = None if output is None else _nearest(output)
    splits = run_config.task.load_splits(run_config.data, folder)
    return TrainingRows(splits, learn_task(run_config, splits))


def read_new_rows(run_config: RunConfig) -> TrainingRows | None:
    """The rows of a run that is not there yet; None of one that is, or that can't be begun.

    What stands in the way of a run, or of its checkpoint, is said by what trains it, sooner than large files
    are read.
    """
    output, checkpoint = run_config.output, run_config.checkpoint
    if paths.is_far(output) or not (paths.is_far(checkpoint) or paths.local(checkpoint).exists()):
        return None
    path = paths.local(output)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        return None
    return read_rows(run_config, path)


def read_more_rows(run: str | Path, data: str | Path, reading: Mapping[str, str] = {}) -> Rows | None:
    """The rows of a data file that a run is to be scored on; None where ``run`` is no local run directory.

    Args:
        run: the run directory.
        data: the file.
        reading: its encoding, delimiter or sheet, where they are not those of the run's own data files.
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
    """The task, fitted to the training rows; each row's target was looked at. Rows are read once.

    Args:
        run_config: the run file as resolved.
        splits: the rows; the task is fitted to those of "train".
    Raises:
        UserError: rows can't be used, the first ten of them.
    """
    errors = RowErrors()
    task = run_config.task.fit(splits["train"], errors)
    check_targets(task, (rows for name, rows in splits.items() if name != "train"), errors)
    return task


def check_targets(
    task: tasks.Task, parts: Iterable[Sequence[Example]], errors: RowErrors | None = None
) -> None:
    """Look at every row's target: an unknown label is found now, not after the first epoch.

    Args:
        task: the task.
        parts: rows, of which each is read once.
        errors: those of other rows, which are raised with these.
    Raises:
        UserError: rows can't be used, the first ten of them.
    """
    errors = RowErrors() if errors is None else errors
    for examples in parts:
        # Piece by piece: targets may be all words of a text.
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
                if errors.count == known:  # the rows are to blame together only
                    raise
    errors.check()


class TargetReader:
    """Collects the targets and weights of a data set, whose rows it sees once, piece by piece.

    Args:
        task: the task.
        training: whether the rows are trained on, or scored.
    """

    def __init__(self, task: tasks.Task, *, training: bool) -> None:
        self._task, self._training = task, training
        self._targets: dict[str, list[np.ndarray]] = {}
        self._weights = array("d")

    def add(self, examples: Sequence[Example]) -> None:
        """The next rows.

        Raises:
            UserError: a row's target can't be used; names its file and line.
        """
        for name, values in self._task.targets(examples, training=self._training).items():
            self._targets.setdefault(name, []).append(values)
        self._weights.extend(example.weight for example in examples)

    def finish(self) -> tuple[Arrays, np.ndarray]:
        """Of all rows the targets, each [N, ...], and how much each row counts, float64 [N]."""
        targets: Arrays = {name: np.concatenate(pieces) for name, pieces in self._targets.items()}
        self._targets.clear()
        weights = self._task.weights(targets, np.array(self._weights))
        return self._task.for_training(targets, weights) if self._training else (targets, weights)


def read_targets(
    task: tasks.Task, examples: Sequence[Example], *, training: bool = False
) -> tuple[Arrays, np.ndarray]:
    """The targets and weights of a data set, its rows read once; see :class:`TargetReader`."""
    reader = TargetReader(task, training=training)
    for piece in _pieces(examples):
        reader.add(piece)
    return reader.finish()


def _pieces(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """Rows, so many at a time, each of them parsed once."""
    for start in range(0, len(examples), _PIECE):
        yield list(examples[start : start + _PIECE])


def _nearest(path: Path) -> Path:
    """The first folder above that is there: on the disk that the run will be on."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
