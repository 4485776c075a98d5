"""Paths as people write them: ``~`` is the home directory, as in a shell; ``gs://bucket/x`` is far away."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Union

from tfpipeline.errors import UserError

AnyPath = Union[str, "os.PathLike[str]"]

# Two letters at least: one is a drive of Windows.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//?)")


def expand(path: AnyPath) -> str:
    """Replace ``~`` or ``~name`` at the start of a path by the home directory; the rest, and URLs, stay
    unchanged.

    All code that reads or writes a user's path passes it through this function. A shell expands ``~`` only at
    the start of an argument: not in ``--to=~/x``, in a run file, or in Python. A ``pathlib.Path`` of an
    address, which has lost one of its two slashes, gets it back.

    Raises:
        UserError: it is not a path, or an address with one slash.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(
            f"expected a path, found {path!r} ({type(path).__name__}); give a str or a pathlib.Path"
        )
    text = os.fsdecode(path)
    address = _ADDRESS.match(text)
    if address and address[2] == "/" and not os.path.lexists(text):
        whole = f"{address[1]}:/{text[address.end() - 1 :]}"
        if address[1] == "file":
            return f"file://{text[address.end() - 1 :]}"
        if isinstance(path, str):
            raise UserError(
                f"{text}: an address has two slashes; write {whole}, or ./{text} for a local path"
            )
        text = whole
    scheme = "file://" if text.startswith("file://~") else ""
    return scheme + os.path.expanduser(text[len(scheme) :])


def scheme(path: AnyPath) -> str:
    """``"gs"`` of ``gs://bucket/folder``; "" of a path on this machine, which ``file://`` is as well.

    Raises:
        UserError: as :func:`expand`.
    """
    address = _ADDRESS.match(expand(path))
    return "" if not address or address[2] == "/" or address[1] == "file" else address[1]


def is_far(path: AnyPath) -> bool:
    """Whether a path is an address, ``scheme://...``, of another file system than this machine's.

    Raises:
        UserError: as :func:`expand`.
    """
    return bool(scheme(path))


def unusable(address: AnyPath, *supported: str) -> UserError:
    """The refusal of an address of a file system that cannot be used for what it was given for.

    Args:
        address: ``scheme://...``.
        supported: the schemes that can be used there, such as "gs".
    """
    text = expand(address)
    others = " or ".join(f"{name}://" for name in supported)
    instead = f", or an address that starts with {others}" if supported else ""
    return UserError(f"{text}: {scheme(text)}:// cannot be used here; give a path on this machine{instead}")


def absolute(path: AnyPath) -> str:
    """A path that means the same in every working directory; an address stays as it is.

    Raises:
        UserError: as :func:`expand`.
    """
    return expand(path) if is_far(path) else str(local(path).absolute())


def local(path: AnyPath) -> Path:
    """A path on this machine, with ``~`` expanded.

    Raises:
        UserError: it is not a path, or on another file system.
    """
    text = expand(path)
    if is_far(text):
        raise unusable(text)
    return Path(text.removeprefix("file://"))
