"""Reads settings from a run file or from Python, and checks them and the files that they name.

Imports no TensorFlow.
"""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from tfpipeline import config, paths
from tfpipeline.errors import UserError
from tfpipeline.training import run_source, sources
from tfpipeline.training.run_config import RunConfig

RunFile = Union[str, "os.PathLike[str]", Mapping[str, Any], RunConfig]


def read_run_file(run_file: RunFile, overrides: Sequence[str] = (), *, own_data: bool = False) -> RunConfig:
    """The checked settings of a run.

    Args:
        run_file: the path of a run file, a mapping like one, or a :class:`RunConfig`.
        overrides: settings such as ``"training.epochs=2"``, in the form of ``--set``.
        own_data: whether the caller provides the rows, so that data files need not exist.
    Raises:
        UserError: the settings have errors, or a new run names files that do not exist.
    """
    if isinstance(run_file, (str, os.PathLike)):
        path = paths.local(run_file)
        _refuse_run(path)
        written_in: Path | None = path
        run_config = config.load(run_file, RunConfig, overrides)
    else:
        written_in = None
        if isinstance(run_file, RunConfig):
            run_config = run_file
            if overrides:
                run_config = config.resolve(
                    config.settings(run_file), RunConfig, overrides, source="the RunConfig"
                )
        elif isinstance(run_file, Mapping):
            run_config = config.resolve(run_file, RunConfig, overrides, source="the dict of settings")
        else:
            raise UserError(
                f"expected a run file's path, a dict of settings or a RunConfig; found "
                f"{type(run_file).__name__}"
            )
    run_source.check_output(run_config.checkpoint, run_config.output)
    if not _has_run(run_config.output):
        _require_sources(run_config, written_in, own_data=own_data)
        run_source.check(run_config.checkpoint)
    return run_config


def _refuse_run(path: Path) -> None:
    """Raise a UserError if the path is a run directory instead of a run file."""
    own = path / "config.yaml"
    if own.is_file():
        command = shlex.join(["tfpipeline", "train", str(own)])
        raise UserError(
            f"{path} is a run directory, not a run file; its run file is {own}; to resume the run: {command}"
        )


def _has_run(output: str) -> bool:
    """Whether a run exists, or may exist remotely. A run has its own copies of what it needs."""
    if paths.is_far(output):
        return True
    workers = glob.glob(f"{glob.escape(output)}.worker-*")
    return any(Path(path, "config.yaml").is_file() for path in [output, *workers])


def _require_sources(run_config: RunConfig, written_in: Path | None, *, own_data: bool) -> None:
    wrong = [] if own_data else [*_far_data(run_config)]
    wrong += [
        f"{field}: {_not_there(str(path), written_in)}"
        for field, path in sources.paths_of(run_config)
        if not _exists(path) and not (own_data and field.startswith("data."))
    ]
    if not wrong:
        return
    where = "the settings" if written_in is None else str(written_in)
    if len(wrong) == 1:
        raise UserError(f"{where}: {wrong[0]}")
    raise UserError(
        "\n".join([f"{where}: {len(wrong)} paths cannot be used:", *(f"  {line}" for line in wrong)])
    )


def _far_data(run_config: RunConfig) -> Iterator[str]:
    """The error messages for data files that are not on this machine."""
    for field in ("train", "validation", "test"):
        path = getattr(run_config.data, field)
        if path and paths.is_far(path):
            yield f"data.{field}: {paths.unusable(path)}"


def _not_there(path: str, written_in: Path | None) -> str:
    """The error message. It suggests the path next to the run file if that exists."""
    if os.path.isabs(path):
        return f"{path} does not exist; check the path"
    told = f"{path} does not exist in the current directory ({Path.cwd()})"
    meant = None if written_in is None else written_in.parent / path
    if meant is None or not _exists(meant):
        return f"{told}; check the path"
    return f"{told}, to which relative paths are relative; it exists beside the run file: write {meant}"


def _exists(path: Path) -> bool:
    try:
        # The prefix of a TensorFlow checkpoint stands for several files, but is not a file itself.
        return path.exists() or path.with_name(f"{path.name}.index").exists()
    except OSError:  # no permission to search a folder: opening the file reports it
        return True
