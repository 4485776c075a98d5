"""Parquet: its columns as text; needs pyarrow.

Cells are those of the JSON lines reader for the same values: numbers in Python's notation, ``true`` and
``false``, lists and structs as JSON, and null as a gap. For types that JSON lacks: decimals keep all digits,
dates and times are ISO 8601 with microseconds, and bytes are read as UTF-8 text. A record's line is the
number of its row, from 1.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfpipeline.data.blank_rows import BlankRows
from tfpipeline.data.readers.jsonl import cell
from tfpipeline.data.records import NoValue, Number, Reading, Record, read_error, shortened
from tfpipeline.data.tables import check_header
from tfpipeline.errors import UserError, explain_missing_extra

if TYPE_CHECKING:
    import pyarrow

_ROWS = 256  # rows in memory at a time; texts may be long
_BUFFER = 1 << 20  # bytes to read ahead per column; by default a whole row group is read


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield a Parquet file's rows; see :mod:`tfpipeline.data.readers`. A file without rows yields nothing."""
    with explain_missing_extra():
        import pyarrow
        import pyarrow.parquet

    try:
        file = path.open("rb")
    except OSError as error:
        raise read_error(path, error) from error
    row, blank = 0, BlankRows(path)
    try:
        with file:
            table = pyarrow.parquet.ParquetFile(
                file,
                buffer_size=_BUFFER,
                pre_buffer=False,
                coerce_int96_timestamp_unit="us",
                page_checksum_verification=True,
            )
            names = table.schema_arrow.names
            check_header(names, str(path), reading.required)
            for batch in table.iter_batches(_ROWS, use_threads=False):
                columns = [
                    _cells(column, f'the column "{shortened(name)}"', path, row + 1)
                    for name, column in zip(names, batch.columns)
                ]
                for cells in zip(*columns):
                    row += 1
                    if len(names) > 1 and blank.count_if_blank(cells, f"row {row}"):
                        continue
                    yield Record(dict(zip(names, cells)), str(path), row)
            blank.tell()
    # Exceptions of pyarrow for a damaged file; its messages can have several lines.
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        where = f"{path}: after row {row}" if row else f"{path}"
        raise UserError(
            f"{where}: not a Parquet file, or a damaged one ({reason}); write or copy it again"
        ) from error


def _cells(column: pyarrow.Array, name: str, path: Path, first: int) -> list[str]:
    """The cells of a column; ``first`` is the number of its first row."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's times have microseconds; pyarrow refuses to convert finer ones.
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    cells = []
    for row, value in enumerate(column, first):
        try:
            cells.append(_text(value.as_py()))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}:{row}: not UTF-8 (byte 0x{error.object[error.start]:02x}) in {name}; save it as "
                f"text, or leave the column out"
            ) from error
        # A time after the year 9999, an unknown time zone, a struct with duplicate field names.
        except (ValueError, OverflowError, LookupError) as error:
            raise UserError(
                f"{path}:{row}: {name} holds a value that cannot be read as text ({error}); save it as text, "
                f"or leave the column out"
            ) from error
    return cells


def _text(value: Any) -> str:
    return value if isinstance(value, str) else cell(_json(value))


def _json(value: Any) -> Any:
    """Convert a value of pyarrow to one that the JSON lines reader supports."""
    if isinstance(value, float) and not math.isfinite(value):
        return NoValue(json.dumps(value))
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):  # the entries of a map are tuples
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, decimal.Decimal):
        return Number(format(value, "f"))
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)
