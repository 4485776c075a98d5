"""A row of a data file, and what the readers of text formats share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tfpipeline.errors import UserError, did_you_mean

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN = 40  # characters of a column's name
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Record:
    """One row of a data file.

    Attributes:
        columns: cells by column name, as text. A gap is an empty string.
        file: the file's name, as the user gave it.
        line: where the row starts, from 1; of a file without lines, the row's number.
        place: where the row stands in a file that is one document, ``data[0].paragraphs[2].qas[1]``; None for others.
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
    """Where a row stands, for messages; of one document no line is known, and its row's number would look like one."""
    return f"{file}:{line}" if place is None else f"{file}: {place}"


class Structure(str):
    """The JSON text of a cell that is a list or an object in its file, told from a text that only looks like one."""


def require(wanted: Sequence[str], columns: Iterable[str], source: str) -> None:
    """Raise the sentence for a column that is not there; ``source`` is ``file:line``."""
    columns = list(columns)
    for name in wanted:
        if name not in columns:
            known = map(shortened, columns)
            raise UserError(f'{source}: there is no column "{name}"{did_you_mean(name, known)}')


def number(cell: str) -> float:
    """The number that a cell holds, in ASCII and without Python's underscores; NaN where it holds none."""
    try:
        return float(cell) if cell.isascii() and "_" not in cell else math.nan
    except ValueError:
        return math.nan


def shortened(name: str) -> str:
    """A column's name in a message: where the header is missing, the first row's text stands in its place."""
    name = " ".join(name.split())
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."


def read_error(path: Path, error: OSError) -> UserError:
    """The sentence for a data file that cannot be read."""
    return UserError(f"cannot read {path}: {error.strerror or error}; check the path of the data file")


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their line ends, without a byte-order mark; lines end at LF only.

    Unlike text mode it splits at no other character (U+2028, a lone CR), so the numbers are those of editors.

    Raises:
        UserError: the file cannot be read, or is not UTF-8; names the line.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    if line.startswith(_UTF16_MARKS):
                        raise UserError(f"{path}:1: the file is UTF-16, not UTF-8; save it as UTF-8")
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                try:
                    yield line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8"
                    ) from error
    except OSError as error:
        raise read_error(path, error) from error
