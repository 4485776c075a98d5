"""`tfpipeline.load_index`: search in an index, with texts or vectors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from tfpipeline import paths
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.paths import AnyPath
from tfpipeline.predictors import Labels, Predictor, ServerPredictor, Texts, open_local, utf8_inputs
from tfpipeline.serving.client import Hit, Prediction

if TYPE_CHECKING:
    from tfpipeline.index.embedder import ModelEmbedder
    from tfpipeline.index.stored import Index

Queries = Union[Texts, np.ndarray]
_INDEX = "index.json"  # the file that makes a folder an index


def load_index(path: AnyPath, model: Optional[AnyPath] = None) -> SearchIndex:
    """Open an index, to search in it with texts or vectors.

        index = tfpipeline.load_index("answers.index")
        for hit in index.search(["my card was swallowed"], k=3)[0]:
            print(hit.score, hit.id, hit.text)

    The answers are those of a model that is exported with the index.

    Args:
        path: a folder that ``tfpipeline index`` has made.
        model: the run or checkpoint that embeds texts; by default the one that embedded the index, where it
            was then. It is opened when the first texts are searched for.
    Raises:
        UserError: there is no index, or it cannot be read.
    """
    with explain_missing_extra():
        from tfpipeline.index.stored import open_index
    return SearchIndex(open_index(path), model)


class SearchIndex:
    """An index and the model that embeds queries; see :func:`load_index`.

    Attributes:
        index: the rows: ``ids``, ``texts``, ``columns``, ``vectors`` and ``facts``.
    """

    def __init__(self, index: Index, model: Optional[AnyPath] = None) -> None:
        self.index = index
        self._path = index.model["path"] if model is None else model
        self._embedder: Optional[ModelEmbedder] = None

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        facts = self.index.facts
        how = f"{facts['lists']} lists, {facts['probes']} probes" if facts["lists"] else "exact search"
        return (
            f"<{type(self).__name__} {self.index.path}: {len(self)} rows, {facts['dimension']} dimensions, "
            f"{facts['precision']}, {how}>"
        )

    def search(self, queries: Queries, k: int = 10, *, probes: Optional[int] = None) -> list[list[Hit]]:
        """Search.

        Args:
            queries: N texts, which get the prompt of queries; or N vectors, numbers [N, D].
            k: how many rows to find for each query; an index with fewer rows gives all of them.
            probes: for an index with inverted lists: how many to read; by default as many as were chosen when
                the index was built.
        Returns:
            For each query its hits, the best first; of equal scores the smaller id first, where ids are
            compared as texts.
        Raises:
            InputError: the texts are no list of texts.
            UserError: k is below 1, the vectors have another dimension, or the model is not the one that
                embedded the index.
        """
        vectors = self._vectors(queries)
        numbers, scores, counts = self.index.search(vectors, k, probes)
        return [
            [self._hit(number, score) for number, score in zip(row[:count], own[:count])]
            for row, own, count in zip(numbers.tolist(), scores.tolist(), counts.tolist())
        ]

    def _hit(self, number: int, score: float) -> Hit:
        index = self.index
        columns = {name: column[number] for name, column in index.columns.items()}
        return Hit(index.ids[number], score, index.texts[number], columns)

    def _vectors(self, queries: Queries) -> np.ndarray:
        given: Any = queries
        if not isinstance(queries, (str, bytes)) and isinstance(queries, Iterable):
            given = queries if isinstance(queries, np.ndarray) else list(queries)
            numeric = isinstance(given, np.ndarray) and given.dtype.kind not in "OSUT"
            if numeric or (len(given) and not isinstance(given[0], (str, bytes))):
                return _table(given)
        texts = [text.decode("utf-8", "replace") for text in utf8_inputs(given, None)["text"]]
        if not texts:
            return np.zeros((0, self.index.vectors.dimension), np.float32)
        return self._opened().embed(texts)

    def _opened(self) -> ModelEmbedder:
        if self._embedder is None:
            with explain_missing_extra():
                from tfpipeline.runtime import import_tensorflow

                import_tensorflow()
                from tfpipeline.index.embedder import open_embedder
            if not paths.is_far(self._path) and not paths.local(self._path).exists():
                raise UserError(
                    f"{self._path}, which embeds the queries of {self.index.path}, is not there; name the "
                    "model: load_index(PATH, model=RUN), or --run RUN"
                )
            self._embedder = open_embedder(self.index, self._path)
        return self._embedder


class IndexPredictor(Predictor):
    """Searches in an index in this process, with the model that embedded it; see :func:`load_index`."""

    def __init__(self, index: SearchIndex) -> None:
        self._index = index

    def predict(
        self, texts: Texts, text_pair: Optional[Texts] = None, adapter: Labels = None
    ) -> list[Prediction]:
        raise UserError("an index only searches; name a run or a model to predict with")

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        return self._index.search(queries, k)


def open_searcher(
    source: Optional[AnyPath] = None,
    *,
    target: Optional[str] = None,
    model: str = "",
    run: Optional[AnyPath] = None,
    **options: Any,
) -> Predictor:
    """What searches: a server, an exported model, or an index.

    Args:
        source: an index, a SavedModel or a model's directory of versions; without a ``target``.
        target: a server, ``HOST:PORT``.
        model: the model's name on it.
        run: for an index: the model that embeds queries.
        options: with ``target``, those of :class:`PredictClient`.
    Raises:
        UserError: the source cannot search.
    """
    if target is not None:
        return ServerPredictor(target, model, **options)
    if source is None:
        raise UserError("name what to search in: a source, or a target")
    if not paths.is_far(source) and os.path.exists(paths.local(source) / _INDEX):
        return IndexPredictor(load_index(source, run))
    return open_local(source)


def _table(rows: Any) -> np.ndarray:
    """Vectors as an array; :meth:`Index.search` checks it."""
    try:
        return np.asarray(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the queries are neither texts nor vectors of one length ({error}); give a list of texts, or "
            "numbers [queries, dimensions]"
        ) from error
