"""Correlations of predicted numbers, such as similarities, with the right ones.

Letters in shapes: N rows. A weight counts as that many copies of its row, which scipy's correlations do not
support. Rows of weight 0 are excluded.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from tfpipeline.metrics._rows import counted, weights_of
from tfpipeline.metrics.intervals import Interval, bootstrap, ratio

_TINY = 1e-12  # of a mean square: a variance below this is rounding


def compute(
    targets: np.ndarray, scores: np.ndarray, weights: Optional[np.ndarray] = None
) -> dict[str, float]:
    """Spearman's and Pearson's correlation.

    Args:
        targets: float or integer [N], the right numbers, finite.
        scores: float [N], the predictions.
        weights: float [N], at least 0; 1 by default.
    Raises:
        UserError: no row has a weight above 0, or a score is NaN or infinite (training diverged).
    """
    rows = checked(targets, scores, weights)
    return {"spearman": spearman(*rows), "pearson": pearson(*rows)}


def confidence_intervals(
    targets: np.ndarray, scores: np.ndarray, weights: Optional[np.ndarray] = None
) -> dict[str, Interval]:
    """95 % interval of Pearson's correlation. Spearman's is not a function of sums over rows, so it has none.
    Arguments and errors as for :func:`compute`.
    """
    targets, scores, weights = checked(targets, scores, weights)
    powers = moments(targets, scores, weights)

    def statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {"pearson": pearson_of_sums(sums)}

    return bootstrap(powers * weights[:, None], statistics)


def moments(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What each row adds to the sums of :func:`pearson_of_sums`, not yet weighted, float64 [N, 6]."""
    # Centred, because the squares of large numbers would lose their differences.
    x, y = (numbers - np.average(numbers, weights=weights) for numbers in (targets, scores))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def variances(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variances of the targets and of the scores, [R] each, from R weighted sums of :func:`moments`,
    [R, 6 or more]; exactly 0 where all are equal.
    """
    mean_x, mean_y, xx, yy = (sums[:, 1:5] / sums[:, :1]).T
    of_x, of_y = xx - mean_x**2, yy - mean_y**2
    return np.where(of_x > _TINY * xx, of_x, 0.0), np.where(of_y > _TINY * yy, of_y, 0.0)


def pearson_of_sums(sums: np.ndarray) -> np.ndarray:
    """Pearson's correlation of R resamples, [R]; arguments as for :func:`variances`. 0 where the targets or
    the scores of a resample are all equal.
    """
    of_x, of_y = variances(sums)
    mean_x, mean_y, _, _, xy = (sums[:, 1:6] / sums[:, :1]).T
    return np.clip(ratio(xy - mean_x * mean_y, np.sqrt(of_x * of_y)), -1, 1)


def pearson(one: np.ndarray, two: np.ndarray, weights: np.ndarray) -> float:
    """Pearson's correlation of two float64 arrays [N]; 0 if all numbers of one of them are equal."""
    if is_constant(one) or is_constant(two):
        return 0.0
    one, two = (numbers - np.average(numbers, weights=weights) for numbers in (one, two))
    spread = np.sqrt(weights @ one**2) * np.sqrt(weights @ two**2)
    return float(np.clip(weights @ (one * two) / spread, -1, 1)) if spread > 0 else 0.0


def spearman(one: np.ndarray, two: np.ndarray, weights: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays [N]; equal numbers share their mean rank. 0 if all numbers of
    one of them are equal.
    """
    return pearson(_ranks(one, weights), _ranks(two, weights), weights)


def is_constant(numbers: np.ndarray) -> bool:
    """Whether all numbers are equal."""
    # Not by their spread around the mean: rounding can make the mean of equal numbers differ from them.
    return bool((numbers == numbers[0]).all())


def checked(
    targets: np.ndarray, scores: np.ndarray, weights: Optional[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The targets, the scores and the weights of the rows that count, float64; errors as for
    :func:`compute`.
    """
    targets, scores = np.asarray(targets, np.float64), np.asarray(scores, np.float64)
    weights = weights_of(targets, weights)
    if targets.ndim != 1 or scores.shape != targets.shape or weights.shape != targets.shape:
        raise ValueError(
            f"targets {targets.shape}, values {scores.shape} and weights {weights.shape} do not fit together"
        )
    return counted(targets, scores, weights)


def _ranks(numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean rank of each number's copies, up to a constant, which does not affect correlations."""
    _, places = np.unique(numbers, return_inverse=True)
    copies = np.bincount(places, weights)
    return (copies.cumsum() - copies / 2)[places]
