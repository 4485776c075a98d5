"""Measures what an index loses against exact search in float32, and chooses the number of probes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfpipeline.console import progress, say
from tfpipeline.index import exact, inverted_lists
from tfpipeline.index.inverted_lists import Lists
from tfpipeline.index.vectors import Vectors

AT = 10
ENOUGH = 0.97  # on the sample, so that 0.95 holds for other queries as well
_QUERIES = 256


@dataclass(frozen=True)
class Sample:
    """S rows of an index that serve as queries; a row is not a neighbour of itself.

    Attributes:
        rows: int64 [S], their numbers.
        queries: float32 [S, D], their vectors.
        neighbours: int64 [S, AT + 1], the numbers of the best rows, found by exact search.
    """

    rows: np.ndarray
    queries: np.ndarray
    neighbours: np.ndarray


def sample(ordered: np.ndarray) -> Sample:
    """Draw rows, and search for their neighbours.

    Args:
        ordered: float32 [N, D], the vectors in the order of their numbers.
    """
    size = min(_QUERIES, len(ordered))
    rows = np.sort(np.random.default_rng(0).choice(len(ordered), size, replace=False))
    queries = np.asarray(ordered[rows])
    neighbours, _ = exact.search(Vectors(ordered, None, "float32"), queries, AT + 1)
    return Sample(rows, queries, neighbours)


def recall(vectors: Vectors, lists: Lists | None, sample: Sample, probes: int | None = None) -> float:
    """The share of the exact neighbours that an index finds among its best ten (recall@10)."""
    if lists is None:
        numbers, _ = exact.search(vectors, sample.queries, AT + 1)
    else:
        numbers, _, _ = inverted_lists.search(vectors, lists, sample.queries, AT + 1, probes)
    found = total = 0
    for row, wanted, answers in zip(sample.rows, sample.neighbours, numbers):
        neighbours, best = (
            [number for number in numbers_of.tolist() if number != row][:AT]
            for numbers_of in (wanted, answers)
        )
        found += len({*neighbours} & {*best})
        total += len(neighbours)
    return found / total if total else 1.0


def choose_probes(vectors: Vectors, lists: Lists, sample: Sample, probes: int | None) -> tuple[Lists, float]:
    """The lists with a number of probes, and the recall that it gives.

    Args:
        vectors: the stored vectors.
        lists: the lists.
        sample: the queries.
        probes: the number; None for the smallest power of two that gives a recall of 0.97.
    """
    count = len(lists.centroids)
    doubled = [*(2**i for i in range(count.bit_length()) if 2**i < count), count]
    number, reached = count, 1.0
    with progress("measuring the recall") as bar:
        for number in [min(probes, count)] if probes else doubled:
            reached = recall(vectors, lists, sample, number)
            bar.advance(1, f"{number} probes: {reached:.3f}")
            if reached >= ENOUGH:
                break
    say(f"recall@{AT} against exact search, with {number} of {count} lists: {reached:.3f}")
    return replace(lists, probes=number), reached


def facts(reached: float, sample: Sample) -> dict[str, Any]:
    """The entry about the recall in an index's facts and in a model's card."""
    return {
        "at": AT,
        "value": round(reached, 4),
        "queries": len(sample.rows),
        "against": "exact search with float32 vectors; queries are rows of the index",
    }
