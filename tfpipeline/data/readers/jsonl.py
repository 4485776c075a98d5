"""JSON lines: one object per line; its keys are the columns.

Cells are text: numbers as written, ``true`` and ``false``, lists and objects as JSON, and null as a gap. NaN
and the infinities, which JSON lacks but Python writes, count as missing values
(:class:`~tfpipeline.data.records.NoValue`). A lone surrogate (half of an escaped pair), which UTF-8 cannot
represent, becomes U+FFFD.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfpipeline.data.blank_rows import BlankRows
from tfpipeline.data.lines import read_lines
from tfpipeline.data.records import Constant, NoValue, Number, Reading, Record, Structure, require, shortened
from tfpipeline.errors import UserError


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield a JSON lines file's rows; see :mod:`tfpipeline.data.readers`. Blank lines are skipped."""
    blank = BlankRows(path)
    empty = first = True
    for number, text in enumerate(read_lines(path, reading.file.encoding), 1):
        if not text.strip():
            continue
        empty = False
        source = f"{path}:{number}"
        try:
            row = _parse(text, source)
            columns = {replace_surrogates(key): cell(value) for key, value in row.items()}
            if not has_one_column(columns, reading) and blank.count_if_blank(
                columns.values(), f"line {number}"
            ):
                continue
            require(reading.required, columns, source)
        except UserError as error:
            if first:  # all other rows would lack it too
                raise
            reading.bad_row(error)
        else:
            yield Record(columns, str(path), number)
        first = False
    if empty:
        raise UserError(f"{path}:1: the file is empty; expected one JSON object per line")
    blank.tell()


def has_one_column(columns: Mapping[str, str], reading: Reading) -> bool:
    """Whether an object has one column and no other is required; an empty cell is then an empty text."""
    return len(columns) == 1 and columns.keys() >= set(reading.required)


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        row = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=NoValue)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise UserError(f"{source}: not a JSON object ({reason}); write one object per line") from error
    if not isinstance(row, dict):
        raise UserError(
            f'{source}: expected a JSON object such as {{"text": "..."}}, found {shortened(text.strip())}'
        )
    return row


def cell(value: Any) -> str:
    """A parsed value as text; see the module."""
    if value is None:
        return Constant.of("", None)
    if isinstance(value, bool):
        return Constant.of("true" if value else "false", value)
    if isinstance(value, NoValue):
        return value
    if isinstance(value, (Number, int, float)):
        return Number(_dump(value))
    if isinstance(value, (list, dict)):
        return Structure(replace_surrogates(_dump(value)))
    return replace_surrogates(str(value))


def _dump(value: Any) -> str:
    """Compact JSON, with numbers as they were written."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_dump(key)}: {_dump(item)}" for key, item in value.items()) + "}"
    return str(value) if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)


def replace_surrogates(text: str) -> str:
    """Replace each lone surrogate (half of an escaped pair) with U+FFFD: UTF-8 cannot represent it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
