"""Rows as tasks see them, their cells by role; and files of rows, larger than memory."""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Optional, Union, cast, overload

import numpy as np

from tfpipeline import paths
from tfpipeline.data.records import source_of
from tfpipeline.data.text_names import TEXT, TEXT_PAIR
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file, write_error

KEPT_BYTES = 64 << 20  # rows of smaller files stay in memory once they have been read
_PIECE = 1 << 20


@dataclass(frozen=True)
class Example:
    """One row of a data set.

    Attributes:
        text: the text; it may be empty.
        text_pair: the second text, for tasks on text pairs.
        label: without surrounding white space; None if the cell is blank or the run file names no column.
        weight: at least 0, finite.
        group: a group ID; the rows of one group stay in one split.
        columns: the row's other cells by column name, including those from which a task reads several labels.
        file: the file of the row, as the user named it.
        line: the line in that file, from 1.
        place: the position in a file that is one document; see :class:`~tfpipeline.data.records.Record`.
        further_texts: texts beyond these two, by name, for tasks that encode each text separately.
    """

    text: str
    text_pair: Optional[str] = None
    label: Optional[str] = None
    weight: float = 1.0
    group: Optional[str] = None
    columns: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    line: int = 0
    place: Optional[str] = None
    further_texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """``file:line``, or ``file: place``, for messages."""
        return source_of(self.file, self.line, self.place)

    @property
    def texts(self) -> dict[str, str]:
        """All texts by name."""
        pair = {} if self.text_pair is None else {TEXT_PAIR: self.text_pair}
        return {TEXT: self.text, **pair, **self.further_texts}

    @property
    def joined_text(self) -> str:
        """Both texts joined, for models without pairs."""
        return self.text if self.text_pair is None else f"{self.text} {self.text_pair}"


class Rows(Sequence[Example]):
    """Examples in a file, one per line, that are parsed when they are accessed.

    Only the position of each row is in memory, 8 bytes per row; the rows of small files stay in memory.
    """

    def __init__(self, lines: Lines, numbers: Union[np.ndarray, range, None] = None) -> None:
        self._lines = lines
        self._numbers = range(len(lines)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Rows: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[Example, Rows]:
        if isinstance(index, slice):
            return Rows(self._lines, self._numbers[index])
        return self._lines.example(int(self._numbers[index]))

    def __iter__(self) -> Iterator[Example]:
        for number in self._numbers:
            yield self._lines.example(int(number))

    def __eq__(self, other: object) -> bool:
        """Equal to any sequence of equal examples."""
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(one == two for one, two in zip(self, other))

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: np.ndarray) -> Rows:
        """Some of the rows, in this order."""
        return Rows(self._lines, np.asarray(self._numbers)[numbers])

    def raw(self) -> Iterator[bytes]:
        """The lines of the rows in the file, with line ends."""
        for number in self._numbers:
            yield self._lines.line(int(number))


class _Open:
    """An open file that is closed when nothing refers to it any more."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        weakref.finalize(self, file.close)


class Lines:
    """The lines of an open file.

    Args:
        file: open for reading in binary.
        starts: the start of each line, int64, and last the end of the file.
        name: the name of the file in messages.
    """

    def __init__(self, file: _Open, starts: np.ndarray, name: str) -> None:
        self._file, self._starts, self._name = file, starts, name
        small = int(starts[-1]) <= KEPT_BYTES
        self._kept: Optional[list[Optional[Example]]] = [None] * len(self) if small else None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def line(self, number: int) -> bytes:
        """A line, from 0, with its end."""
        start, end = self._starts[number : number + 2].tolist()
        try:
            self._file.file.seek(start)
            return self._file.file.read(end - start)
        except OSError as error:
            raise UserError(f"cannot read {self._name}: {error.strerror}; check the disk") from error

    def example(self, number: int) -> Example:
        """The row of a line, from 0.

        Raises:
            UserError: the line was not written by :func:`write_examples`.
        """
        if self._kept is not None and (kept := self._kept[number]) is not None:
            return kept
        try:
            example = Example(**json.loads(self.line(number)))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{self._name}:{number + 1}: not a row of a run ({error}); was the file changed?"
            ) from error
        if self._kept is not None:
            self._kept[number] = example
        return example


class Spool:
    """Collects examples: few in memory, many in an unnamed file.

    Args:
        folder: the folder of that file; by default the system's folder for temporary files.
    """

    def __init__(self, folder: Optional[Path] = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        # The rows keep it open.
        file = tempfile.SpooledTemporaryFile(KEPT_BYTES, dir=str(self._folder))  # noqa: SIM115
        self._file = _Open(cast(IO[bytes], file))
        self._starts = array("q", [0])

    def append(self, example: Example) -> None:
        """Append an example.

        Raises:
            UserError: the disk is full.
        """
        line = _dump(example)
        try:
            self._file.file.write(line)
        except OSError as error:
            raise write_error(self._folder, error) from error
        self._starts.append(self._starts[-1] + len(line))

    def rows(self) -> Rows:
        """All of them."""
        return Rows(Lines(self._file, np.frombuffer(self._starts, np.int64), "the data's rows"))


def write_examples(path: Union[str, Path], examples: Iterable[Example]) -> None:
    """Write examples as JSON lines, atomically; :func:`read_examples` reads equal ones."""
    lines = examples.raw() if isinstance(examples, Rows) else map(_dump, examples)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.writelines(lines)


def read_examples(path: Union[str, Path]) -> Rows:
    """Open what :func:`write_examples` wrote.

    Raises:
        UserError: the file cannot be read; or, on access, a line was not written by that function (the
            message names the line).
    """
    path = paths.local(path)
    try:
        file = _Open(path.open("rb"))
        starts = _line_starts(file.file)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; check the path of the data file"
        ) from error
    return Rows(Lines(file, starts, str(path)))


def _line_starts(file: IO[bytes]) -> np.ndarray:
    ends, size = [np.zeros(1, np.int64)], 0
    while piece := file.read(_PIECE):
        ends.append(np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n")) + (size + 1))
        size += len(piece)
    starts = np.concatenate(ends)
    return starts if starts[-1] == size else np.append(starts, size)  # the last line has no line end


def _dump(example: Example) -> bytes:
    """An example as a line: escaped, so that any string survives; default values are left out."""
    row: dict[str, Any] = {name: value for name, value in vars(example).items() if value not in (None, {})}
    return json.dumps(row).encode() + b"\n"
