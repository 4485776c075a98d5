"""One module per command: the module's name is the command's, and its function ``command`` has the options.

A module imports nothing heavy at its top: all of them are imported for ``--help``. One whose name begins with
``_`` is no command but shared by several.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

# The order of ``--help``: the road from a checkpoint to an answer; others follow by name.
_ROAD = ("convert", "train", "evaluate", "export", "serve", "predict")


def names() -> list[str]:
    """The names of all commands, in the order of ``--help``."""
    modules = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return sorted(modules, key=lambda name: (_ROAD.index(name) if name in _ROAD else len(_ROAD), name))


def find(name: str) -> Callable[..., Any]:
    """The function behind a command; Typer reads its signature and its docstring."""
    command: Callable[..., Any] = importlib.import_module(f"{__name__}.{name}").command
    return command
