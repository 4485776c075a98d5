"""The texts that ``tfpipeline predict`` is given: arguments, the lines of standard input, or the rows of data
files.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfpipeline import terminal
from tfpipeline.errors import UserError

if TYPE_CHECKING:
    from tfpipeline.data import Record
    from tfpipeline.data.records import FileOptions


def read(
    texts: list[str], files: list[Path], columns: list[str], reading: FileOptions, separator: str, pair: str
) -> Iterator[tuple[str, str]]:
    """Each text with its second text ("" where there is none).

    Args:
        texts: given as arguments; where there are none, those of the files; where there are none either,
            standard input's lines.
        files: data files.
        columns: the text's column, and perhaps the second text's.
        reading: how the files are read.
        separator: joins the tokens of cells that are lists of them.
        pair: the second text of all texts that come from no file.
    Raises:
        UserError: a file cannot be read, or a cell holds no text.
    """
    if texts:
        yield from ((terminal.typed(text), pair) for text in texts)
    elif not files:
        if isinstance(sys.stdin, io.TextIOWrapper):
            # Bytes that are no text are refused where those of an argument are, which Python decodes in this
            # way.
            encoding = "utf-8" if terminal.is_ascii(sys.stdin.encoding) else sys.stdin.encoding
            sys.stdin.reconfigure(encoding=encoding, errors="surrogateescape")
        yield from ((line.rstrip("\r\n"), pair) for line in sys.stdin)
    else:
        from tfpipeline.data import read_records

        for file in files:
            for record in read_records(file, columns, reading):
                first, *second = (_text_of(record, column, separator) for column in columns)
                yield first, second[0] if second else ""


def _text_of(record: Record, column: str, separator: str) -> str:
    """The text of a cell; tokens are joined, as they are in training."""
    from tfpipeline.data.records import Structure, require_value, shortened

    cell = record.columns[column]
    require_value(record, column)
    if not isinstance(cell, Structure):
        return cell
    tokens = json.loads(cell)
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise UserError(
            f'{record.source}: the column "{shortened(column)}" holds {shortened(cell)}; expected a text, '
            f"or a list of tokens"
        )
    return separator.join(tokens)


def batches(rows: Iterator[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    """The rows, ``size`` at a time."""
    batch: list[tuple[str, str]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
