"""The input texts of ``tfpipeline predict``: arguments, the lines of standard input, or the rows of data
files.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tfpipeline import terminal
from tfpipeline.errors import UserError
from tfpipeline.paths import AnyPath

if TYPE_CHECKING:
    from tfpipeline.data import Record
    from tfpipeline.data.records import FileOptions


def read(
    texts: list[str],
    files: Sequence[AnyPath],
    columns: list[str],
    reading: FileOptions,
    separator: str,
    pair: str,
) -> Iterator[tuple[str, str]]:
    """Yield each text with its second text ("" if there is none).

    Args:
        texts: the arguments. Without arguments, the texts of the files are read; without files, the lines of
            standard input.
        files: data files.
        columns: the column of the text, and perhaps that of the second text.
        reading: how the files are read.
        separator: joins the tokens of cells that are lists of them.
        pair: the second text of all texts that are not from files.
    Raises:
        UserError: a file cannot be read, or a cell is not a text.
    """
    if texts:
        yield from ((terminal.typed(text), pair) for text in texts)
    elif not files:
        if isinstance(sys.stdin, io.TextIOWrapper):
            # Invalid bytes are refused at the same point as those of arguments, which Python decodes in this
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
    """The text of a cell; tokens are joined as in training."""
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
