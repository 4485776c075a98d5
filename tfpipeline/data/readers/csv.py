"""Comma-separated values with a header (RFC 4180); quoted cells may hold commas, line breaks, doubled quotes.

Another delimiter than the comma may be set (``data.delimiter``).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from tfpipeline.data import tables
from tfpipeline.data.lines import read_lines
from tfpipeline.data.records import FileOptions, Reading, Record
from tfpipeline.errors import UserError

_ADVICE = (
    "put a cell that holds a comma, a quote or a line break in double quotes, and double the quotes in it"
)
_TOO_FEW = "add what is missing; an empty cell needs its delimiter, and a cell with a line break needs quotes"
_ENDS = (
    'a carriage return alone does not end a row; save the file again as "CSV UTF-8", or put the cell that '
    "holds it in quotes"
)
_MAX_CELL = min(sys.maxsize, 2**31 - 1)  # Python's default is 131,072 characters; a C long must hold it


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield the rows of a CSV file; see :mod:`tfpipeline.data.readers`. Blank lines are skipped."""
    yield from tables.records(path, _rows(path, reading.file), reading, too_many=_ADVICE, too_few=_TOO_FEW)


def _rows(path: Path, options: FileOptions) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(read_lines(path, options.encoding), delimiter=options.delimiter or ",", strict=True)
    while True:
        line = reader.line_num + 1
        # The limit applies to the whole process, so it is restored before any other code runs.
        limit = csv.field_size_limit(_MAX_CELL)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # Old versions of Excel for Mac ended rows with CR, and lines within a cell with LF.
            advice = _ENDS if "new-line character" in str(error) else _ADVICE
            raise UserError(f"{path}:{line}: broken row ({error}); {advice}") from error
        finally:
            csv.field_size_limit(limit)
        if cells is None:
            return
        if cells:
            yield line, cells
