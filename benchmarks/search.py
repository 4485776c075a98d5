"""Search in a graph, compared with NumPy, and inverted lists with exact search; part of ``make bench``.

The rows are random unit vectors in clusters of some 200: each is the sum of its cluster's centre and of a
random direction of the same length. Queries are further vectors of these clusters. The graph is that of an
exported model: it has room for 100 hits, of which 10 are compared.

- ``exact``: ``speed_ratio`` is the time of a matrix product and ``argpartition`` in NumPy over that of the
  graph, for rows in float32, bfloat16 and int8. Goal: at least 0.5 in float32.
- ``lists``: ``speed_ratio`` is the time of exact search in the graph over that with inverted lists, and
  ``recall`` the share of the 10 exact neighbours that are found. Goals: at least 10, and at least 0.95.
- ``loaded``: seconds to load a SavedModel with the index and to answer the first query, and the memory of
  the process with and without it, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks._measure import report, side_by_side
from tfpipeline.runtime import import_tensorflow

DIMENSIONS, MOST, K = 384, 100, 10
_ROWS_PER_CLUSTER = 200
_PIECE = 50_000
_LOAD = """
import json, sys, time
from benchmarks._measure import memory_mb
import tensorflow as tf
empty = memory_mb()
start = time.perf_counter()
model = tf.saved_model.load(sys.argv[1])
answer = model.signatures["search"](tf.zeros([1, int(sys.argv[2])]))
seconds = time.perf_counter() - start
print(json.dumps({"seconds": round(seconds, 2), "peak_mb": memory_mb(), "base_mb": empty}))
"""


def clustered(rows: int, dimensions: int, clusters: int, seed: int = 0) -> np.ndarray:
    """Unit vectors in clusters, float32 [N, D]; the centres do not depend on ``seed``."""
    centres = _directions(np.random.default_rng(99), clusters, dimensions)
    random = np.random.default_rng(seed)
    vectors = np.empty((rows, dimensions), np.float32)
    for start in range(0, rows, _PIECE):
        part = vectors[start : start + _PIECE]
        part[:] = centres[random.integers(clusters, size=len(part))]
        part += _directions(random, len(part), dimensions)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def _directions(random: np.random.Generator, rows: int, dimensions: int) -> np.ndarray:
    vectors = random.standard_normal((rows, dimensions), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def in_numpy(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The best rows: a matrix product, ``argpartition``, and a sort of what it found."""
    scores = queries @ rows.T
    best = np.argpartition(-scores, K, axis=1)[:, :K]
    found = np.take_along_axis(scores, best, axis=1)
    return np.take_along_axis(best, np.argsort(-found, axis=1), axis=1)


