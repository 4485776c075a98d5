"""Modules that are found by name: in a folder of this package, or outside of it by import path."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterable
from types import ModuleType

from tfpipeline.errors import UserError, did_you_mean


def module_names(path: Iterable[str]) -> list[str]:
    """The names of the modules of a package, sorted; those that begin with ``_`` are left out.

    Args:
        path: the package's ``__path__``.
    """
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


def find_module(kind: str, name: str, folder: str, known: Collection[str]) -> ModuleType:
    """The module of that name: one of the known modules of ``folder``, or any module with a dot in its name.

    Args:
        kind, name, folder: as of :func:`import_named`.
        known: the names in ``folder`` that can be meant.
    Raises:
        UserError: as :func:`import_named`, or the name has no dot and is not known.
    """
    if "." not in name and name not in known:
        raise UserError(f'unknown {kind} "{name}"{did_you_mean(name, known)}')
    return import_named(kind, name, folder)


def import_named(kind: str, name: str, folder: str) -> ModuleType:
    """Import the module of that name.

    Args:
        kind: what the module defines, for messages, such as ``task``.
        name: the name of a module in ``folder``, or, with a dot in it, the import path of any module.
        folder: the package of the modules without a dot.
    Raises:
        UserError: it is not a module's name, or there is no such module.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f'unknown {kind} "{name}": not the name of a module')
    path = name if "." in name else f"{folder}.{name}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # A missing import within the module is for its author to see.
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f'unknown {kind} "{name}": there is no module {error.name}; install it, or put its folder into '
            "PYTHONPATH"
        ) from error
