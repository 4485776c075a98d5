"""Readers of data files: one module per format; its name is the suffix that it reads.

A module has ``read(path, reading)``, which yields the file's rows as :class:`Record` objects while it reads.
It raises UserError, with file and line, for a file that it cannot read, or a header without a required
column. It passes the error of a row that it cannot read to ``reading.bad_row``, and continues if that
returns. To add a format, add a file; only the module that is needed is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from tfpipeline import paths
from tfpipeline.data.records import FileOptions, Reading, Record
from tfpipeline.errors import UserError
from tfpipeline.named_modules import module_names
from tfpipeline.paths import AnyPath


def names() -> list[str]:
    """The suffixes that can be read, without the dot, sorted."""
    return module_names(__path__)


def read_records(
    path: AnyPath,
    required: Sequence[str] = (),
    file: Optional[FileOptions] = None,
    bad_row: Optional[Callable[[UserError], None]] = None,
) -> Iterator[Record]:
    """Yield the rows of a data file; its suffix determines the format.

    Args:
        path: the file.
        required: columns that every row must have.
        file: properties that the suffix does not determine.
        bad_row: receives the error of each row that cannot be read; by default the first one is raised.
    Raises:
        UserError: unknown suffix, unreadable or empty file, broken row, missing column; with file and line.
    """
    path = paths.local(path)
    suffix = path.suffix[1:].lower()
    if suffix not in names():
        known = ", ".join(f".{name}" for name in names())
        raise UserError(f'{path}: cannot tell the format from the suffix "{path.suffix}"; known: {known}')
    file = file or FileOptions()
    reading = Reading(required, file) if bad_row is None else Reading(required, file, bad_row)
    records: Iterator[Record] = importlib.import_module(f"{__name__}.{suffix}").read(path, reading)
    yield from records
