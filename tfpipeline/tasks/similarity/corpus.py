"""A corpus: the texts that an evaluation searches for each query, instead of the second texts of its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import numpy as np
from pydantic import Field

from tfpipeline import paths
from tfpipeline.config import PathText, Section
from tfpipeline.console import plural, say
from tfpipeline.data import Example, Record, read_records, text_key
from tfpipeline.data.records import FileOptions, require_value, shortened
from tfpipeline.data.row_errors import RowErrors
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file
from tfpipeline.metrics.retrieval import places_of

if TYPE_CHECKING:
    from tfpipeline.data.options import DataOptions

CORPUS_FILE = "corpus.jsonl"  # in a run directory


def key_of(text: str) -> int:
    """A hash of a text that ignores case and white space, within the range of int64."""
    return int(np.uint64(text_key(Example(text))).astype(np.int64))


class CorpusOptions(Section):
    """The file of a corpus. Its encoding and delimiter are those of the ``data`` section."""

    path: PathText = Field(description="File of the texts to search in an evaluation.")
    id: str = Field("id", description="Column of the text's ID.")
    text: str = Field("text", description="Column of the text.")

    def read(self, data: DataOptions) -> Corpus:
        """Read the file.

        Args:
            data: the run file's ``data`` section.
        Raises:
            UserError: it cannot be read, or rows lack an ID or a text, or share an ID; names the first ten.
        """
        errors, lines = RowErrors(), dict[str, str]()
        ids, texts, keys = list[str](), list[str](), dict[int, None]()
        options = FileOptions(data.encoding, data.delimiter)
        repeated = 0
        for record in read_records(self.path, [self.id, self.text], options, errors.add):
            try:
                name, text = self._cells(record)
                if name in lines:
                    raise UserError(
                        f'{record.source}: the ID "{shortened(name)}" is also that of {lines[name]}; '
                        "each row of a corpus needs an ID of its own"
                    )
            except UserError as error:
                errors.add(error)
                continue
            lines[name] = record.source
            key = key_of(text)
            if key in keys:
                repeated += 1
                continue
            keys[key] = None
            ids.append(name)
            texts.append(text)
        errors.check()
        if not ids:
            raise UserError(f"{self.path}: the file has no rows; expected at least one")
        if repeated:
            rows = f"{repeated} {plural(repeated, 'row has', 'rows have')} the text of an earlier row"
            say(f"{self.path}: {rows}; each text is searched once")
        return Corpus(self.path, ids, texts)

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


class Corpus:
    """M different texts with their IDs.

    Args:
        name: the file's name, for messages.
        ids: M IDs, each once.
        texts: M texts; no two of them differ only in case or white space.
    """

    def __init__(self, name: str, ids: Sequence[str], texts: Sequence[str]) -> None:
        self.name, self.ids, self.texts = name, ids, texts
        self.keys = np.fromiter(map(key_of, texts), np.int64, len(texts))

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
        keys = np.fromiter((key_of(example.text_pair or "") for example in examples), np.int64)
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
    def load(cls, directory: Path) -> Optional[Corpus]:
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
