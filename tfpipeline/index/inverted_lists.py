"""Inverted lists (IVF): the rows of an index in clusters, of which a search reads the nearest ones only.

Source: Sivic and Zisserman 2003, "Video Google"; Jegou, Douze and Schmid 2011, "Product quantization for
nearest neighbor search", section 4. The clusters are made with faiss, which nothing else needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.index.exact import best_of
from tfpipeline.index.vectors import ROUNDING, Vectors

_ROUNDS = 10
_TRAINED_ROWS = 64  # per list: more hardly change the clusters
_SEED = 0


@dataclass(frozen=True)
class Lists:
    """N rows in L lists; the rows of a list are neighbours in the vectors' array, ordered by number.

    Attributes:
        centroids: float32 [L, D].
        ends: int64 [L + 1]; list i holds the places ``ends[i]`` up to, but not including, ``ends[i + 1]``.
        order: int64 [N], the number of the row at each place.
        probes: the number of lists that a search reads.
    """

    centroids: np.ndarray
    ends: np.ndarray
    order: np.ndarray
    probes: int

    def nearest(self, queries: np.ndarray, probes: int) -> np.ndarray:
        """The nearest lists of each query, int64 [B, probes]; of equally near ones the first."""
        products = queries @ self.centroids.T
        return np.argsort(-products, axis=1, kind="stable")[:, :probes]


def search(
    vectors: Vectors, lists: Lists, queries: np.ndarray, k: int, probes: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k best rows for each query among those of the nearest lists.

    Args:
        vectors: the rows, in the places of ``lists``.
        queries: float32 [B, D].
        k: at least 1.
        probes: lists to read; by default as many as the index says.
    Returns:
        The rows' numbers, int64 [B, K], their scores, float32 [B, K], and how many of the K there are, int64
        [B]: the lists may hold fewer. K = min(k, N); places without a row have number -1 and score 0.
    """
    count = min(k, len(vectors))
    numbers = np.full((len(queries), count), -1, np.int64)
    scores = np.zeros((len(queries), count), np.float32)
    counts = np.zeros(len(queries), np.int64)
    if not count:
        return numbers, scores, counts
    for row, near in enumerate(lists.nearest(queries, probes or lists.probes)):
        query = queries[row]
        parts = [slice(int(lists.ends[i]), int(lists.ends[i + 1])) for i in near]
        places = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        rows = [vectors.read(part) for part in parts]
        products = np.concatenate([part @ query for part in rows])
        counts[row] = there = min(count, len(places))
        if not there:
            continue
        longest = max(float(np.linalg.norm(part, axis=1).max(initial=0)) for part in rows)
        least = np.partition(products, -there)[-there] - 2 * ROUNDING * longest * np.linalg.norm(query)
        best = best_of(vectors, places[products >= least], lists.order, query, there)
        numbers[row, :there], scores[row, :there] = best
    return numbers, scores, counts


def cluster(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster vectors by inner product (spherical k-means).

    Args:
        rows: float32 [N, D]; may be memory-mapped.
        count: L, the number of clusters, at most N.
    Returns:
        The centroids, float32 [L, D], and each row's cluster, int64 [N].
    Raises:
        UserError: faiss is not installed.
    """
    faiss = import_faiss()
    random = np.random.default_rng(_SEED)
    most = count * _TRAINED_ROWS
    chosen = np.sort(random.choice(len(rows), most, replace=False)) if len(rows) > most else slice(None)
    kmeans = faiss.Kmeans(
        rows.shape[1],
        count,
        niter=_ROUNDS,
        spherical=True,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINED_ROWS,
    )
    kmeans.train(np.ascontiguousarray(rows[chosen]))
    nearest = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _TRAINED_ROWS * 256):
        part = slice(start, start + _TRAINED_ROWS * 256)
        nearest[part] = kmeans.index.search(np.ascontiguousarray(rows[part]), 1)[1][:, 0]
    return np.asarray(kmeans.centroids, np.float32), nearest


def import_faiss() -> Any:
    """The module ``faiss``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            "an index with inverted lists is built with faiss, which is not installed: pip install "
            "'tfpipeline[index]'; or build an exact index: --lists 0"
        ) from error
    return faiss


def default_count(rows: int) -> int:
    """The number of lists for that many rows: the power of two next to 4 times the square root."""
    return int(2 ** round(np.log2(max(4 * np.sqrt(rows), 1))))
