"""Plain text: one text per line, in the only column ``text``. Every line is a row, including empty lines.

With ``paragraphs``, a row is a paragraph instead: lines that follow each other, up to a blank one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfpipeline.data.lines import read_lines
from tfpipeline.data.records import Reading, Record, require


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield the lines of a text file, or its paragraphs, which are called by their first line; see
    :mod:`tfpipeline.data.readers`. An empty file has no rows.
    """
    require(reading.required, ["text"], f"{path}:1")
    paragraph: list[str] = []
    for number, line in enumerate(read_lines(path, reading.file.encoding), 1):
        text = line.rstrip("\r\n")
        if not reading.file.paragraphs:
            yield Record({"text": text}, str(path), number)
        elif text.strip():
            paragraph.append(text)
        elif paragraph:
            yield _paragraph(paragraph, path, number)
            paragraph = []
    if paragraph:
        yield _paragraph(paragraph, path, number + 1)


def _paragraph(lines: list[str], path: Path, behind: int) -> Record:
    """The row of a paragraph, given the number of the line behind it."""
    return Record({"text": "\n".join(lines)}, str(path), behind - len(lines))
