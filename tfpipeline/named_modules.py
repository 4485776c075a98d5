"""Modules that are found by name: those of a folder of the package, or somebody else's by their path."""

from __future__ import annotations

import importlib
from types import ModuleType

from tfpipeline.errors import UserError


def import_named(kind: str, name: str, folder: str) -> ModuleType:
    """Import the module of that name.

    Args:
        kind: what it holds, for messages: ``task``.
        name: of a module in ``folder``, or, with a dot in it, the path of any module.
        folder: the package that the modules without a dot lie in.
    Raises:
        UserError: it is no name of a module, or there is no such module.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f'unknown {kind} "{name}": not the name of a module')
    path = name if "." in name else f"{folder}.{name}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # A module that this one needs is for its author to see.
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f'unknown {kind} "{name}": there is no module {error.name}; install it, or put its folder into '
            "PYTHONPATH"
        ) from error
