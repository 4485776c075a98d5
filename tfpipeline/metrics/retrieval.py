"""Scores for search: how far up the relevant documents of each query are ranked.

Letters in shapes: Q queries, M documents, B queries of a block, P pairs of a query and a relevant document.

**Ties.** A relevant document ranks below all other documents with the same score, so a model that gives every
document the same score gains nothing from their order. Relevant documents of one query with equal scores
follow each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

from tfpipeline.console import progress
from tfpipeline.metrics.intervals import Interval, means, ratio

# The numbers of B queries, int64 [B] -> a new array of their scores for all documents, float [B, M].
Scores = Callable[[np.ndarray], np.ndarray]
# The number of a query -> numbers of documents, int64.
Chosen = Callable[[int], np.ndarray]

RECALLS = (1, 10, 100)
CUT = 10  # the last rank that counts for MRR and nDCG
NAMES = (*(f"recall@{k}" for k in RECALLS), f"mrr@{CUT}", f"ndcg@{CUT}", "map")
CELLS = 1 << 24  # scores at once: 64 MB in float32


@dataclass(frozen=True)
class Ranking:
    """What a search has found for Q queries.

    Attributes:
        values: name of a score -> its value for each query, float64 [Q]; NaN for queries without a relevant
            document. Their means are the scores: see :func:`average`.
        best: the rank of the first relevant document, from 1, int64 [Q]; 0 if there is no such document.
        wrong: the number of the first document that is not relevant, int64 [Q]; -1 if there is none.
    """

    values: Mapping[str, np.ndarray]
    best: np.ndarray
    wrong: np.ndarray


def rank(
    scores: Scores,
    queries: int,
    documents: int,
    relevant: Chosen,
    *,
    excluded: Optional[Chosen] = None,
    title: Optional[str] = None,
    cells: int = CELLS,
) -> Ranking:
    """Rank all documents for each query, block by block: 64 MB of scores are in memory at once.

    For a query with R relevant documents at the ranks r1 < r2 < ... the values are

    - ``recall@k``: the share of the R documents with a rank of at most k;
    - ``mrr@10``: 1 / r1, or 0 if r1 is above 10;
    - ``ndcg@10``: the sum of 1 / log2(r + 1) over ranks r of at most 10, divided by the largest possible sum
      (Järvelin and Kekäläinen 2002, doi 10.1145/582415.582418, with gains of 0 and 1);
    - ``map``: the mean of 1 / r1, 2 / r2, 3 / r3, ..., over all R documents, however low they rank.

    Args:
        scores: gives the scores of some queries for all documents; higher is better. The array is changed.
        queries: Q.
        documents: M, at least 1.
        relevant: gives the relevant documents of a query, each once.
        excluded: gives the documents that are left out of a query's ranking; relevant ones among them stay.
        title: of the progress display; None for no display.
        cells: the number of scores to compute at once.
    """
    values = {name: np.full(queries, np.nan) for name in NAMES}
    best, wrong = np.zeros(queries, np.int64), np.full(queries, -1, np.int64)

    def block(rows: np.ndarray) -> None:
        lists = [relevant(row) for row in rows.tolist()]
        counts = np.array([len(each) for each in lists])
        targets, own = np.concatenate(lists).astype(np.int64), np.repeat(np.arange(len(rows)), counts)
        table = scores(rows)
        reached = table[own, targets]
        if excluded is not None:
            for place, row in enumerate(rows.tolist()):
                table[place, excluded(row)] = -np.inf
            table[own, targets] = reached
        ranks = _ranks(table, reached, counts)
        for name, each in _values(own, ranks, counts).items():
            values[name][rows] = each
        some = counts > 0
        best[rows[some]] = ranks[(np.cumsum(counts) - counts)[some]]
        table[own, targets] = -np.inf
        first = table.argmax(axis=1)
        there = table[np.arange(len(rows)), first] > -np.inf
        wrong[rows[there]] = first[there]

    size = max(1, cells // documents)
    with contextlib.nullcontext() if title is None else progress(title, queries) as bar:
        for start in range(0, queries, size):
            rows = np.arange(start, min(start + size, queries))
            block(rows)
            if bar is not None:
                bar.advance(len(rows))
    return Ranking(values, best, wrong)


def average(values: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, float]:
    """The weighted means over the queries that have a value; 0 if none has one.

    Args:
        values: name -> float [Q]; NaN for queries without a value.
        weights: float [Q].
    """
    means_of = {}
    for name, each in values.items():
        known = np.isfinite(each) & (weights > 0)
        means_of[name] = float(np.average(each[known], weights=weights[known])) if known.any() else 0.0
    return means_of


def confidence_intervals(values: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, Interval]:
    """95 % intervals of the means, by the bootstrap over queries; arguments as for :func:`average`."""
    counted = weights > 0
    return means({name: each[counted] for name, each in values.items()}, weights[counted])


def report(values: Mapping[str, np.ndarray], weights: np.ndarray, documents: int) -> str:
    """The scores as a table; arguments as for :func:`average`, and M."""
    scores = average(values, weights)
    queries = int((np.isfinite(next(iter(values.values()))) & (weights > 0)).sum())
    width = max(map(len, scores))
    lines = [f"{name:>{width}}  {score:10.4f}" for name, score in scores.items()]
    return "\n".join(
        [*lines, f"{'queries':>{width}}  {queries:>10}", f"{'documents':>{width}}  {documents:>10}", ""]
    )


def numbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number equal keys alike, in the order in which they first occur.

    Args:
        keys: integers [N].
    Returns:
        The number of each key, int64 [N], and where each number first occurs, int64 [D].
    """
    _, first, places = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    renamed = np.empty(len(first), np.int64)
    renamed[order] = np.arange(len(first))
    return renamed[places], first[order]


