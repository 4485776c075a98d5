"""Builds an index: embeds the texts of a corpus, and writes all that a search returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Optional

import numpy as np

from tfpipeline import paths
from tfpipeline.console import plural, progress, say
from tfpipeline.data.records import FileOptions
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_directory, require_writable
from tfpipeline.index import corpus as corpora
from tfpipeline.index import exact, inverted_lists, recall, strings
from tfpipeline.index.corpus import Columns, Corpus
from tfpipeline.index.inverted_lists import Lists
from tfpipeline.index.stored import (
    CENTROIDS,
    ENDS,
    FACTS,
    FORMAT,
    IDS,
    ORDER,
    SCALES,
    TEXTS,
    VECTORS,
    column_file,
)
from tfpipeline.index.unfinished import Embedder, embedded, emptied, partial_folder
from tfpipeline.index.vectors import STORED, TYPES, Vectors, encode, of_rows
from tfpipeline.paths import AnyPath

EXACT_ROWS = 200_000  # a larger index has inverted lists, unless the caller decides
_ROWS = "rows.f32"


@dataclass(frozen=True)
class IndexOptions:
    """How an index is stored and searched.

    Attributes:
        precision: the storage type of the vectors: "float32", "bfloat16" or "int8".
        lists: the number of inverted lists; 0 for exact search; None to choose by the number of rows.
        probes: the number of lists that a search reads; None for as few as reach a recall of 0.97.
    Raises:
        UserError: an option has an invalid value.
    """

    precision: str = "float32"
    lists: Optional[int] = None
    probes: Optional[int] = None

    def __post_init__(self) -> None:
        if self.precision not in TYPES:
            raise UserError(f'precision is "{self.precision}"; it must be one of {", ".join(TYPES)}')
        for name, least in (("lists", 0), ("probes", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise UserError(f"{name} is {value!r}; it must be a whole number of at least {least}")
        if self.lists == 0 and self.probes is not None:
            raise UserError("probes are for an index with inverted lists; leave out probes, or lists 0")

    def lists_for(self, rows: int) -> int:
        """The number of lists of an index of so many rows.

        Raises:
            UserError: there are more lists than rows.
        """
        if self.lists is not None:
            if self.lists > rows:
                raise UserError(
                    f"lists is {self.lists}, but there are only {rows} rows; choose fewer lists, or 0"
                )
            return self.lists
        if rows > EXACT_ROWS:
            return inverted_lists.default_count(rows)
        if self.probes is not None:
            raise UserError(
                f"probes are for an index with inverted lists, which one of {rows} rows has only with --lists"
            )
        return 0


def build(
    embedder: Embedder | Callable[[], Embedder],
    files: Sequence[AnyPath],
    to: AnyPath,
    columns: Columns,
    options: IndexOptions | None = None,
    reading: FileOptions | None = None,
) -> Path:
    """Build an index, or replace one.

    Args:
        embedder: embeds the texts; or a function that makes it, called when the rows have been read.
        files: data files; see :func:`tfpipeline.index.corpus.read`.
        to: the folder of the index; an index that is there is replaced when the new one is complete.
        columns: the columns of the rows.
        options: how it is stored and searched.
        reading: properties of the files that their suffixes do not determine.
    Returns:
        The folder.
    Raises:
        UserError: a row cannot be used, ``to`` holds something else or cannot be written, or another process
            builds the index.
    """
    options = options or IndexOptions()
    folder = checked_destination(to)
    with partial_folder(folder) as partial:
        rows = emptied(partial / "rows")
        corpus = corpora.read(files, columns, rows, reading)
        count = options.lists_for(len(corpus))
        if count:
            inverted_lists.import_faiss()  # before the hours of embedding
        embedder = embedder() if callable(embedder) else embedder
        unique = embedded(embedder, corpus, partial)
        ordered = _ordered(unique, corpus, partial / _ROWS)
        lists = None if not count else _clustered(ordered, count)
        with atomic_directory(folder, replace=True) as temporary:
            _write_texts(temporary, corpus)
            vectors = _write_vectors(temporary, ordered, lists, options.precision)
            recalled = {}
            if len(corpus) and (lists is not None or options.precision != "float32"):
                sample = recall.sample(ordered)
                if lists is None:
                    reached = recall.recall(vectors, None, sample)
                    say(f"recall@{recall.AT} of {options.precision} against float32 vectors: {reached:.3f}")
                else:
                    lists, reached = recall.choose_probes(vectors, lists, sample, options.probes)
                    _write_lists(temporary, lists)
                recalled = recall.facts(reached, sample)
            facts = {
                "format": FORMAT,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "rows": len(corpus),
                "dimension": embedder.dimension,
                "precision": options.precision,
                "lists": count,
                "probes": 0 if lists is None else lists.probes,
                "recall": recalled,
                "columns": list(columns.keep),
                "model": dict(embedder.facts),
                "data": dict(corpus.files),
            }
            facts["content"] = _content(temporary)
            (temporary / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return folder


def checked_destination(to: AnyPath) -> Path:
    """The folder of an index, which may be made or replaced.

    Raises:
        UserError: something else is there, or it cannot be written.
    """
    folder = paths.local(to)
    if folder.is_file() or (folder.is_dir() and not (folder / FACTS).exists() and any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an index; choose another name for the index's folder")
    require_writable(folder.parent)
    return folder


def _ordered(unique: np.ndarray, corpus: Corpus, path: Path) -> np.ndarray:
    """The vectors of all rows in the order of their ids, float32 [N, D], memory-mapped."""
    if not len(corpus):
        return unique
    shape = (len(corpus), unique.shape[1])
    ordered = np.memmap(path, STORED["float32"], "w+", shape=shape)
    for start in range(0, len(corpus), exact.CHUNK):
        part = slice(start, start + exact.CHUNK)
        ordered[part] = unique[corpus.text_of[corpus.order[part]]]
    return ordered


def _clustered(ordered: np.ndarray, count: int) -> Lists:
    """Inverted lists of the rows; the number of probes is chosen later."""
    rows, times = len(ordered), plural(count, "list")
    with progress(f"clustering {rows} rows into {count} {times}", 1) as bar:
        centroids, nearest = inverted_lists.cluster(ordered, count)
        bar.advance()
    order = np.argsort(nearest, kind="stable")
    ends = np.searchsorted(nearest[order], np.arange(count + 1)).astype(np.int64)
    return Lists(centroids, ends, order, 1)


def _write_texts(folder: Path, corpus: Corpus) -> None:
    columns = {IDS: corpus.ids, TEXTS: corpus.texts}
    columns.update({column_file(i): column for i, column in enumerate(corpus.kept.values())})
    for name, column in columns.items():
        strings.write(folder / name, (column.raw(int(row)) for row in corpus.order))


def _write_vectors(folder: Path, ordered: np.ndarray, lists: Lists | None, precision: str) -> Vectors:
    """Write the stored vectors in their places, a chunk at a time."""
    if not len(ordered):
        empty = of_rows(ordered, precision)
        np.save(folder / VECTORS, empty.stored)
        if empty.scales is not None:
            np.save(folder / SCALES, empty.scales)
        return empty
    stored = np.lib.format.open_memmap(folder / VECTORS, "w+", STORED[precision], ordered.shape)
    scales = np.zeros(len(ordered), np.float32) if precision == "int8" else None
    for start in range(0, len(ordered), exact.CHUNK):
        part = slice(start, start + exact.CHUNK)
        rows = ordered[part] if lists is None else ordered[lists.order[part]]
        stored[part], own = encode(rows, precision)
        if scales is not None:
            scales[part] = own
    stored.flush()
    if scales is not None:
        np.save(folder / SCALES, scales)
    return Vectors(stored, scales, precision)


def _write_lists(folder: Path, lists: Lists) -> None:
    for name, array in ((CENTROIDS, lists.centroids), (ENDS, lists.ends), (ORDER, lists.order)):
        np.save(folder / name, array)


def _content(folder: Path) -> str:
    """A hash of all files of an index."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
