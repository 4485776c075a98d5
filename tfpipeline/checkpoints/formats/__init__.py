"""Checkpoint formats, one module each; the module's name is the format's.

A name with a dot, ``find("our_company.our_format")``, is a module of somebody else's. It is used where it is
named; only the formats here are recognised by a folder's files.

A format module has:
    FILES       what it is recognised by, for the message when nothing is
    TABLE       its names and ours; a format of somebody else's needs none
    recognise(directory) -> bool        whether a directory holds the format: at most one, unless it holds
                weights of several
    owns(directory, name) -> bool       whether that file of a directory is one of its weights
    read(directory, name="") -> Checkpoint
                `name`: the file (or prefix) of the directory that the user gave; where there are several
                weights, the ones to read
    write(checkpoint, directory) -> notes       what could not be written, a list of sentences; only where the
                format is written
"""

from __future__ import annotations

import pkgutil
from typing import Any

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.named_modules import import_named

_PARTS = ("FILES", "recognise", "owns", "read")


def names() -> list[str]:
    """The names of all formats, sorted."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in modules if not name.startswith("_"))


def find(name: str) -> Any:
    """The module of a format.

    Args:
        name: of a module here, or, with a dot in it, of any module with the names of a format.
    Raises:
        UserError: there is no such format.
    """
    if "." not in name and name not in names():
        raise UserError(f'unknown checkpoint format "{name}"{did_you_mean(name, names())}')
    module = import_named("checkpoint format", name, __name__)
    missing = [part for part in _PARTS if not hasattr(module, part)]
    if missing:
        raise UserError(f"the module {name} holds no checkpoint format; it has no {', '.join(missing)}")
    return module


def written() -> list[str]:
    """The names of the formats here that can be written."""
    return [name for name in names() if hasattr(find(name), "write")]


def name_of(module: Any) -> str:
    """The name of a format's module, as :func:`find` takes it."""
    return str(module.__name__).removeprefix(f"{__name__}.")
