"""Checkpoint formats, one module each; the module's name is the format's.

A format module has:
    FILES       what it is recognised by, for the message when nothing is
    recognise(directory) -> bool
    read(directory, name="") -> Checkpoint
                `name`: the file (or prefix) of the directory that the user gave; where there are several weights,
                the ones to read
    write(checkpoint, directory)        only where the format is written
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def names() -> list[str]:
    """The names of all formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Any:
    """The module of a format."""
    return importlib.import_module(f"{__name__}.{name}")
