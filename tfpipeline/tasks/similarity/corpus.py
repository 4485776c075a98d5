"""A corpus: the texts that an evaluation searches for each query, instead of the second texts of its rows."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np
from pydantic import Field

from tfpipeline import paths
from tfpipeline.config import PathText, Section
from tfpipeline.console import plural, say
from tfpipeline.data import Example, Record, read_records
from tfpipeline.data.options import DelimiterText, EncodingText
from tfpipeline.data.records import FileOptions, require_value, shortened
from tfpipeline.data.row_errors import RowErrors
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file
from tfpipeline.metrics.retrieval import places_of
from tfpipeline.tasks.similarity.rows import text_keys

CORPUS_FILE = "corpus.jsonl"  # in a run directory


class CorpusOptions(Section):
    """The file of a corpus."""

    path: PathText = Field(description="File of the texts to search.")
    id: str = Field("id", description="Column of the text's ID.")
    text: str = Field("text", description="Column of the text.")
    encoding: EncodingText = Field("utf-8", description="Encoding of a text file.")
    delimiter: Optional[DelimiterText] = Field(
        None, description="Character between the cells of a .csv or .tsv file; null: a comma, and a tab."
    )

    @functools.cached_property
    def content(self) -> Corpus:
        """What the file contains, read on first use.

        Raises:
            UserError: it cannot be read, or rows lack an ID or a text, or share an ID; names the first ten.
        """
        errors, found, repeated = RowErrors(), _Found(), 0
        options = FileOptions(self.encoding, self.delimiter)
        for record in read_records(self.path, [self.id, self.text], options, errors.add):
            try:
                repeated += not found.add(*self._cells(record), record.source)
            except UserError as error:
                errors.add(error)
        errors.check()
        if not found.ids:
            raise UserError(f"{self.path}: the file has no rows; expected at least one")
        if repeated:
            rows = f"{repeated} {plural(repeated, 'row has', 'rows have')} the text of an earlier row"
            say(f"{self.path}: {rows}; each text is searched once")
        return Corpus(self.path, found.ids, found.texts)

    def _cells(self, record: Record) -> tuple[str, str]:
        for column in (self.id, self.text):
            require_value(record, column)
            if not record.columns[column].strip():
                what = "ID" if column == self.id else "text"
                raise UserError(
                    f"{record.source}: the row of the corpus has no {what} in the column "
                    f'"{shortened(column)}"; complete it or remove it'
                )
        return record.columns[self.id].strip(), record.columns[self.text]


class _Found:
    """The texts found so far."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.texts: list[str] = []
        self._sources: dict[str, str] = {}
        self._keys: set[int] = set()

    def add(self, name: str, text: str, source: str) -> bool:
        """Add a text; whether it is a new one.

        Raises:
            UserError: another row has the ID.
        """
        if name in self._sources:
            raise UserError(
                f'{source}: the ID "{shortened(name)}" is also that of {self._sources[name]}; each row of a '
                "corpus needs an ID of its own"
            )
        self._sources[name] = source
        (key,) = text_keys([text]).tolist()
        if key in self._keys:
            return False
        self._keys.add(key)
        self.ids.append(name)
        self.texts.append(text)
        return True


class Corpus:
    """M different texts with their IDs.

    Args:
        name: the file's name, for messages.
        ids: M IDs, each once.
        texts: M texts; no two of them differ only in case or white space.
    """

    def __init__(self, name: str, ids: Sequence[str], texts: Sequence[str]) -> None:
        self.name, self.ids, self.texts = name, ids, texts
        self.keys = text_keys(texts)

    def __len__(self) -> int:
        return len(self.texts)

    def numbers(self, keys: np.ndarray) -> np.ndarray:
        """The number of the text with each key, int64 [N]; -1 for keys that no text has."""
        return places_of(keys, self.keys)

    def require(self, examples: Sequence[Example]) -> None:
        """Require that the second text of each row is in the corpus.

        Raises:
            UserError: some are not; names the first row.
        """
        keys = text_keys(example.text_pair or "" for example in examples)
        missing = np.flatnonzero(self.numbers(keys) < 0)
        if len(missing):
            first = examples[int(missing[0])].source
            more = len(missing) - 1
            rest = f" (nor are those of {more} more {plural(more, 'row')})" if more else ""
            raise UserError(
                f"{first}: the second text is not in the corpus {self.name}{rest}, so no search can find it; "
                "add it to the corpus (case and white space do not matter), or remove the row"
            )

    def save(self, directory: Path) -> None:
        """Write the corpus into a run directory; :meth:`load` reads it."""
        with atomic_file(directory / CORPUS_FILE) as temporary, temporary.open("w", encoding="ascii") as file:
            file.write(json.dumps(self.name) + "\n")
            file.writelines(json.dumps(row) + "\n" for row in zip(self.ids, self.texts))

    @classmethod
    def load(cls, directory: Path) -> Corpus:
        """Read the corpus of a run directory.

        Raises:
            UserError: it cannot be read.
        """
        path = paths.local(directory / CORPUS_FILE)
        try:
            with path.open(encoding="ascii") as file:
                name, *rows = map(json.loads, file)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}; is {directory} a run directory?") from error
        return cls(name, *zip(*rows))
