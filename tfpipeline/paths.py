"""Paths as people write them: ``~`` is the home directory, as in a shell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

from tfpipeline.errors import UserError

AnyPath = Union[str, "os.PathLike[str]"]


def expand(path: AnyPath) -> str:
    """Replace ``~`` or ``~name`` at the start of a path by the home directory; the rest, and URLs, stay
    unchanged.

    All code that reads or writes a user's path passes it through this function. A shell expands ``~`` only at
    the start of an argument: not in ``--to=~/x``, in a run file, or in Python.

    Raises:
        UserError: it is not a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(
            f"expected a path, found {path!r} ({type(path).__name__}); give a str or a pathlib.Path"
        )
    text = os.fsdecode(path)
    scheme = "file://" if text.startswith("file://~") else ""
    return scheme + os.path.expanduser(text[len(scheme) :])


def local(path: AnyPath) -> Path:
    """A path on this machine, with ``~`` expanded.

    Raises:
        UserError: it is not a path.
    """
    return Path(expand(path))
