"""Paths as people write them: ``~`` is the home directory, as in a shell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

from tfpipeline.errors import UserError

AnyPath = Union[str, "os.PathLike[str]"]


def expand(path: AnyPath) -> str:
    """A path with ``~`` and ``~name`` at its start replaced by the home directory; the rest, URLs too, is
    left alone.

    Everything that reads or writes a path which a user gave passes it through here: a shell expands ``~`` at
    the start of an argument only, and neither in ``--to=~/x``, nor in a run file, nor in Python.

    Raises:
        UserError: it is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(
            f"expected a path, found {path!r} ({type(path).__name__}); give a str or a pathlib.Path"
        )
    text = os.fsdecode(path)
    scheme = "file://" if text.startswith("file://~") else ""
    return scheme + os.path.expanduser(text[len(scheme) :])


def local(path: AnyPath) -> Path:
    """A path on this machine, its ``~`` expanded.

    Raises:
        UserError: it is no path.
    """
    return Path(expand(path))
