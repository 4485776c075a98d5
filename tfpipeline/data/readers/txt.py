"""Plain text: one text per line, in the only column ``text``. Every line is a row, including empty lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfpipeline.data.lines import read_lines
from tfpipeline.data.records import Reading, Record, require


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield the lines of a text file; see :mod:`tfpipeline.data.readers`. An empty file has no rows."""
    require(reading.required, ["text"], f"{path}:1")
    for line, text in enumerate(read_lines(path, reading.file.encoding), 1):
        yield Record({"text": text.rstrip("\r\n")}, str(path), line)