def compiled(vectors: Any, lists: Any = None) -> Any:
    """The graph of a search; float32 [B, D] -> the numbers of the best rows, int32 [B, K]."""
    tf = import_tensorflow()
    from tfpipeline.index.graph import SearchGraph

    graph = SearchGraph(vectors, MOST, lists)
    spec = tf.TensorSpec([None, vectors.dimension], tf.float32)
    function = tf.function(lambda queries: graph(queries)[0], input_signature=[spec], autograph=False)

    def found(queries: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = function(tf.constant(queries)).numpy()
        return numbers[:, :K]

    found.graph = graph  # type: ignore[attr-defined]
    return found


def batches(rows: np.ndarray, size: int, rounds: int) -> list[np.ndarray]:
    """A warm-up batch of queries, and those that are timed."""
    queries = clustered(size * (rounds + 1), rows.shape[1], _clusters(len(rows)), seed=1)
    return np.split(queries, rounds + 1)


def _clusters(rows: int) -> int:
    return max(rows // _ROWS_PER_CLUSTER, 1)


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """The share of the wanted rows that were found."""
    return float(np.mean([np.isin(want, got).mean() for want, got in zip(wanted, found)]))


def exact(size: int, dimensions: int, rounds: int) -> None:
    """Compare exact search with NumPy."""
    from tfpipeline.index.vectors import TYPES, of_rows

    rows = clustered(size, dimensions, _clusters(size))
    ways = {"numpy": lambda queries: in_numpy(rows, queries)}
    ways.update({kind: compiled(of_rows(rows, kind)) for kind in TYPES})
    for batch in (1, 32):
        asked = batches(rows, batch, rounds)
        measured = side_by_side(ways, asked, baseline="numpy")
        wanted = in_numpy(rows, asked[0])
        for kind in TYPES:
            report(
                benchmark="search",
                case="exact",
                rows=size,
                batch=batch,
                precision=kind,
                milliseconds=measured[kind]["milliseconds"],
                peer_milliseconds=measured["numpy"]["milliseconds"],
                speed_ratio=measured[kind]["speed_ratio"],
                recall=round(recall(ways[kind](asked[0]), wanted), 4),
            )


def inverted(size: int, dimensions: int, rounds: int, count: Optional[int]) -> None:
    """Compare inverted lists with exact search."""
    from tfpipeline.index import inverted_lists
    from tfpipeline.index import recall as recalls
    from tfpipeline.index.inverted_lists import Lists
    from tfpipeline.index.vectors import Vectors

    rows = clustered(size, dimensions, _clusters(size))
    count = count or inverted_lists.default_count(size)
    centroids, nearest = inverted_lists.cluster(rows, count)
    order = np.argsort(nearest, kind="stable")
    lists = Lists(centroids, np.searchsorted(nearest[order], np.arange(count + 1)), order, 1)
    vectors, stored = Vectors(rows, None, "float32"), Vectors(rows[order], None, "float32")
    lists, _ = recalls.choose_probes(stored, lists, recalls.sample(rows), None)
    ways = {"exact": compiled(vectors), "lists": compiled(stored, lists)}
    asked = batches(rows, 32, 8)
    found = recall(
        np.concatenate([ways["lists"](part) for part in asked]),
        np.concatenate([ways["exact"](part) for part in asked]),
    )
    for batch in (1, 32):
        measured = side_by_side(ways, batches(rows, batch, rounds), baseline="exact")
        report(
            benchmark="search",
            case=f"{lists.probes} of {count} lists, recall@{K} {found:.3f}, against exact",
            rows=size,
            batch=batch,
            milliseconds=measured["lists"]["milliseconds"],
            peer_milliseconds=measured["exact"]["milliseconds"],
            speed_ratio=measured["lists"]["speed_ratio"],
            recall=round(found, 4),
        )
    for way, search in ways.items():
        loaded(way, search.graph, size, dimensions)


def loaded(way: str, graph: Any, rows: int, dimensions: int) -> None:
    """Measure a process that loads the graph of a search."""
    tf = import_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        spec = tf.TensorSpec([None, dimensions], tf.float32)

        def search(queries: Any) -> dict[str, Any]:
            numbers, scores, count = graph(queries)
            return {"numbers": numbers, "scores": scores, "count": count}

        function = tf.function(search, input_signature=[spec], autograph=False)
        module = tf.Module()
        module.graph = graph
        tf.saved_model.save(module, folder, signatures={"search": function.get_concrete_function()})
        command = [sys.executable, "-c", _LOAD, folder, str(dimensions)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        megabytes = sum(path.stat().st_size for path in _files(Path(folder))) / 2**20
    facts = json.loads(done.stdout.splitlines()[-1])
    seconds = facts.pop("seconds")
    report(benchmark="search", case="loading and the first query", rows=rows, way=way, seconds=seconds)
    report(benchmark="search", case="memory", rows=rows, way=way, disk_megabytes=round(megabytes, 1), **facts)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Search in a graph, exact and with inverted lists.")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of exact search")
    parser.add_argument("--list-rows", type=int, default=1_000_000, help="rows of inverted lists; 0: none")
    parser.add_argument("--lists", type=int, help="number of lists; by default as in an index")
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS, help="numbers of a vector")
    parser.add_argument("--rounds", type=int, default=15, help="batches that are timed")
    chosen = parser.parse_args(arguments)
    exact(chosen.rows, chosen.dimensions, chosen.rounds)
    if chosen.list_rows:
        inverted(chosen.list_rows, chosen.dimensions, chosen.rounds, chosen.lists)


if __name__ == "__main__":
    main()
