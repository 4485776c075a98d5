"""Fingerprints of a run's checkpoint and data files, so that the run is not resumed with other files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpipeline import paths
from tfpipeline.errors import UserError
from tfpipeline.files import write_text
from tfpipeline.mistaken import is_run
from tfpipeline.training import run_source
from tfpipeline.training.run_config import RunConfig

SOURCES_FILE = "sources.json"
_PIECE = 1 << 22


def fingerprints(run_config: RunConfig) -> dict[str, dict[str, Any]]:
    """Run-file field -> its path and the sizes, times and SHA-256 digests of its files.

    Remote sources (``hf://``, ``gs://``) and missing ones are left out.

    Raises:
        UserError: a file cannot be read.
    """
    return {field: _describe(path) for field, path in paths_of(run_config) if path.exists()}


def identity(sources: dict[str, dict[str, Any]]) -> str:
    """One line per source. Workers, which may have their own copies of the files, compare these lines."""
    lines = []
    for field, source in sources.items():
        digests = [(name, file["sha256"]) for name, file in source["files"].items()]
        lines.append(f"{field}: {hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]}")
    return "\n".join(lines)


def save(directory: Path, run_config: RunConfig) -> None:
    """Write the fingerprints into a run directory."""
    write_text(directory / SOURCES_FILE, json.dumps(fingerprints(run_config), indent=1))


def check(directory: Path, run_config: RunConfig) -> None:
    """Compare the sources that the run file names now with those that the run was started with.

    A missing source is not an error: the run has its own copies of what it needs.

    Raises:
        UserError: a file's content has changed.
    """
    path = directory / SOURCES_FILE
    if not path.exists():
        return  # written by an earlier version
    try:
        known: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; train the run again in another folder") from error
    for field, source in paths_of(run_config):
        if field not in known or not source.exists():
            continue
        files = known[field]["files"]
        now = dict(_files(source))
        changed = [name for name in {**files, **now} if name not in files or name not in now]
        changed += [
            name
            for name, file in now.items()
            if name in files and not _unchanged(file, files[name]) and name not in changed
        ]
        if changed:
            name = f"{source}/{changed[0]}" if source.is_dir() else str(source)
            raise UserError(
                f"{field}: {name} has changed since {directory} was started; put the old file back, or "
                f"choose another output folder"
            )


def paths_of(run_config: RunConfig) -> Iterator[tuple[str, Path]]:
    """The run-file fields that name local paths, each with its path."""
    data = run_config.data
    for field, value in (
        ("checkpoint", run_config.checkpoint),
        ("data.train", data.train),
        ("data.validation", data.validation),
        ("data.test", data.test),
    ):
        if value and not paths.is_far(value):
            yield field, paths.local(value)


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    if is_run(source):
        yield from run_source.files(source)
    elif source.is_dir():
        yield from ((path.name, path) for path in sorted(source.iterdir()) if path.is_file())
    else:
        yield source.name, source


def _describe(source: Path) -> dict[str, Any]:
    return {"path": str(source), "files": {name: _facts(file) for name, file in _files(source)}}


def _facts(file: Path) -> dict[str, Any]:
    stat = file.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": _digest(file)}


def _unchanged(file: Path, facts: dict[str, Any]) -> bool:
    stat = file.stat()
    if stat.st_size != facts["size"]:
        return False
    return stat.st_mtime_ns == facts["mtime_ns"] or _digest(file) == facts["sha256"]


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; check its permissions") from error
    return digest.hexdigest()
