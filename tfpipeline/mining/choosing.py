"""Which documents become the negatives of a query. NumPy only.

The documents most similar to a query are its hardest negatives, and those that are most likely to be right,
though nobody said so. A window of ranks and a margin to the score of the right text leave these out (Moreira
et al. 2024, arXiv:2407.15831).

Letters in shapes: B queries, M documents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tfpipeline.errors import UserError


@dataclass(frozen=True)
class Choice:
    """How negatives are chosen.

    Attributes:
        count: the number of negatives of a row, at most.
        skip: the number of most similar documents that are left out.
        depth: the last rank that is considered; documents that are not eligible have no rank.
        margin: how far a negative's similarity must be below that of the right text.
        relative_margin: the same, as a share of the right text's similarity: 0.05 means at most 95 % of it.
    Raises:
        UserError: an option is out of its range.
    """

    count: int = 1
    skip: int = 0
    depth: int = 100
    margin: float = 0.0
    relative_margin: float = 0.05

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("skip", 0), ("depth", 1)):
            if (value := getattr(self, name)) < least:
                raise UserError(f"--{name} is {value}; it must be at least {least}")
        if self.depth < self.skip + self.count:
            raise UserError(
                f"--depth is {self.depth}, which leaves no room for --count {self.count} after --skip "
                f"{self.skip}; it must be at least {self.skip + self.count}"
            )
        for name, highest in (("margin", 2.0), ("relative_margin", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= highest:  # also when it is NaN
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option} is {value:g}; it must be from 0 to {highest:g}")

    def highest(self, right: np.ndarray) -> np.ndarray:
        """The highest similarity of a negative, given that of the right text; any shape."""
        return np.minimum(right - self.margin, right - self.relative_margin * np.abs(right))

    def choose(self, scores: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
        """Choose the negatives of some queries.

        Args:
            scores: the similarity of each document, float [B, M]; -inf for those that are not eligible.
            right: the similarity of each query's right text, float [B].
        Returns:
            The numbers of each query's negatives, the most similar first; of equally similar documents, the
            first one comes first.
        """
        limits = self.highest(right)
        chosen = []
        for own, limit in zip(scores, limits):
            ranked = _first(own, min(self.depth, len(own)))[self.skip :]
            allowed = (own[ranked] <= limit) & (own[ranked] > -math.inf)
            chosen.append(ranked[allowed][: self.count])
        return chosen


def _first(scores: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the highest scores, in order; of equal scores, the first one comes first."""
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    found = np.flatnonzero(scores >= least)
    return found[np.argsort(-scores[found], kind="stable")][:count]
