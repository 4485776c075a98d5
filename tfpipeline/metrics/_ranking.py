"""Scores of a ranking: which of N rows are right, and a number for each of them.

They equal scikit-learn's ``roc_auc_score`` and ``average_precision_score``, but sort only the right rows, of
which there are few when there are many labels: a thousand labels take seconds rather than minutes, at every
validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

_BLOCK = 64


def roc_auc(right: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """The share of pairs of a right and a wrong row that are in order; a pair of equal scores counts half.

    Args:
        right: bool [N], not all alike.
        scores: float [N].
        weights: float [N], above 0.
    """
    known, up_to = _right_rows(right, scores, weights)
    others, others_weights = scores[~right], weights[~right]
    lower, upper = (up_to[np.searchsorted(known, others, side)] for side in ("left", "right"))
    # Not `@`: for each of a thousand small products NumPy would wake threads, which takes longer than the
    # product.
    in_order = (others_weights * (up_to[-1] - (lower + upper) / 2)).sum()
    return float(in_order / (others_weights.sum() * up_to[-1]))


def average_precision(right: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """The mean over the right rows of the precision among the rows with at least that row's score.

    Args:
        right: bool [N], some of them.
        scores: float [N].
        weights: float [N], above 0.
    """
    known, up_to = _right_rows(right, scores, weights)
    above = np.searchsorted(
        known, scores[~right], "right"
    )  # so many right rows are no better than a wrong one
    wrong = np.bincount(above, weights[~right], len(known) + 1)[::-1].cumsum()[-2::-1]
    good = up_to[-1] - up_to[np.searchsorted(known, known)]
    return float((np.diff(up_to) * good / (good + wrong)).sum() / up_to[-1])


def columns(matrix: np.ndarray, wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """These columns of a matrix [N, C], each with its number; copied in blocks, as single ones lie scattered
    in memory.
    """
    numbers = np.fromiter(wanted, np.int64)
    for start in range(0, len(numbers), _BLOCK):
        some = numbers[start : start + _BLOCK]
        yield from zip(some.tolist(), np.ascontiguousarray(matrix[:, some].T))


def _right_rows(right: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The right rows' scores, rising [P], and the weights before each, and of all of them [P + 1]."""
    order = np.argsort(scores[right])
    return scores[right][order], np.append(0, weights[right][order].cumsum())
