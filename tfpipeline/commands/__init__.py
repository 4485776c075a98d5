"""The commands: one module per command, with the command's name ("_" for "-"). Its function ``command`` has
the options.

A package is a group of commands, one module each (``tfpipeline adapter extract``); its docstring is the
group's help. Modules import nothing heavy at the top, because ``--help`` imports all of them. A module with a
name that begins with ``_`` is shared code, not a command.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from tfpipeline.named_modules import module_names

# The order in ``--help``: the steps from a checkpoint to a prediction; other commands follow by name.
_ROAD = ("convert", "train", "evaluate", "export", "serve", "predict")


def names() -> list[str]:
    """The names of all commands and groups, in the order of ``--help``."""
    return sorted(
        module_names(__path__), key=lambda name: (_ROAD.index(name) if name in _ROAD else len(_ROAD), name)
    )


def group(name: str) -> list[str]:
    """The names of the commands of a group, as :func:`find` takes them; empty for a command."""
    path = getattr(importlib.import_module(f"{__name__}.{name}"), "__path__", None)
    return [] if path is None else [f"{name}.{inner}" for inner in module_names(path)]


def find(name: str) -> Callable[..., Any]:
    """The function behind a command; Typer reads its signature and its docstring."""
    command: Callable[..., Any] = importlib.import_module(f"{__name__}.{name}").command
    return command


def help_of(name: str) -> str:
    """The help of a group."""
    return importlib.import_module(f"{__name__}.{name}").__doc__ or ""
