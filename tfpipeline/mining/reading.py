"""What can be checked and read before TensorFlow is loaded; imports none of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from tfpipeline import config, paths
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.files import require_writable
from tfpipeline.paths import AnyPath
from tfpipeline.tasks import CorpusFile, MiningRows
from tfpipeline.training.rows import CONFIG_FILE
from tfpipeline.training.run_config import RunConfig

SUFFIX = ".jsonl"


def read_early(
    run: AnyPath, data: AnyPath, corpus: Optional[CorpusFile] = None, reading: Mapping[str, str] = {}
) -> Optional[MiningRows]:
    """The rows for a run directory on this machine; None for a checkpoint, which is opened with TensorFlow.

    Args:
        run: the run.
        data: a file with the columns of its data.
        corpus: a file of further texts.
        reading: ``encoding``, ``delimiter`` or ``sheet`` of the data file, if they differ from the run's.
    Raises:
        UserError: as :meth:`tfpipeline.tasks.Task.mining_rows`.
    """
    if paths.is_far(run) or not (paths.local(run) / CONFIG_FILE).is_file():
        return None
    folder = paths.local(run)
    run_config = config.load(folder / CONFIG_FILE, RunConfig)
    task = run_config.task.load(folder)
    return task.mining_rows(str(run), columns_of(run_config, reading), data, corpus)


def checked_destination(to: AnyPath) -> Path:
    """The file to write.

    Raises:
        UserError: it is no file of JSON lines, or it cannot be written.
    """
    path = paths.local(to)
    if path.suffix.lower() != SUFFIX or path.is_dir():
        raise UserError(
            f"--to {path}: negatives are written as JSON lines; name a file that ends in {SUFFIX}"
        )
    require_writable(path.parent)
    return path


def columns_of(run_config: RunConfig, reading: Mapping[str, str]) -> DataOptions:
    """The columns of a data file, and how it is read."""
    return run_config.data.model_copy(update=dict(reading))
