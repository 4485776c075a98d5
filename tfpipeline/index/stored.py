"""An index on disk: a folder of memory-mapped files. NumPy only.

| file | content |
|---|---|
| ``index.json`` | what it is: rows, columns, storage type, the model that embedded it, the measured recall |
| ``vectors.npy`` | the stored vectors, [N, D]; of inverted lists, list after list |
| ``scales.npy`` | for int8: the scale of each vector, float32 [N] |
| ``centroids.npy``, ``ends.npy``, ``order.npy`` | the inverted lists, see :class:`Lists` |
| ``ids``, ``texts``, ``column-I`` (``.bin`` and ``.npy``) | the texts of the rows, in the order of the ids |

Row numbers count the rows in the order of their ids, compared as texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from tfpipeline import paths
from tfpipeline.errors import UserError
from tfpipeline.index import exact, inverted_lists
from tfpipeline.index.inverted_lists import Lists
from tfpipeline.index.strings import Strings
from tfpipeline.index.vectors import STORED, Vectors
from tfpipeline.paths import AnyPath

FORMAT = 1
FACTS = "index.json"
VECTORS, SCALES = "vectors.npy", "scales.npy"
CENTROIDS, ENDS, ORDER = "centroids.npy", "ends.npy", "order.npy"
IDS, TEXTS = "ids", "texts"


def column_file(number: int) -> str:
    """The name of a kept column's files, without a suffix."""
    return f"column-{number}"


@dataclass(frozen=True)
class Index:
    """An index of N rows; its arrays are memory-mapped.

    Attributes:
        path: the folder.
        facts: the content of ``index.json``.
        vectors: the stored vectors.
        lists: for an index with inverted lists; None for exact search.
        ids, texts: of the rows, in the order of the ids.
        columns: name -> the kept column.
    """

    path: Path
    facts: Mapping[str, Any]
    vectors: Vectors
    lists: Optional[Lists]
    ids: Strings
    texts: Strings
    columns: Mapping[str, Strings]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def model(self) -> Mapping[str, Any]:
        """The model that embedded the rows: ``identity``, ``path``, ``settings``."""
        model: Mapping[str, Any] = self.facts["model"]
        return model

    def search(
        self, queries: np.ndarray, k: int, probes: Optional[int] = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The k best rows for each query, the best first; of equal scores the smaller id first.

        Args:
            queries: float32 [B, D].
            k: at least 1; an index with fewer rows returns all of them.
            probes: inverted lists to read; by default as many as were chosen when the index was built.
        Returns:
            Row numbers, int64 [B, K], scores, float32 [B, K], and how many there are, int64 [B].
        Raises:
            UserError: k or probes is too small, or the queries have another dimension.
        """
        queries = self.checked(queries)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise UserError(f"k is {k!r}; ask for 1 row or more")
        if probes is not None and probes < 1:
            raise UserError(f"probes is {probes}; read 1 list or more")
        if self.lists is None:
            numbers, scores = exact.search(self.vectors, queries, int(k))
            return numbers, scores, np.full(len(queries), numbers.shape[1])
        return inverted_lists.search(self.vectors, self.lists, queries, int(k), probes)

    def checked(self, queries: np.ndarray) -> np.ndarray:
        """Queries as float32 [B, D].

        Raises:
            UserError: they are no table of numbers, or have another dimension.
        """
        array = np.asarray(queries)
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise UserError(
                f"the queries are {array.dtype} {list(array.shape)}; give vectors, [queries, "
                f"{self.vectors.dimension}]"
            )
        if array.shape[1] != self.vectors.dimension:
            raise UserError(
                f"the queries have {array.shape[1]} dimensions, but the vectors of {self.path} have "
                f"{self.vectors.dimension}; embed them with the model of the index"
            )
        if not np.isfinite(array).all():
            raise UserError("a query has a number that is not finite; embed it again")
        return np.ascontiguousarray(array, np.float32)


def open_index(path: AnyPath) -> Index:
    """Open an index.

    Raises:
        UserError: there is none, it was written by a newer version, or its files are incomplete.
    """
    folder = paths.local(path)
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} is not an index (it has no {FACTS}); make one: tfpipeline index RUN --data FILE --to "
            f"{folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise _broken(folder, error) from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UserError(
            f"{folder} is not an index that this version of tfpipeline can read; make it again: tfpipeline "
            "index"
        )
    try:
        index = _opened(folder, facts)
        _check(index)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(folder, error) from error
    return index


def _opened(folder: Path, facts: Mapping[str, Any]) -> Index:
    def array(name: str) -> np.ndarray:
        loaded: np.ndarray = np.load(folder / name, mmap_mode="r")
        return loaded

    scales = array(SCALES) if facts["precision"] == "int8" else None
    vectors = Vectors(array(VECTORS), scales, facts["precision"])
    lists = None
    if facts["lists"]:
        lists = Lists(array(CENTROIDS), array(ENDS), array(ORDER), facts["probes"])
    columns = {name: Strings(folder / column_file(i)) for i, name in enumerate(facts["columns"])}
    return Index(folder, facts, vectors, lists, Strings(folder / IDS), Strings(folder / TEXTS), columns)


def _check(index: Index) -> None:
    """Raise ValueError if the files do not fit each other."""
    facts, vectors = index.facts, index.vectors
    rows = facts["rows"]
    columns = [index.ids, index.texts, *index.columns.values()]
    lengths = [len(vectors), *map(len, columns), *([] if index.lists is None else [len(index.lists.order)])]
    if any(length != rows for length in lengths):
        raise ValueError(f"its files have {min(lengths)} to {max(lengths)} rows, not {rows}")
    if vectors.stored.dtype != STORED[vectors.kind] or vectors.dimension != facts["dimension"]:
        raise ValueError(f"{VECTORS} has other vectors than {FACTS} says")
    if not isinstance(facts["model"]["identity"], str):
        raise ValueError(f"{FACTS} does not say which model embedded the rows")


def _broken(folder: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return UserError(f"cannot read the index {folder}: {reason}; make it again: tfpipeline index")
