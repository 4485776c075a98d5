"""Rows of data files, and helpers that readers share."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from tfpipeline.errors import UserError, did_you_mean, nearest, visible

_SHOWN = 40  # characters of a column's name
_ENCODINGS = ("utf-8", "utf-16", "cp1252", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251")
_LISTED = 20  # columns of a file


@dataclass(frozen=True)
class Record:
    """One row of a data file.

    Attributes:
        columns: cells by column name, as text. A missing cell is an empty string.
        file: the file's name, as the user gave it.
        line: the line where the row starts, from 1; in a file without lines, the row's number.
        place: the position of the row in a file that is one document, ``data[0].paragraphs[2].qas[1]``; None
            for other files.
    """

    columns: Mapping[str, str]
    file: str
    line: int
    place: Optional[str] = None

    @property
    def source(self) -> str:
        """``file:line``, or ``file: place``, for messages."""
        return source_of(self.file, self.line, self.place)


def source_of(file: str, line: int, place: Optional[str]) -> str:
    """The position of a row, for messages; in a file that is one document, its place, because lines are not
    known.
    """
    return f"{file}:{line}" if place is None else f"{file}: {place}"


class Structure(str):
    """The JSON text of a cell that is a list or an object in its file, not a text that looks like one."""


class Number(str):
    """A number as it is written: 1.0 stays 1.0, and an identifier of 30 digits keeps them all."""


class NoValue(Number):
    """A missing or invalid value in a file with types: NaN, an infinity, a spreadsheet's #N/A."""


class Constant(str):
    """The text of a value that is ``true``, ``false`` or ``null`` in its file.

    Attributes:
        value: the value.
    """

    value: Optional[bool]

    @classmethod
    def of(cls, text: str, value: Optional[bool]) -> Constant:
        made = cls(text)
        made.value = value
        return made


@dataclass(frozen=True)
class FileOptions:
    """Properties of a data file that its suffix does not determine.

    Attributes:
        encoding: of a text file, as Python calls it.
        delimiter: the character between the cells of a .csv or .tsv file; None for a comma and a tab.
        sheet: the sheet of a workbook; None for the first one.
        paragraphs: whether a row of a .txt file is a paragraph, not a line.
    """

    encoding: str = "utf-8"
    delimiter: Optional[str] = None
    sheet: Optional[str] = None
    paragraphs: bool = False


def option(name: str) -> str:
    """How messages name one of :class:`FileOptions`, so that it is right for all commands: a run file has it
    beside each file's path, in ``data`` and in ``task.corpus``.
    """
    return f'--{name} (in a run file: "{name}", beside the path of the file)'


def check_encoding(name: str) -> str:
    """Check the name of an encoding; returns it unchanged.

    Raises:
        ValueError: it is not a text encoding.
    """
    try:
        "a".encode(name)  # refuses codecs that are not for text, such as base64
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):  # a NUL in the name
        raise ValueError(f"no such encoding of text; common ones are {', '.join(_ENCODINGS)}") from None
    return name


def one_delimiter(text: str) -> str:
    """The delimiter that a text names; ``\\t`` and ``tab`` mean a tab.

    Raises:
        ValueError: it is not one character, or one that cannot separate cells.
    """
    text = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(text) != 1 or text in '\r\n"':
        raise ValueError('must be one character, such as ";" or "\\t" (a tab)')
    return text


def file_options(
    *, encoding: Optional[str] = None, delimiter: Optional[str] = None, sheet: Optional[str] = None
) -> dict[str, Any]:
    """The given options of :class:`FileOptions`, checked.

    Raises:
        UserError: an option is invalid.
    """
    given = {"encoding": encoding, "delimiter": delimiter, "sheet": sheet}
    options = {name: value for name, value in given.items() if value is not None}
    checks = {"encoding": check_encoding, "delimiter": one_delimiter}
    for name in options.keys() & checks.keys():
        try:
            options[name] = checks[name](options[name])
        except ValueError as error:
            raise UserError(f'{name} "{visible(options[name])}": {error}') from error
    return options


def _raise(error: UserError) -> None:
    raise error


@dataclass(frozen=True)
class Reading:
    """How a data file is read.

    Attributes:
        required: columns that every row must have.
        file: properties that the suffix does not determine.
        bad_row: receives the error of each row that cannot be read; if it returns, reading continues.
    """

    required: Sequence[str] = ()
    file: FileOptions = FileOptions()
    bad_row: Callable[[UserError], None] = _raise


def require(wanted: Sequence[str], columns: Iterable[str], source: str, hint: str = "") -> None:
    """Raise the error for a missing column.

    Args:
        wanted: the required columns.
        columns: the existing columns.
        source: ``file:line``.
        hint: what may be wrong with the file.
    """
    columns = list(columns)
    for name in wanted:
        if name not in columns:
            guess = did_you_mean(name, map(_cut, columns)) if nearest(name, map(_cut, columns)) else ""
            shown = ", ".join(f'"{shortened(column)}"' for column in columns[:_LISTED])
            more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
            listed = f"The columns are {shown}{more}" if guess else f"; the columns are {shown}{more}"
            listed = f" {listed}" if guess else listed
            raise UserError(
                f'{source}: there is no column "{visible(name)}"{guess}{listed if columns else ""}{hint}'
            )


def require_value(record: Record, column: str) -> None:
    """Raise the error for a cell without a valid value; an empty cell is allowed."""
    if isinstance(record.columns[column], NoValue):
        raise UserError(
            f'{record.source}: the column "{shortened(column)}" holds {record.columns[column]}, which is not '
            "a value; write one, leave it empty (null) if there is none, or remove the row"
        )


def parse_float(cell: str) -> float:
    """Parse a number, in ASCII and without Python's underscores; NaN if the cell is not a number."""
    try:
        return float(cell) if cell.isascii() and "_" not in cell else math.nan
    except ValueError:
        return math.nan


def shortened(text: str) -> str:
    """A name or text of a file for a message: its beginning, with invisible characters escaped."""
    return visible(_cut(text))


def _cut(text: str) -> str:
    # If the header is missing, the first row's text takes the place of a name.
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_error(path: Path, error: OSError) -> UserError:
    """The error for a data file that cannot be read."""
    return UserError(f"cannot read {path}: {error.strerror or error}; check the path of the data file")
