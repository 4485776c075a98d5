"""Readers of data files: one module a format; its file name is the suffix it reads.

A module has ``read(path, required)``, which yields the file's rows as :class:`Record` objects while it reads, and
raises UserError, with file and line, for a row it cannot read or a row or header without a ``required`` column.
Adding a format is adding a file; only the one that is needed is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

from tfpipeline import paths
from tfpipeline.data.records import Record
from tfpipeline.errors import UserError


def names() -> list[str]:
    """The suffixes that can be read, without the dot, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def read_records(path: Union[str, Path], required: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the rows of a data file; its suffix says the format.

    Args:
        path: the file.
        required: columns that every row must have.
    Raises:
        UserError: unknown suffix, unreadable or empty file, broken row, missing column; with file and line.
    """
    path = paths.local(path)
    suffix = path.suffix[1:].lower()
    if suffix not in names():
        known = ", ".join(f".{name}" for name in names())
        raise UserError(f'{path}: cannot tell the format from the suffix "{path.suffix}"; known: {known}')
    records: Iterator[Record] = importlib.import_module(f"{__name__}.{suffix}").read(path, required)
    yield from records
