"""Plain text: a text a line, in the one column ``text``. Every line is a row, empty ones too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tfpipeline.data.records import Record, read_lines, require


def read(path: Path, required: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the lines of a text file; see :mod:`tfpipeline.data.readers`. An empty file has no rows."""
    require(required, ["text"], f"{path}:1")
    for line, text in enumerate(read_lines(path), 1):
        yield Record({"text": text.rstrip("\r\n")}, str(path), line)
