"""Tells the user what a path is if it was given as a checkpoint or a run, but is something else."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

from tfpipeline import paths
from tfpipeline.errors import UserError

_RUN_FILES = ("config.yaml", "environment.json")
_STEP_FILES = ("model.safetensors", "state.json")
_SAVED_MODEL = "saved_model.pb"
_ADAPTER = '"tfpipeline.adapter"'  # the format in the metadata of an adapter, as JSON
_NAMED = 3  # of what a folder holds


def is_run(path: Path) -> bool:
    """Whether a path is the directory of a run of ``tfpipeline train``."""
    return all(os.path.isfile(path / name) for name in _RUN_FILES)  # False for a name that is too long


def run_of(path: Path) -> Optional[Path]:
    """The run that a path is or is part of: its checkpoints and their contents, or a file beside them."""
    return path if is_run(path) else _run_above(path)


def check_checkpoint(source: Union[str, os.PathLike[str]], *, unread: bool = False) -> None:
    """Refuse a path that is known not to be a checkpoint.

    Args:
        source: as the user gave it.
        unread: whether no checkpoint was found there. Then folders that might also contain a checkpoint are
            refused too.
    Raises:
        UserError: the message says what the path is, and how to use it.
    """
    mistake = _look(source, unread)
    if mistake is not None:
        raise UserError(f"{source} {mistake.what}, not a checkpoint; {mistake.instead}")


def check_run(source: Union[str, os.PathLike[str]], *, unread: bool = False) -> None:
    """Refuse a path that is known to be neither a run nor a checkpoint; see :func:`check_checkpoint`.

    Raises:
        UserError: the message says what the path is, and how to use it.
    """
    mistake = _look(source, unread)
    if mistake is not None and not mistake.is_run:
        raise UserError(f"{source} {mistake.what}; {mistake.rather}")


def require_run(source: Union[str, os.PathLike[str]]) -> None:
    """Refuse a path of this machine that is known to be neither a run nor a checkpoint, or does not exist.

    For commands that need such a path: it takes no time, while opening one loads TensorFlow.

    Raises:
        UserError: the message says what the path is, and how to use it.
    """
    check_run(source)
    if not paths.is_far(source) and not os.path.exists(paths.local(source)):
        raise no_such_run(source)


def no_such_run(path: Union[str, os.PathLike[str]]) -> UserError:
    """The error for a path that does not exist."""
    return UserError(f"{path}: no such run directory; make one with: tfpipeline train RUN_FILE")


class _Found:
    """A known kind of path that is not a checkpoint.

    Args:
        what: what it is, as a phrase that follows its name.
        rather: advice for callers that accept a run or a checkpoint.
        instead: advice for callers that accept a checkpoint only.
        is_run: whether it is a run.
    """

    def __init__(self, what: str, rather: str, instead: str = "", is_run: bool = False) -> None:
        self.what, self.rather, self.instead, self.is_run = what, rather, instead or rather, is_run


def _look(source: Union[str, os.PathLike[str]], unread: bool) -> Optional[_Found]:
    if paths.is_far(source):
        return None
    try:
        return _what(paths.local(source), unread)
    except (
        OSError,
        ValueError,
    ):  # a name that is too long, a folder without permission: the reader reports it
        return None


def _what(path: Path, unread: bool) -> Optional[_Found]:
    if is_run(path):
        convert = f"write one from it: tfpipeline convert {path} DEST"
        load = f"or load it in Python: tfpipeline.training.load_checkpoint({json.dumps(str(path))})"
        return _Found("is a run of tfpipeline train", "", f"{convert}; {load}", is_run=True)
    run = _run_above(path)
    if run is not None:
        return _Found(f"is a part of the run {run}", f"give the run itself: {run}")
    if path.suffix == ".keras" and path.exists():
        load = f"load it in Python: keras.models.load_model({json.dumps(str(path))})"
        return _Found(
            "is a model that Keras has saved", f"{load}; needed here is a run or a checkpoint", load
        )
    if _is_adapter(path):
        return _Found("is an adapter", f"merge it into its base: tfpipeline adapter merge {path} --to DIR")
    if all((path / name).is_file() for name in _STEP_FILES) and not (path / "config.json").exists():
        return _Found(
            "holds the weights of a run without the run",
            "give the whole run directory: its vocabulary and settings are needed, too",
        )
    return _without_checkpoint(path) if unread else None


def _is_adapter(path: Path) -> bool:
    """Whether a path is an ``adapter.safetensors``: a length in 8 bytes, then a header in JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < path.stat().st_size:
            return False
        start = file.read(1)
        header = json.loads(start + file.read(length - 1)) if start == b"{" else None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return isinstance(metadata, dict) and metadata.get("format") == _ADAPTER


def _without_checkpoint(path: Path) -> Optional[_Found]:
    """What a path without a checkpoint is."""
    if path.name == _SAVED_MODEL or (path / _SAVED_MODEL).is_file():
        return _saved_model(path, "is an exported SavedModel")
    if path.suffix in (".yaml", ".yml") and path.is_file():
        train = f"train it: tfpipeline train {path}"
        return _Found("is a run file", f"{train}; then give the folder that it calls output", train)
    if not path.is_dir():
        return None
    inside = sorted(child for child in path.iterdir() if child.is_dir())
    if any(child.name.isdecimal() and (child / _SAVED_MODEL).is_file() for child in inside):
        return _saved_model(path, "holds the versions of an exported model")
    runs = [child for child in inside if is_run(child)]
    if runs:
        return _Found(f"is a folder of runs ({_names(runs)})", f"name one of them, such as {runs[0]}")
    models = [child for child in inside if any(child.glob(f"[0-9]*/{_SAVED_MODEL}"))]
    if models:
        return _Found(f"is a folder of exported models ({_names(models)})", _ask(models[0]))
    return None


def _saved_model(path: Path, what: str) -> _Found:
    folder = path.parent if path.name == _SAVED_MODEL else path
    return _Found(
        what, f"{_ask(folder)}; evaluate and export take the run that it was exported from", _ask(folder)
    )


def _ask(path: Path) -> str:
    return f"get predictions from it: tfpipeline predict --from {path} TEXT"


def _run_above(path: Path) -> Optional[Path]:
    for above in (*path.parents, *path.absolute().parents):
        if is_run(above):
            parts = path.absolute().relative_to(above.absolute()).parts
            return above if parts[0] == "checkpoints" or (len(parts) == 1 and path.is_file()) else None
    return None


def _names(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.name for path in paths[:_NAMED]) + more
