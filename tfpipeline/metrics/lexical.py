"""Search by words, to compare with: TF-IDF and BM25.

Words are those of :mod:`tfpipeline.metrics.baseline`, in lower case. Both models are fitted to the documents
that are searched. Letters in shapes: M documents, Q queries, B queries of a block.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tfpipeline.console import progress, say
from tfpipeline.metrics._words import WORD

TFIDF, BM25 = "TF-IDF", "BM25"
_K1, _B = 1.5, 0.75  # the defaults of bm25s
_BLOCK = 256  # queries


def available() -> Iterator[str]:
    """The names of the models that are installed; a warning says what is missing."""
    yield TFIDF
    if importlib.util.find_spec("bm25s") is None:
        say("warning: the comparison with BM25 is left out; it needs bm25s (the extra `bm25`)")
    else:
        yield BM25


class Lexical:
    """The scores of TF-IDF or of BM25 for queries and documents.

    TF-IDF is the cosine of scikit-learn's vectors of single words, with 1 + log(count) for their counts. BM25
    is that of Lucene, with k1 = 1.5 and b = 0.75 (Lù 2024, arXiv:2407.03618).

    Args:
        name: ``TFIDF`` or ``BM25``.
        documents: M texts.
        queries: Q texts.
    """

    def __init__(self, name: str, documents: Sequence[str], queries: Sequence[str]) -> None:
        self._documents = len(documents)
        self._vectors: Optional[tuple[Any, Any]] = None
        self._index: Any = None
        self._queries: list[list[int]] = []
        vectorizer = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
        if name == TFIDF:
            try:
                found = vectorizer.fit_transform(documents)
            except ValueError:  # the documents contain no words
                return
            self._vectors = vectorizer.transform(queries), found
            return
        import bm25s

        words = vectorizer.build_analyzer()
        known: dict[str, int] = {}
        ids = [[known.setdefault(word, len(known)) for word in words(text)] for text in documents]
        self._queries = [[known[word] for word in words(text) if word in known] for text in queries]
        if known:
            self._index = bm25s.BM25(k1=_K1, b=_B, method="lucene")
            self._index.index(bm25s.tokenization.Tokenized(ids, known), show_progress=False)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """The scores of some queries for all documents.

        Args:
            rows: the numbers of B queries.
        Returns:
            float32 [B, M]; 0 for a query and a document without a common word.
        """
        if self._vectors is not None:
            queries, documents = self._vectors
            return (queries[rows] @ documents.T).toarray()
        table = np.zeros((len(rows), self._documents), np.float32)
        if self._index is not None:
            for place, row in enumerate(rows.tolist()):
                if self._queries[row]:
                    table[place] = self._index.get_scores_from_ids(self._queries[row])
        return table

    def of_pairs(self, title: str) -> np.ndarray:
        """The score of each query for the document with the same number, float32 [Q]; Q = M.

        Args:
            title: of the progress display.
        """
        if self._vectors is not None:
            queries, documents = self._vectors
            return np.asarray(queries.multiply(documents).sum(axis=1), np.float32).ravel()
        found = np.empty(self._documents, np.float32)
        with progress(title, self._documents) as bar:
            for start in range(0, self._documents, _BLOCK):
                rows = np.arange(start, min(start + _BLOCK, self._documents))
                found[rows] = self.scores(rows)[np.arange(len(rows)), rows]
                bar.advance(len(rows))
        return found
