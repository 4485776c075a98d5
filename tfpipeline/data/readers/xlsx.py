"""Excel workbooks: one sheet with a header in its first row; needs openpyxl.

Cells are those of a CSV file of the sheet: whole numbers without a decimal point, others with at most 15
digits, dates and times as ISO 8601, TRUE and FALSE, and a formula's stored value. An error (#N/A) counts as a
missing value (:class:`~tfpipeline.data.records.NoValue`). A record's line is the number of its row, from 1.
"""

from __future__ import annotations

import contextlib
import datetime
import warnings
import xml.etree.ElementTree
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpipeline.console import say
from tfpipeline.data import tables
from tfpipeline.data.records import Constant, NoValue, Number, Reading, Record, option, read_error, shortened
from tfpipeline.errors import UserError, did_you_mean, explain_missing_extra

_WHOLE = 1e15  # below it, every whole number is shown with all its digits
# Exceptions of openpyxl for a file in another format, or a damaged one.
_DAMAGED = (zipfile.BadZipFile, zlib.error, xml.etree.ElementTree.ParseError, KeyError, ValueError, TypeError)


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield the rows of a workbook's sheet; see :mod:`tfpipeline.data.readers`. Blank rows are skipped."""
    with explain_missing_extra():
        import openpyxl

    try:
        with path.open("rb") as file:
            try:
                with _quiet():
                    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            except _DAMAGED as error:
                raise _damaged(path, error) from error
            rows = _rows(_sheet(book, path, reading.file.sheet), path)
            yield from tables.records(path, rows, reading, too_many="give each column a name in the header")
    except OSError as error:
        raise read_error(path, error) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence openpyxl's warnings about formats, drawings and validation, which do not affect cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: not an Excel workbook, or a damaged or protected one ({error}); save it as .xlsx again"
    )


def _sheet(book: Any, path: Path, name: str | None) -> Any:
    names = [sheet.title for sheet in book.worksheets]
    if not names:
        raise UserError(f"{path}: the workbook has no sheet of cells; save it again with one")
    if name is None:
        if len(names) > 1:
            others = ", ".join(f'"{shortened(other)}"' for other in names[1:])
            say(
                f'{path}: reading the first sheet, "{shortened(names[0])}"; name another one ({others}) with '
                f"{option('sheet')}"
            )
        return book.worksheets[0]
    if name not in names:
        raise UserError(f'{path}: there is no sheet "{name}"{did_you_mean(name, names)}')
    return book.worksheets[names.index(name)]


def _rows(sheet: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a sheet, starting with the header; none is narrower than the header."""
    sheet.reset_dimensions()  # many programs write wrong ones, and rows outside them would be left out
    rows = enumerate(sheet.iter_rows(), 1)
    width = 0
    while True:
        try:
            with _quiet():
                number, row = next(rows, (0, ()))
                cells = [_text(cell) for cell in row]
        except _DAMAGED as error:
            raise _damaged(path, error) from error
        if not number:
            return
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if width or cells:
            width = width or len(cells)
            yield number, cells + [Constant.of("", None)] * (width - len(cells))


def _text(cell: Any) -> str:
    value = cell.value
    if value is None:
        return Constant.of("", None)
    if cell.data_type == "e":
        return NoValue(value)
    if isinstance(value, bool):
        return Constant.of("TRUE" if value else "FALSE", value)
    if isinstance(value, int):
        return Number(value)
    if isinstance(value, float):
        return Number(int(value) if value.is_integer() and abs(value) < _WHOLE else f"{value:.15g}")
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "seconds")
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return value.isoformat() if isinstance(value, datetime.time) else str(value)
