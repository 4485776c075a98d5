"""Scores rankings: N rows, each right or wrong, are ranked by a score.

The functions equal scikit-learn's ``roc_auc_score`` and ``average_precision_score``, but sort only the right
rows. With many labels, each label has few right rows, so each validation of a thousand labels takes seconds
rather than minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

_BLOCK = 64


def roc_auc(right: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """The share of pairs of a right and a wrong row in which the right row has the higher score. Ties count
    half.

    Args:
        right: bool [N], at least one True and one False.
        scores: float [N].
        weights: float [N], above 0.
    """
    known, up_to = _right_rows(right, scores, weights)
    others, others_weights = scores[~right], weights[~right]
    lower, upper = (up_to[np.searchsorted(known, others, side)] for side in ("left", "right"))
    # Not `@`: NumPy would start threads for each of a thousand small products, which takes longer than the
    # product.
    in_order = (others_weights * (up_to[-1] - (lower + upper) / 2)).sum()
    return float(in_order / (others_weights.sum() * up_to[-1]))


def average_precision(right: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """The mean, over the right rows, of the precision among rows with at least that row's score.

    Args:
        right: bool [N], at least one True.
        scores: float [N].
        weights: float [N], above 0.
    """
    known, up_to = _right_rows(right, scores, weights)
    # For each wrong row, the number of right rows with at most its score.
    above = np.searchsorted(known, scores[~right], "right")
    wrong = np.bincount(above, weights[~right], len(known) + 1)[::-1].cumsum()[-2::-1]
    good = up_to[-1] - up_to[np.searchsorted(known, known)]
    return float((np.diff(up_to) * good / (good + wrong)).sum() / up_to[-1])


def columns(matrix: np.ndarray, wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The requested columns of a matrix [N, C], each with its number. They are copied in blocks, because a
    single column is scattered in memory.
    """
    numbers = np.fromiter(wanted, np.int64)
    for start in range(0, len(numbers), _BLOCK):
        some = numbers[start : start + _BLOCK]
        yield from zip(some.tolist(), np.ascontiguousarray(matrix[:, some].T))


def _right_rows(right: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the right rows, ascending [P], and the cumulative weights, starting at 0 [P + 1]."""
    order = np.argsort(scores[right])
    return scores[right][order], np.append(0, weights[right][order].cumsum())