def places_of(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Where each key is among the known ones, int64 [N]; -1 for keys that are not.

    Args:
        keys: integers [N].
        known: different integers [M], M at least 1.
    """
    order = np.argsort(known)
    found = order[np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[found] == keys, found, -1)


def by_key(keys: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    """Key -> its values, each once, ascending.

    Args:
        keys: integers [N].
        values: integers [N].
    """
    order = np.lexsort((values, keys))
    keys, values = keys[order], values[order]
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]) | (values[1:] != values[:-1])
    keys, values = keys[new], values[new]
    distinct, starts = np.unique(keys, return_index=True)
    return dict(zip(distinct.tolist(), np.split(values, starts[1:])))


def _ranks(table: np.ndarray, reached: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The ranks of the relevant documents, ascending for each query.

    Args:
        table: float [B, M].
        reached: the scores of the P relevant documents, those of the first query first, float [P].
        counts: the number of relevant documents of each query, int [B].
    Returns:
        int64 [P].
    """
    ranks = np.empty(len(reached), np.int64)
    starts = np.cumsum(counts) - counts
    single = counts == 1
    limits = np.full(len(table), np.inf, table.dtype)
    limits[single] = reached[starts[single]]
    # All documents with at least its score: itself, those above it, and those it is tied with.
    ranks[starts[single]] = (table >= limits[:, None]).sum(axis=1)[single]
    for row in np.flatnonzero(counts > 1):
        part = slice(starts[row], starts[row] + counts[row])
        ascending = np.sort(reached[part])
        mine = ascending[::-1]
        at_least = table.shape[1] - np.searchsorted(np.sort(table[row]), mine)
        relevant = len(mine) - np.searchsorted(ascending, mine)
        ranks[part] = at_least - relevant + np.arange(1, len(mine) + 1)
    return ranks


def _values(own: np.ndarray, ranks: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of B queries, float64 [B] each; NaN for queries without a relevant document.

    Args:
        own: the query of each relevant document, ascending, int64 [P].
        ranks: the ranks of the documents, ascending for each query, int64 [P].
        counts: the number of relevant documents of each query, int [B].
    """

    def share(each: np.ndarray, of: np.ndarray) -> np.ndarray:
        return ratio(np.bincount(own, each, len(counts)), of, otherwise=np.nan)

    within = np.arange(1, len(own) + 1) - (np.cumsum(counts) - counts)[own]  # 1 for the first, ...
    ideal = np.append(0, np.cumsum(1 / np.log2(np.arange(2, CUT + 2))))[counts.clip(max=CUT)]
    found = [share(ranks <= k, counts) for k in RECALLS]
    found.append(share(np.where((within == 1) & (ranks <= CUT), 1 / ranks, 0.0), counts > 0))
    found.append(share(np.where(ranks <= CUT, 1 / np.log2(ranks + 1), 0.0), ideal))
    found.append(share(within / ranks, counts))
    return dict(zip(NAMES, found))
