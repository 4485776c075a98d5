"""Columns of texts on disk, memory-mapped: one after the other in UTF-8, and where each ends. NumPy only."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, overload

import numpy as np


class Strings(Sequence[str]):
    """A column of N texts.

    Args:
        path: the column's path without a suffix; ``PATH.bin`` has the texts, ``PATH.npy`` the ends.
    Raises:
        OSError, ValueError: the files are missing, or do not fit each other.
    """

    def __init__(self, path: Path) -> None:
        self._ends = np.load(path.with_name(f"{path.name}.npy"), mmap_mode="r")
        file = path.with_name(f"{path.name}.bin")
        size = file.stat().st_size
        self._bytes = np.memmap(file, np.uint8, "r") if size else np.zeros(0, np.uint8)
        if self._ends.ndim != 1 or (int(self._ends[-1]) if len(self._ends) else 0) != size:
            raise ValueError(f"{file} does not have the length that {file.stem}.npy says")

    def __len__(self) -> int:
        return len(self._ends)

    def raw(self, index: int) -> bytes:
        """A text in UTF-8."""
        start = int(self._ends[index - 1]) if index else 0
        return self._bytes[start : int(self._ends[index])].tobytes()

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]  # as any sequence counts, from the end too
        return self.raw(place).decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return (self.raw(index).decode("utf-8") for index in range(len(self)))


class Writer:
    """Writes a column; see :class:`Strings`. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends = array("q")
        self._end = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Writer:
        self._file = self._path.with_name(f"{self._path.name}.bin").open("wb")
        return self

    def append(self, text: str | bytes) -> None:
        """Add a text."""
        assert self._file is not None
        content = text.encode("utf-8") if isinstance(text, str) else text
        self._file.write(content)
        self._end += len(content)
        self._ends.append(self._end)

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()
        np.save(self._path.with_name(f"{self._path.name}.npy"), np.frombuffer(self._ends, np.int64))


def write(path: Path, texts: Iterable[str | bytes]) -> Strings:
    """Write a column, and open it."""
    with Writer(path) as writer:
        for text in texts:
            writer.append(text)
    return Strings(path)
