"""Records from files with a header and rows of cells: CSV, TSV, spreadsheets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tfpipeline.console import plural, say
from tfpipeline.data.blank_rows import BlankRows
from tfpipeline.data.records import Reading, Record, option, require, shortened
from tfpipeline.errors import UserError

_DELIMITERS = {";": ";", "\t": "tab", "|": "|", ",": ","}


def records(
    path: Path,
    rows: Iterable[tuple[int, Sequence[str]]],
    reading: Reading,
    *,
    too_many: str,
    too_few: str = "",
) -> Iterator[Record]:
    """The records of a table; its first row is the header.

    Columns without a name are left out, and so are empty cells after the header's last one, and empty rows:
    spreadsheets save all cells that were ever touched. Blank rows are counted, and so are rows with text in a
    column without a name. If the first column has no name and holds only whole numbers, it is an index, as
    written by pandas.

    Args:
        path: the file.
        rows: the line and the cells of each row.
        reading: options for reading the file.
        too_many: advice for a row that has text after the header's last cell.
        too_few: advice for a row that ends before the header's last name; not needed for a grid.
    """
    rows = iter(rows)
    line, header = next(rows, (1, ()))
    check_header(header, f"{path}:{line}", reading.required)
    named = [(place, name) for place, name in enumerate(header) if name.strip()]
    width = named[-1][0] + 1 if named else 0
    file = str(path)
    blank, unnamed = BlankRows(path), _Unnamed(header)
    for line, cells in rows:
        numbers = unnamed.has_number(cells)
        # An empty cell in the only column is a row: an empty text.
        only = len(cells) - numbers == len(header) - numbers == 1
        if not only and blank.count_if_blank(cells[numbers:], f"line {line}"):
            continue
        if len(cells) < width or any(map(str.strip, cells[len(header) :])):
            count = f"{len(cells)} {plural(len(cells), 'cell')} where the header has {len(header)}"
            advice = too_few if len(cells) < width else too_many
            reading.bad_row(UserError(f"{path}:{line}: {count}; {advice}"))
            continue
        if unnamed:
            unnamed.add(cells, line)
            yield Record({name: cells[place] for place, name in named}, file, line)
        else:
            yield Record(dict(zip(header, cells)), file, line)
    blank.tell()
    unnamed.tell(path)


class _Unnamed:
    """The columns without a name. They are not read, which is reported unless they hold an index."""

    def __init__(self, header: Sequence[str]) -> None:
        self._places = [place for place, name in enumerate(header) if not name.strip()]
        self._is_first = len(header) > 1 and not header[0].strip()
        self._indexed = self._is_first  # until the first column holds something other than whole numbers
        self._any, self._behind, self._numbers = _Counted(), _Counted(), _Counted()

    def __bool__(self) -> bool:
        return bool(self._places)

    def has_number(self, cells: Sequence[str]) -> bool:
        """Whether a row starts with a cell that may be an index."""
        return self._is_first and bool(cells) and cells[0].isascii() and cells[0].isdecimal()

    def add(self, cells: Sequence[str], line: int) -> None:
        """Inspect a row."""
        filled = [place for place in self._places if place < len(cells) and cells[place].strip()]
        if not filled:
            return
        self._any.add(line)
        if filled != [0]:
            self._behind.add(line)
        if filled[0] == 0:
            self._numbers.add(line)
            self._indexed = self._indexed and self.has_number(cells)

    def tell(self, path: Path) -> None:
        """Report what was not read."""
        indexed = self._indexed and self._numbers.count
        if indexed:
            say(f"{path}: the first column has no name and holds whole numbers: an index, which is not read")
        unread = self._behind if indexed else self._any
        if unread.count:
            rows = f"{unread.count} {plural(unread.count, 'row has', 'rows have')}"
            first = plural(unread.count, "in", "the first in")
            say(
                f"warning: {path}: {rows} text in columns without a name, which is not read, {first} line "
                f"{unread.first}; give the columns names, or put texts with commas in quotes"
            )


class _Counted:
    """The number of rows of a kind, and the first of them."""

    def __init__(self) -> None:
        self.count = self.first = 0

    def add(self, line: int) -> None:
        self.count += 1
        self.first = self.first or line


def check_header(header: Sequence[str], source: str, required: Sequence[str]) -> None:
    """Raise an error for a header that is missing, ambiguous, or lacks a required column."""
    if not header:
        raise UserError(f"{source}: the file is empty; expected a header and rows")
    names = [name for name in header if name.strip()]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(f'{source}: two columns are called "{shortened(repeated[0])}"; rename one')
    require(required, names, source, _other_delimiter(header))


def _other_delimiter(header: Sequence[str]) -> str:
    """Advice for a header that is a single cell, because the file has another delimiter."""
    if len(header) > 1:
        return ""
    delimiter = max(_DELIMITERS, key=header[0].count)
    if delimiter not in header[0]:
        return ""
    return f'; if "{_DELIMITERS[delimiter]}" stands between the cells, name it with {option("delimiter")}'
