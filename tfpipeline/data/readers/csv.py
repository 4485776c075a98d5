"""Comma-separated values with a header (RFC 4180): quoted cells may hold commas, line breaks and doubled quotes."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfpipeline.data.records import Record, read_lines, require, shortened
from tfpipeline.errors import UserError

_ADVICE = (
    "put a cell that holds a comma, a quote or a line break in double quotes, and double the quotes in it"
)
_MAX_CELL = min(sys.maxsize, 2**31 - 1)  # Python's default is 131,072 characters; a C long must hold it


def read(path: Path, required: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the rows of a CSV file; see :mod:`tfpipeline.data.readers`. Blank lines are skipped."""
    rows = _rows(path)
    line, header = next(rows, (1, []))
    check_header(header, f"{path}:{line}", required)
    for line, cells in rows:
        if len(cells) != len(header):
            raise UserError(
                f"{path}:{line}: {len(cells)} cells where the header has {len(header)}; {_ADVICE}"
            )
        yield Record(dict(zip(header, cells)), str(path), line)


def check_header(header: Sequence[str], source: str, required: Sequence[str]) -> None:
    """Raise the sentence for a header that is missing, ambiguous, or lacks a required column."""
    if not header:
        raise UserError(f"{source}: the file is empty; expected a header and rows")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise UserError(f'{source}: two columns are called "{shortened(repeated[0])}"; rename one')
    require(required, header, source)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(read_lines(path), strict=True)
    while True:
        line = reader.line_num + 1
        # The limit is the whole process's, so it is put back before anyone else's code runs.
        limit = csv.field_size_limit(_MAX_CELL)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{path}:{line}: broken row ({error}); {_ADVICE}") from error
        finally:
            csv.field_size_limit(limit)
        if cells is None:
            return
        if cells:
            yield line, cells
