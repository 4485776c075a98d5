"""Exact search in NumPy: the best rows by inner product, in a stated order.

The order: higher scores first; of rows with the same score, the one with the smaller number first. An index
numbers its rows in the order of their ids.
"""

from __future__ import annotations

import numpy as np

from tfpipeline.index.vectors import ROUNDING, Vectors

CHUNK = 16384  # rows that are scored at a time; with a block of queries their scores fit into a cache
_QUERIES = 64


def search(vectors: Vectors, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows for each query.

    B queries, N rows of D numbers, K = min(k, N).

    Args:
        vectors: the rows.
        queries: float32 [B, D].
        k: at least 1.
    Returns:
        The rows' numbers, int64 [B, K], and their scores, float32 [B, K], see :meth:`Vectors.scores`.
    """
    count = min(k, len(vectors))
    numbers = np.zeros((len(queries), count), np.int64)
    scores = np.zeros((len(queries), count), np.float32)
    if count:
        for start in range(0, len(queries), _QUERIES):
            block = slice(start, start + _QUERIES)
            _search_block(vectors, queries[block], numbers[block], scores[block])
    return numbers, scores


def _search_block(vectors: Vectors, queries: np.ndarray, numbers: np.ndarray, scores: np.ndarray) -> None:
    """Fill ``numbers`` and ``scores``, [B, K]."""
    count = numbers.shape[1]
    best = np.full((len(queries), count), -np.inf, np.float32)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    lengths = np.linalg.norm(queries, axis=1)
    least = np.full(len(queries), -np.inf)
    for start in range(0, len(vectors), CHUNK):
        rows = vectors.read(slice(start, start + CHUNK))
        products = queries @ rows.T  # [B, C]
        best = np.partition(np.concatenate([best, products], axis=1), -count, axis=1)[:, -count:]
        longest = float(np.sqrt(np.einsum("nd,nd->n", rows, rows).max()))
        # What rounding may have moved below the K-th best is kept, so that ties are settled exactly.
        least = np.maximum(least, best.min(axis=1) - 2 * ROUNDING * longest * lengths)
        query, row = np.nonzero(products >= least[:, None])
        found.append((query, row + start, products[query, row]))
    asked, kept, products = (np.concatenate(parts) for parts in zip(*found))
    near = products >= least[asked]
    asked, kept = asked[near], kept[near]
    for number, one in enumerate(queries):
        numbers[number], scores[number] = best_of(vectors, kept[asked == number], None, one, count)


def best_of(
    vectors: Vectors, rows: np.ndarray, order: np.ndarray | None, query: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best of some rows by their exact scores.

    Args:
        rows: int [n], their places in ``vectors``.
        order: int [N], the number of each place; None if a row's number is its place.
        query: float32 [D].
        count: how many to return, at most n.
    Returns:
        Their numbers, int64 [count], and scores, float32 [count].
    """
    scores = vectors.scores(rows, query)
    numbers = rows if order is None else order[rows]
    first = np.lexsort((numbers, -scores))[:count]
    return numbers[first], scores[first]
