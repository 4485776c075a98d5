"""Starts a training from a new run directory or from an existing run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpipeline import checkpoints, config
from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.files import write_text
from tfpipeline.models import EncoderConfig
from tfpipeline.training import freezing, sources
from tfpipeline.training.cluster import Cluster
from tfpipeline.training.datasets import SPLITS, write_datasets
from tfpipeline.training.lock import holds_nothing_else
from tfpipeline.training.mirror import Mirror
from tfpipeline.training.model_settings import encoder_config
from tfpipeline.training.resuming import changes, check_settings, goes_on
from tfpipeline.training.rows import CONFIG_FILE, TrainingRows, read_rows
from tfpipeline.training.run import Run, create_run, is_run
from tfpipeline.training.run_as_checkpoint import load_checkpoint
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.state import State


def run_directory(run_config: RunConfig, cluster: Cluster | None, mirror: Mirror | None) -> Path:
    """The run directory. A worker other than the chief has its own, beside the chief's or on its own disk."""
    path = Path(run_config.output) if mirror is None else mirror.local
    if cluster is None or cluster.is_chief:
        return path
    return path.with_name(f"{path.name}.worker-{cluster.index}")


def with_datasets(
    run_config: RunConfig, data: Mapping[str, tf.data.Dataset], mirror: Mirror | None
) -> RunConfig:
    """Write the datasets' rows to files, and return the run file with these files in its ``data`` section."""
    output = Path(run_config.output) if mirror is None else mirror.local
    files = write_datasets(data, output.with_name(f"{output.name}.data"), run_config.data)
    changed = {**{split: files.get(split) for split in SPLITS}, "encoding": "utf-8"}
    return run_config.model_copy(update={"data": run_config.data.model_copy(update=changed)})


def find_run(path: Path, run_config: RunConfig) -> tuple[Run | None, dict[str, Any] | None]:
    """The existing run and the state of its last checkpoint; None for what does not exist. Nothing is
    written.

    A finished run that the settings extend counts as unfinished.

    Raises:
        UserError: the path is not a run, or the run cannot be resumed with these settings,
            data or checkpoint.
    """
    if not is_run(path):
        if path.exists() and (not path.is_dir() or not holds_nothing_else(path)):
            raise UserError(f"output: {path} exists and is not a run directory; choose another folder")
        return None, None
    run = Run(path)
    saved = run.store.state("last") if "last" in run.store.index() else None
    if saved:
        State.from_saved(saved, path)
    check_settings(path, run.config, run_config, saved, has_optimizer=run.store.has_optimizer())
    sources.check(path, run_config)
    if saved and goes_on(saved, run_config.training):
        saved = {**saved, "finished": None}
    return run, saved


def take_settings(run: Run, run_config: RunConfig) -> Run:
    """Write the run file's settings into a run if they differ; :func:`find_run` has allowed the changes."""
    differences = changes(run.config, run_config)
    if not differences:
        return run
    say(f"{run.path}: {'; '.join(map(str, differences))}")
    write_text(run.path / CONFIG_FILE, config.dump(run_config))
    return Run(run.path)


def lay_out_run(
    path: Path, run_config: RunConfig, check: Callable[[Run], None], rows: TrainingRows | None = None
) -> Run:
    """Create a run from the run file's checkpoint and rows. The rows are read now if they are not given."""
    checkpoint = load_checkpoint(run_config.checkpoint, head=False)
    checkpoints.say_notes(checkpoint)
    checkpoints.check_tokenizer(checkpoint)
    say_note_on(run_config, checkpoint)
    check_encoder_settings(run_config, checkpoint)
    rows = rows or read_rows(run_config, path)
    return create_run(run_config, checkpoint, rows.splits, path, check, rows.task)


def check_encoder_settings(run_config: RunConfig, checkpoint: checkpoints.Checkpoint) -> EncoderConfig:
    """The configuration of the encoder that is trained, checked before rows are read.

    Raises:
        UserError: texts may be longer than the encoder reads, or ``peft`` does not fit it.
    """
    encoder = encoder_config(run_config, checkpoint)
    if run_config.peft is not None:
        freezing.check_peft(encoder, run_config.peft, run_config.training.freeze)
    return encoder


def say_note_on(run_config: RunConfig, checkpoint: checkpoints.Checkpoint) -> None:
    """Print the task's note on the checkpoint, if it has one."""
    note = run_config.task.note_on(checkpoint)
    if note is not None:
        say(f"note: {run_config.checkpoint}: {note}")
