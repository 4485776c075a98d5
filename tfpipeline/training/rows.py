"""The rows of a run, read and checked; without TensorFlow, so that a row that can't be used is named before that is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipeline import config, paths, tasks
from tfpipeline.data import Example, Rows
from tfpipeline.data.row_errors import RowErrors
from tfpipeline.errors import UserError
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
    options: Any = run_config.task
    folder = None if output is None else _nearest(output)
    splits = tasks.find(options.name).load_splits(options, run_config.data, folder)
    return TrainingRows(splits, learn_task(run_config, splits))


def read_new_rows(run_config: RunConfig) -> TrainingRows | None:
    """The rows of a run that is not there yet; None of one that is, or that can't be begun.

    What stands in the way of a run, or of its checkpoint, is said by what trains it, sooner than large files are read.
    """
    output, checkpoint = run_config.output, run_config.checkpoint
    if "://" in output or ("://" not in checkpoint and not paths.local(checkpoint).exists()):
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
    path = paths.local(run)
    if not (path / CONFIG_FILE).is_file():
        return None
    run_config = config.load(path / CONFIG_FILE, RunConfig)
    options: Any = run_config.task
    kind = tasks.find(options.name)
    rows = kind.read(options, run_config.data.model_copy(update=dict(reading)), data)
    check_targets(kind.load(options, path), [rows])
    return rows


def learn_task(run_config: RunConfig, splits: Mapping[str, Sequence[Example]]) -> tasks.Task:
    """The task with what the training rows say of it; each row's label was looked at.

    Args:
        run_config: the run file as resolved.
        splits: the rows; those of "train" are learnt from.
    Raises:
        UserError: rows can't be used, the first ten of them.
    """
    options: Any = run_config.task
    task = tasks.find(options.name).from_examples(options, splits["train"])
    check_targets(task, splits.values())
    return task.limit_length(most_tokens(run_config))


def check_targets(task: tasks.Task, parts: Iterable[Sequence[Example]]) -> None:
    """Look at every row's target: an unknown label is found now, not after the first epoch.

    Raises:
        UserError: rows can't be used, the first ten of them.
    """
    errors = RowErrors()
    for examples in parts:
        # Piece by piece: targets may be all words of a text.
        for start in range(0, len(examples), _PIECE):
            piece = examples[start : start + _PIECE]
            try:
                task.targets(piece)
            except UserError:
                known = errors.count
                for row in range(len(piece)):
                    try:
                        task.targets(piece[row : row + 1])
                    except UserError as error:
                        errors.add(error)
                if errors.count == known:  # the rows are to blame together only
                    raise
    errors.check()


def most_tokens(run_config: RunConfig) -> int:
    """The most tokens of a row that are read, special ones counted."""
    return run_config.text.truncation.longest(run_config.data.text_pair is not None)


def _nearest(path: Path) -> Path:
    """The first folder above that is there: on the disk that the run will be on."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
