"""What an evaluation searches for what, and which documents are right.

Letters in shapes: N rows, Q queries, M documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfpipeline.metrics import retrieval
from tfpipeline.metrics.retrieval import Chosen, Scores

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.tasks.scorer import Arrays
    from tfpipeline.tasks.similarity.corpus import Corpus

RANK, WRONG, DOCUMENTS = "rank", "wrong", "documents"
VALUE = "value/"  # the prefix of the scores of single queries

_NONE = np.array([], np.int64)


@dataclass(frozen=True)
class Search:
    """Queries, documents, and which of them belong together.

    Attributes:
        rows: N.
        queries: the first row of each query, int64 [Q].
        documents: M.
        relevant: the documents that are right for a query.
        excluded: the documents that are neither right nor wrong for a query.
        document_rows: the first row of each document, int64 [M]; None if they are those of a corpus.
        classes: whether a right document is one of the same class, not the second text of the row.
        corpus: the corpus that is searched; None for the texts of the rows.
    """

    rows: int
    queries: np.ndarray
    documents: int
    relevant: Chosen
    excluded: Chosen
    document_rows: np.ndarray | None = None
    classes: bool = False
    corpus: Corpus | None = None

    @classmethod
    def of(cls, targets: Arrays, corpus: Corpus | None) -> Search:
        """The search among rows with these targets, as :class:`SimilarityScorer` describes them."""
        return _among_classes(targets) if "label_key" in targets else _among_pairs(targets, corpus)

    def rank(self, scores: Scores, title: str | None = None) -> dict[str, np.ndarray]:
        """Rank the documents, and give what each row has of the result.

        Args:
            scores: the scores of some queries for all documents.
            title: of the progress display; None for no display.
        Returns:
            ``value/NAME``, float64 [N]: scores of the query that first occurs in a row; NaN for other rows.
            ``rank``, int64 [N]: the rank of its first right document; 0 for other rows.
            ``wrong``, int64 [N]: its first wrong document; -1 for none.
            ``documents``, int64 [N]: M.
        """
        found = retrieval.rank(
            scores, len(self.queries), self.documents, self.relevant, excluded=self.excluded, title=title
        )
        complete = {
            RANK: np.zeros(self.rows, np.int64),
            WRONG: np.full(self.rows, -1, np.int64),
            DOCUMENTS: np.full(self.rows, self.documents, np.int64),
            **{VALUE + name: np.full(self.rows, np.nan) for name in found.values},
        }
        values = {RANK: found.best, WRONG: found.wrong}
        values.update({VALUE + name: each for name, each in found.values.items()})
        for name, each in values.items():
            complete[name][self.queries] = each
        return complete

    def texts(self, examples: Sequence[Example]) -> Sequence[str]:
        """The texts of the documents, M."""
        if self.corpus is not None:
            return self.corpus.texts
        assert self.document_rows is not None
        return [self._text_of(examples[row]) for row in self.document_rows.tolist()]

    def shown(self, document: int, examples: Sequence[Example]) -> str:
        """A document, for the report: a text of a corpus with its ID, one of a class with the class."""
        if document < 0:
            return ""
        if self.corpus is not None:
            return f"{self.corpus.ids[document]}: {self.corpus.texts[document]}"
        assert self.document_rows is not None
        example = examples[int(self.document_rows[document])]
        return f"{example.label}: {example.text}" if self.classes else self._text_of(example)

    def right(self, row: int, examples: Sequence[Example]) -> str:
        """What is right for the query of a row, for the report."""
        example = examples[row]
        return str(example.label) if self.classes else self._text_of(example)

    def _text_of(self, example: Example) -> str:
        return example.text if self.classes else example.text_pair or ""


def values_of(complete: Arrays) -> dict[str, np.ndarray]:
    """The scores of the queries, by name, float64 [N], from the result of :meth:`Search.rank`."""
    return {name[len(VALUE) :]: each for name, each in complete.items() if name.startswith(VALUE)}


def _among_classes(targets: Arrays) -> Search:
    labels = targets["label_key"]
    rows = np.arange(len(labels))
    of_class = retrieval.by_key(labels, rows)

    def relevant(row: int) -> np.ndarray:
        same = of_class[int(labels[row])]
        return same[same != row]

    def excluded(row: int) -> np.ndarray:
        return np.array([row])

    return Search(len(rows), rows, len(rows), relevant, excluded, rows, classes=True)


def _among_pairs(targets: Arrays, corpus: Corpus | None) -> Search:
    query_of, first = retrieval.numbered(targets["text_key"])
    if corpus is None:
        document_of, document_rows = retrieval.numbered(targets["text_pair_key"])
        keys = targets["text_pair_key"][document_rows]
    else:
        document_of, document_rows = corpus.numbers(targets["text_pair_key"]), None
        keys = corpus.keys
    same_text = retrieval.places_of(targets["text_key"][first], keys)
    right = retrieval.by_key(query_of, document_of)
    groups = targets["group_key"]
    grouped = groups != 0
    of_group = retrieval.by_key(groups[grouped], document_of[grouped])
    groups_of = retrieval.by_key(query_of[grouped], groups[grouped])

    def relevant(query: int) -> np.ndarray:
        return right[query]

    def excluded(query: int) -> np.ndarray:
        own = [same_text[query : query + 1]] if same_text[query] >= 0 else []
        own += [of_group[group] for group in groups_of.get(query, _NONE).tolist()]
        return np.concatenate([_NONE, *own])

    return Search(len(query_of), first, len(keys), relevant, excluded, document_rows, corpus=corpus)
