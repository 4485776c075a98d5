"""Scores similarities of texts: their correlation with scores in the data, or the ranks of right texts.

Letters in shapes: N rows, D vector size, M candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfpipeline.tasks.scorer import Arrays, Scorer

PAIR = "text_pair/"  # the prefix of the second text's predictions
_AT_ONCE = 1 << 24  # similarities that are held in memory


class SimilarityScorer(Scorer):
    """Scores the predictions of the task ``similarity``, as its data allows.

    - Pairs with scores: Pearson's and Spearman's correlation of predictions and scores.
    - Pairs and triples: each first text is a query, and the second texts of all rows are searched for it.
    - Texts with a class: each text is a query, and the texts of the other rows are searched for one of the
      same class.

    ``predictions`` hold ``score`` [N] for pairs with scores, otherwise ``embedding`` [N, D] and, for pairs,
    ``text_pair/embedding`` [N, D]. ``targets`` hold ``score`` [N]; or ``text_key``, ``text_pair_key`` and
    ``group_key``, int64 [N]; or ``label_key``, int64 [N]. Equal keys mean equal texts, groups and classes. A
    group of 0 is none.
    """

    @property
    def best_metric(self) -> str:  # type: ignore[override]
        """Spearman's correlation, or the mean reciprocal rank."""
        return "spearman" if self.task.has_scores else "mrr@10"

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        if self.task.has_scores:
            from tfpipeline.metrics import regression

            scores = regression.compute(targets["score"], predictions["score"], weights)
            return {name: scores[name] for name in ("spearman", "pearson")}
        values = rank_scores(ranks(predictions, targets))
        asked = np.isfinite(values["recall@1"]) & (weights > 0)
        if not asked.any():
            return dict.fromkeys(values, 0.0)
        return {name: float(np.average(each[asked], weights=weights[asked])) for name, each in values.items()}

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        if self.task.has_scores:
            from tfpipeline.metrics import regression

            found = regression.confidence_intervals(targets["score"], predictions["score"], weights)
            return {"pearson": found["pearson"]}
        from tfpipeline.metrics.intervals import means

        values, counted = rank_scores(ranks(predictions, targets)), weights > 0
        return means({name: each[counted] for name, each in values.items()}, weights[counted])


def rank_scores(found: np.ndarray) -> dict[str, np.ndarray]:
    """``recall@1``, ``recall@10`` and ``mrr@10`` of each query, float64 [N]; NaN without a rank.

    Args:
        found: float64 [N], the rank of each query's first right candidate, from 1; NaN if it has none.
    """
    known = np.isfinite(found)
    with np.errstate(invalid="ignore"):
        scores = {
            "recall@1": found <= 1,
            "recall@10": found <= 10,
            "mrr@10": np.where(found <= 10, 1 / np.where(known, found, 1.0), 0.0),
        }
    return {name: np.where(known, each, np.nan) for name, each in scores.items()}


def ranks(predictions: Arrays, targets: Arrays) -> np.ndarray:
    """The rank of each query's first right candidate among all candidates, float64 [N], from 1.

    Of candidates that are equally similar, the right one counts as the last, so that equal vectors for all
    texts score nothing. NaN if no candidate is right. The arguments are those of
    :meth:`SimilarityScorer.metrics`.
    """
    queries = unit(predictions["embedding"])
    if "label_key" in targets:
        labels, own = targets["label_key"], np.arange(len(queries))
        right = _rows_by(labels)
        return _ranks(queries, queries, [right[label] for label in labels.tolist()], own)
    _, first, documents = np.unique(targets["text_pair_key"], return_index=True, return_inverse=True)
    candidates = unit(predictions[PAIR + "embedding"][first])
    return _ranks(queries, candidates, list(_right_documents(targets, documents)), None)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float32; a vector of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)


def _right_documents(targets: Arrays, documents: np.ndarray) -> Iterator[np.ndarray]:
    """For each row, the candidates that are right: its own, and those of rows with the same first text or in
    the same group.
    """
    by_text, by_group = _rows_by(targets["text_key"]), _rows_by(targets["group_key"])
    by_group.pop(0, None)
    for text, group in zip(targets["text_key"].tolist(), targets["group_key"].tolist()):
        yield documents[np.concatenate([by_text[text], by_group.get(group, by_text[text])])]


def _rows_by(keys: np.ndarray) -> dict[int, np.ndarray]:
    """Key -> the rows that have it."""
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for row, key in enumerate(keys.tolist()):
        rows[key].append(row)
    return {key: np.array(some) for key, some in rows.items()}


def _ranks(queries: np.ndarray, candidates: np.ndarray, right: list[np.ndarray], own: Any) -> np.ndarray:
    """The rank of each query's best right candidate.

    Args:
        queries, candidates: float32 [N, D] and [M, D], of length 1.
        right: the right candidates of each query.
        own: int [N], the candidate that is the query itself, which is left out; None if there is none.
    """
    found = np.full(len(queries), np.nan)
    step = max(1, _AT_ONCE // max(len(candidates), 1))
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ candidates.T
        for row, similar in enumerate(scores, start):
            rows = right[row]
            if own is not None:
                similar[own[row]] = -np.inf
                rows = rows[rows != own[row]]
            if len(rows):
                best = similar[rows].max()
                similar[rows] = -np.inf
                found[row] = 1 + np.count_nonzero(similar >= best)
    return found
