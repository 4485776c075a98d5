"""Records of files that have a header and rows of cells: CSV, TSV, spreadsheets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tfpipeline.console import say
from tfpipeline.data.blank_rows import BlankRows
from tfpipeline.data.records import Reading, Record, require, shortened
from tfpipeline.errors import UserError

_DELIMITERS = {";": ";", "\t": "tab", "|": "|", ",": ","}


def records(
    path: Path, rows: Iterable[tuple[int, Sequence[str]]], reading: Reading, *, advice: str
) -> Iterator[Record]:
    """The records of a table; its first row is the header.

    Columns without a name are left out, and so are rows without anything in them: a spreadsheet saves as many of both
    as were ever touched. The latter are counted, as are rows with something in the former.

    Args:
        path: the file.
        rows: of each its line and its cells.
        reading: how the file is read.
        advice: what to do about a row that has not as many cells as the header.
    """
    rows = iter(rows)
    line, header = next(rows, (1, ()))
    check_header(header, f"{path}:{line}", reading.required)
    named = [(place, name) for place, name in enumerate(header) if name.strip()]
    unnamed = [place for place, name in enumerate(header) if not name.strip()]
    file = str(path)
    blank, unread = BlankRows(path), _Counted()
    for line, cells in rows:
        if (len(cells) > 1 or len(header) > 1) and blank.count_if_blank(cells, f"line {line}"):
            continue
        if len(cells) != len(header):
            reading.bad_row(
                UserError(f"{path}:{line}: {len(cells)} cells where the header has {len(header)}; {advice}")
            )
        else:
            if unnamed and any(cells[place].strip() for place in unnamed):
                unread.add(line)
            columns = {name: cells[place] for place, name in named} if unnamed else dict(zip(header, cells))
            yield Record(columns, file, line)
    blank.tell()
    if unread.count:
        say(
            f"warning: {path}: {unread.count} row(s) have text in columns without a name, which is not read, the first in line "
            f"{unread.first}; give the columns names, or put texts with commas in quotes"
        )


class _Counted:
    """How many rows there are of a kind, and where the first one is."""

    def __init__(self) -> None:
        self.count = self.first = 0

    def add(self, line: int) -> None:
        self.count += 1
        self.first = self.first or line


def check_header(header: Sequence[str], source: str, required: Sequence[str]) -> None:
    """Raise the sentence for a header that is missing, ambiguous, or lacks a required column."""
    if not header:
        raise UserError(f"{source}: the file is empty; expected a header and rows")
    names = [name for name in header if name.strip()]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(f'{source}: two columns are called "{shortened(repeated[0])}"; rename one')
    require(required, names, source, _other_delimiter(header))


def _other_delimiter(header: Sequence[str]) -> str:
    """What to do about a header that is one cell, because the file has another delimiter."""
    if len(header) > 1:
        return ""
    found = max(_DELIMITERS, key=header[0].count)
    if found not in header[0]:
        return ""
    return f'; if "{_DELIMITERS[found]}" stands between the cells, set data.delimiter to it (or --delimiter)'
