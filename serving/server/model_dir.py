"""Reads `models/NAME`, a directory whose subdirectories are numbered versions. Imports no TensorFlow."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tfpipeline.errors import UserError

_MAX_VERSION = 2**63 - 1
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")


def version_directories(model_dir: Path) -> dict[int, Path]:
    """Every subdirectory that has a number as its name, by that number; "007" is version 7.

    Raises:
        OSError: the directory cannot be read.
    Source: IndexChildrenByVersion in tensorflow/serving,
    sources/storage_path/file_system_storage_path_source.cc.
    """
    directories: dict[int, Path] = {}
    for name in sorted(os.listdir(model_dir)):
        if re.fullmatch(r"[0-9]+", name) and int(name) <= _MAX_VERSION:
            directories[int(name)] = model_dir / name
    return directories


def has_saved_model(version_dir: Path) -> bool:
    """Whether the directory has a SavedModel's graph file."""
    return any((version_dir / name).is_file() for name in _SAVED_MODEL)


def fingerprint(version_dir: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of every file: it changes when a half-copied version becomes complete."""
    files = []
    for folder, _, names in os.walk(version_dir):
        for name in names:
            path = Path(folder, name)
            try:
                stat = path.stat()
            except OSError:  # removed since the listing: the next poll sees the new state
                continue
            files.append((str(path.relative_to(version_dir)), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(files))


def check_model_dir(model_dir: Path) -> dict[int, Path]:
    """The existing versions, or an error that says what the directory holds instead.

    Returns:
        version -> directory; at least one of them has a SavedModel.
    Raises:
        UserError: nothing in the directory can be served.
    """
    try:
        return _check(model_dir)
    except OSError as error:
        raise UserError(
            f"cannot read {error.filename or model_dir}: {os.strerror(error.errno or 0)}; check the path "
            f"and its permissions"
        ) from error


def _check(model_dir: Path) -> dict[int, Path]:
    if not model_dir.exists():
        near = (
            sorted(p.name for p in model_dir.parent.iterdir() if p.is_dir())
            if model_dir.parent.is_dir()
            else []
        )
        there = f"; {model_dir.parent} has {_some(near)}" if near else ""
        raise UserError(
            f"there is no directory {model_dir}{there}; give the models/NAME that an export wrote"
        )
    if not model_dir.is_dir():
        raise UserError(f"{model_dir} is a file; give the directory models/NAME that holds the versions")
    if has_saved_model(model_dir):
        raise UserError(
            f"{model_dir} is a SavedModel itself, not a directory of versions; "
            + (
                f"give its parent: {model_dir.parent}"
                if model_dir.name.isdigit()
                else f"move it to {model_dir}/1 and run this again"
            )
        )
    if (model_dir / "config.yaml").is_file() and (model_dir / "checkpoints").is_dir():
        raise UserError(
            f"{model_dir} is a training run, which cannot be served as it is; "
            f"export it first: tfpipeline export {model_dir} --to models/{model_dir.name}"
        )
    versions = version_directories(model_dir)
    names = sorted(os.listdir(model_dir))
    if not versions:
        raise UserError(
            f"{model_dir} has no version to serve: it holds {_some(names)}, and a version is a directory "
            "whose name is an integer, such as 1"
        )
    if not any(has_saved_model(path) for path in versions.values()):
        latest = versions[max(versions)]
        raise UserError(
            f"{latest} holds {_some(sorted(os.listdir(latest)) if latest.is_dir() else [])} and no "
            f"saved_model.pb; export the model again, or wait until it is copied"
        )
    return versions


def models_in(path: Path) -> list[Path]:
    """The models in a directory of models, in the order of their names; empty for any other path."""
    try:
        if version_directories(path):
            return []
        return [
            path / name
            for name in sorted(os.listdir(path))
            if name[0] != "." and _holds_versions(path / name)
        ]
    except OSError:
        return []


def _holds_versions(path: Path) -> bool:
    try:
        return any(has_saved_model(child) for child in version_directories(path).values())
    except OSError:
        return False


def _some(names: list[str], most: int = 4) -> str:
    if not names:
        return "nothing"
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
