"""Reads the rows of an index from data files: an id, a text and the columns that are kept."""

from __future__ import annotations

import contextlib
import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfpipeline import paths
from tfpipeline.console import progress
from tfpipeline.data.readers import read_records
from tfpipeline.data.records import FileOptions, Record, require_value, shortened, source_of
from tfpipeline.data.row_errors import RowErrors
from tfpipeline.errors import UserError
from tfpipeline.index.strings import Strings, Writer
from tfpipeline.paths import AnyPath

OUTPUTS = ("ids", "scores", "texts", "count")
"""The outputs of a search that every index has; no kept column may have their names."""


@dataclass(frozen=True)
class Columns:
    """The columns of a corpus.

    Attributes:
        text: the texts that are searched.
        id: the ids, all different.
        keep: further columns that a search returns.
    Raises:
        UserError: a column is named twice, or has the name of an output.
    """

    text: str = "text"
    id: str = "id"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.keep:
            if name in OUTPUTS:
                raise UserError(
                    f'the column "{name}" cannot be kept: a search has an output of this name already '
                    f"({', '.join(OUTPUTS)}); rename the column"
                )
            if not name or name != name.strip():
                raise UserError(f'"{name}" is not the name of a column to keep; give names such as title,url')
        if len(set(self.keep)) < len(self.keep):
            raise UserError(f"a column to keep is named twice: {', '.join(self.keep)}")


@dataclass(frozen=True)
class Corpus:
    """The rows of data files, in their order; the texts are memory-mapped.

    Attributes:
        columns: the names.
        ids, texts: of N rows.
        kept: name -> the kept column.
        unique: int64 [U], the first row of each different text.
        text_of: int64 [N], for each row the index in ``unique`` of its text.
        order: int64 [N], the rows in the order of their ids, compared as texts (by code points).
        files: the name of each file, and its sha256.
    """

    columns: Columns
    ids: Strings
    texts: Strings
    kept: Mapping[str, Strings]
    unique: np.ndarray
    text_of: np.ndarray
    order: np.ndarray
    files: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    def digest(self) -> str:
        """A hash of all different texts, in their order."""
        digest = hashlib.sha256()
        for row in self.unique:
            text = self.texts.raw(int(row))
            digest.update(len(text).to_bytes(8, "little") + text)
        return digest.hexdigest()


def read(
    files: Sequence[AnyPath], columns: Columns, folder: Path, options: FileOptions | None = None
) -> Corpus:
    """Read a corpus.

    Args:
        files: data files of any format that can be read.
        columns: the columns.
        folder: an empty folder for the texts.
        options: properties that a file's suffix does not determine.
    Raises:
        UserError: a file cannot be read; rows have no id or no text, or the id of another row: with file and
            line.
    """
    errors, ids = RowErrors(), _Ids()
    first_rows: dict[bytes, int] = {}
    unique, text_of = array("q"), array("q")
    names = list(dict.fromkeys((columns.id, columns.text, *columns.keep)))
    stored = {name: folder / f"read-{number}" for number, name in enumerate(names)}
    with contextlib.ExitStack() as stack, progress("reading the rows") as bar:
        writers = {name: stack.enter_context(Writer(path)) for name, path in stored.items()}
        for file in files:
            for record in read_records(file, names, options, errors.add):
                try:
                    _check(record, columns, names)
                    ids.add(record, record.columns[columns.id])
                except UserError as error:
                    errors.add(error)
                    continue
                digest = hashlib.blake2b(record.columns[columns.text].encode(), digest_size=16).digest()
                if first_rows.setdefault(digest, len(unique)) == len(unique):
                    unique.append(len(text_of))
                text_of.append(first_rows[digest])
                for name, writer in writers.items():
                    writer.append(record.columns[name])
                bar.advance()
    errors.check()
    read_columns = {name: Strings(path) for name, path in stored.items()}
    return Corpus(
        columns,
        read_columns[columns.id],
        read_columns[columns.text],
        {name: read_columns[name] for name in columns.keep},
        np.array(unique, np.int64),
        np.array(text_of, np.int64),
        ids.order(),
        {str(file): _sha256(paths.local(file)) for file in files},
    )


def _check(record: Record, columns: Columns, names: Sequence[str]) -> None:
    for name in names:
        require_value(record, name)
    for what, name in (("id", columns.id), ("text", columns.text)):
        if not record.columns[name].strip():
            raise UserError(
                f'{record.source}: the row has no {what} (the column "{shortened(name)}" is empty); write '
                "one, or remove the row"
            )


class _Ids:
    """The ids seen so far, and where each was."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._files: list[str] = []
        self._file, self._line = array("i"), array("q")
        self._places: dict[int, str] = {}

    def add(self, record: Record, name: str) -> None:
        row = len(self._rows)
        other = self._rows.setdefault(name, row)
        if other != row:
            source = source_of(self._files[self._file[other]], self._line[other], self._places.get(other))
            raise UserError(
                f'{record.source}: the id "{shortened(name)}" is also that of {source}; give each row an id '
                "of its own"
            )
        if not self._files or self._files[-1] != record.file:
            self._files.append(record.file)
        self._file.append(len(self._files) - 1)
        self._line.append(record.line)
        if record.place is not None:
            self._places[row] = record.place

    def order(self) -> np.ndarray:
        """The rows in the order of their ids."""
        return np.array([self._rows[name] for name in sorted(self._rows)], np.int64)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
