"""Checkpoint formats, one module per format; the module's name is the format's name.

A name with a dot, ``find("our_company.our_format")``, is a module outside this package. It is used only where
it is named: a folder's files are matched against the formats of this package only.

A format module has:
    FILES       the files it is recognised by, for the error when no format is recognised
    TABLE       its names and the neutral names; optional for a format outside this package
    recognise(directory) -> bool        whether a directory holds this format. A directory matches at most one
                format, unless it holds weights of several
    owns(directory, name) -> bool       whether a file of a directory is one of this format's weights
    read(directory, name="") -> Checkpoint
                `name`: the file (or prefix) in the directory that the user gave; it selects the weights if
                there are several
    write(checkpoint, directory) -> notes       optional; the notes, a list of sentences, say what could not
                be written
"""

from __future__ import annotations

from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.named_modules import find_module, module_names

_PARTS = ("FILES", "recognise", "owns", "read")


def names() -> list[str]:
    """The names of all formats, sorted."""
    return module_names(__path__)


def find(name: str) -> Any:
    """The module of a format.

    Args:
        name: a module of this package or, with a dot, any module that has the names of a format.
    Raises:
        UserError: there is no such format.
    """
    module = find_module("checkpoint format", name, __name__, names())
    missing = [part for part in _PARTS if not hasattr(module, part)]
    if missing:
        raise UserError(f"the module {name} holds no checkpoint format; it has no {', '.join(missing)}")
    return module


def written() -> list[str]:
    """The names of this package's formats that can be written."""
    return [name for name in names() if hasattr(find(name), "write")]


def name_of(module: Any) -> str:
    """The name of a format's module, as :func:`find` takes it."""
    return str(module.__name__).removeprefix(f"{__name__}.")
