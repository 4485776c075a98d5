"""Where ``tfpipeline predict`` writes: rows with their predictions, as lines of JSON or as CSV."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, Protocol, TextIO

from tfpipeline.console import say
from tfpipeline.errors import UserError, visible
from tfpipeline.files import atomic_file

FORMATS = (".jsonl", ".csv")
_RENAMED = "input_"  # before a file's column that is called like a field of the predictions


class Writer(Protocol):
    """Writes rows with their predictions."""

    def write(self, columns: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        """Write one row.

        Args:
            columns: the row's own columns.
            prediction: the fields of its prediction, in JSON form.
        """


class JsonLines:
    """One line of JSON per row: its columns, then the fields of the prediction.

    Args:
        stream: where to write.
        escape: whether to escape all characters beyond ASCII.
    """

    def __init__(self, stream: TextIO, escape: bool = False) -> None:
        self._stream = stream
        self._escape = escape
        self._names = _Names()

    def write(self, columns: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        names = self._names.of(columns, prediction)
        own = {names[name]: value for name, value in columns.items()}
        print(json.dumps({**own, **prediction}, ensure_ascii=self._escape), file=self._stream, flush=True)


class Table:
    """CSV (RFC 4180) with a header: the rows' columns, then those of the predictions.

    A field that holds values by name becomes a column per name (``probabilities.positive``). Lists are
    written as JSON. A missing value is an empty cell.

    Args:
        stream: where to write.
        columns: the names of the rows' columns; None: those of the first row.
    """

    def __init__(self, stream: TextIO, columns: Optional[list[str]] = None) -> None:
        self._stream = stream
        self._columns = columns
        self._names: dict[str, str] = {}
        self._fields: list[str] = []
        self._writer: Any = None

    def write(self, columns: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        fields = dict(flatten(prediction))
        if self._writer is None:
            self._fields = list(fields)
            self._names = _Names().of(self._columns or columns, fields)
            header = [*self._names.values(), *fields]
            self._writer = csv.DictWriter(self._stream, header, restval="", lineterminator="\n")
            self._writer.writeheader()
        elif list(fields) != self._fields:
            odd = sorted({*fields} ^ {*self._fields})
            raise UserError(
                f"the predictions have different fields ({', '.join(odd)}), so they fit no table; "
                "write JSON lines instead"
            )
        own = {self._names[name]: cell(value) for name, value in columns.items()}
        self._writer.writerow({**own, **{name: cell(value) for name, value in fields.items()}})
        self._stream.flush()


@contextlib.contextmanager
def open_writer(
    path: Optional[Path], as_csv: bool, columns: Optional[list[str]], escape: bool
) -> Iterator[Writer]:
    """Yield the writer for a file, or for standard output.

    Args:
        path: the file, .jsonl or .csv; it appears when the block ends well. None for standard output.
        as_csv: whether standard output receives CSV.
        columns: the names of the rows' columns; None if they are known from the rows only.
        escape: whether JSON on standard output is to be ASCII.
    Raises:
        UserError: the file cannot be written.
    """
    if path is None:
        yield Table(sys.stdout, columns) if as_csv else JsonLines(sys.stdout, escape)
        return
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        yield Table(stream, columns) if path.suffix.lower() == ".csv" else JsonLines(stream)


def check_output(path: Path, as_csv: bool) -> None:
    """Refuse a file that cannot be written to, before the work.

    Raises:
        UserError: it is a directory, or its name has an unknown suffix.
    """
    if path.is_dir():
        raise UserError(f"--output {path} is a directory; name a file")
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--output {path}: the suffix says the format; give a name in {' or '.join(FORMATS)}")
    if as_csv and path.suffix.lower() != ".csv":
        raise UserError(f"--csv and --output {path} contradict each other; give a name in .csv")


def flatten(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested fields, named by their paths: ``probabilities.positive``."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def cell(value: Any) -> str:
    """A value as text: a text as it is, everything else as in JSON, and nothing for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Names:
    """Renames columns of the input that are called like a field of the predictions, and says so once.

    A file's ``label`` is usually the true one; the prediction must neither overwrite it nor be mistaken for
    it.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def of(self, columns: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
        """The name under which each column is written."""
        fields, names = set(fields), {name: name for name in columns}
        for name in [name for name in names if name in fields]:
            new = _RENAMED + name
            while new in names or new in fields:
                new = _RENAMED + new
            names[name] = new
            if name not in self._told:
                self._told.add(name)
                say(
                    f'the column "{visible(name)}" of the input is written as "{visible(new)}", because '
                    f'"{visible(name)}" is a field of the predictions'
                )
        return names
