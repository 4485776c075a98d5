"""The rows that hard negatives are mined for, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.metrics.retrieval import numbered
from tfpipeline.tasks._mining import MiningRows
from tfpipeline.tasks.similarity.corpus import Corpus
from tfpipeline.tasks.similarity.rows import NEGATIVE, NEGATIVE_SCORES, SCORE, pair_targets, text_keys
from tfpipeline.tasks.similarity.search import Search

if TYPE_CHECKING:
    from tfpipeline.data import Rows
    from tfpipeline.data.options import DataOptions

_NEGATIVE_SCORE = f"{NEGATIVE}_score"
_DECIMALS = 6  # of a teacher's scores


class PairsToMine(MiningRows):
    """Pairs whose second text is right; texts that differ only in case or white space are equal.

    Never a negative are a right text of the same query, a text of the query's groups, and the query itself.

    Args:
        rows: the pairs.
        columns: the names of their columns.
        further: texts that are searched besides the second texts of the rows.
    """

    def __init__(self, rows: Rows, columns: DataOptions, further: Sequence[str] = ()) -> None:
        self._rows, self._columns = rows, columns
        texts = [*(example.text_pair or "" for example in rows), *further]
        _, first = numbered(text_keys(texts))
        self.documents = [texts[place] for place in first.tolist()]
        corpus = Corpus("", list(map(str, range(len(first)))), self.documents)
        targets = pair_targets(rows, 0)
        self._search = Search.of(targets, corpus)
        self.query_of, queries = numbered(targets["text_key"])
        self.queries = [rows[row].text for row in queries.tolist()]
        self.right_of = corpus.numbers(targets["text_pair_key"])

    def barred(self, query: int) -> np.ndarray:
        return np.concatenate([self._search.relevant(query), self._search.excluded(query)])

    def pair(self, row: int) -> tuple[str, str]:
        example = self._rows[row]
        return example.text, example.text_pair or ""

    def line(self, row: int, negatives: Sequence[str], scores: Sequence[float] | None) -> dict[str, Any]:
        """The row's columns and ``negative``, a list of texts. With scores also ``score`` (or the column that
        ``data.label`` names), a number, and ``negative_score``, a list of numbers.
        """
        example, columns = self._rows[row], self._columns
        roles = {
            columns.text: example.text,
            columns.text_pair: example.text_pair,
            columns.label: example.label,
            columns.weight: example.weight,
            columns.group: example.group,
        }
        line: dict[str, Any] = {str(name): value for name, value in roles.items() if name is not None}
        line.update((name, cell) for name, cell in example.columns.items() if name != NEGATIVE_SCORES)
        line[NEGATIVE] = list(negatives)
        if scores is not None:
            right, *rest = (round(score, _DECIMALS) for score in scores)
            line[columns.label or SCORE] = right
            line[_NEGATIVE_SCORE] = rest
        return line
