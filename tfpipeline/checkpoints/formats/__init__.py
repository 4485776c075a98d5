"""Checkpoint formats, one module each; the module's name is the format's.

A format module has:
    FILES       what it is recognised by, for the message when nothing is
    TABLE       its names and ours
    recognise(directory) -> bool        of one directory at most one format, unless it holds weights of
    several owns(directory, name) -> bool       whether that file of a directory is one of its weights
    read(directory, name="") -> Checkpoint
                `name`: the file (or prefix) of the directory that the user gave; where there are several
                weights, the ones to read
    write(checkpoint, directory)        only where the format is written
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def names() -> list[str]:
    """The names of all formats, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def find(name: str) -> Any:
    """The module of a format."""
    return importlib.import_module(f"{__name__}.{name}")


def name_of(module: Any) -> str:
    """The name of a format's module."""
    return str(module.__name__).rpartition(".")[2]
