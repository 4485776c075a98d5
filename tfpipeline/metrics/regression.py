"""Scores for one number per text. Letters in shapes: N rows. Rows of weight 0 are excluded."""

from __future__ import annotations

from typing import Optional

import numpy as np

from tfpipeline.metrics._rows import counted, weights_of
from tfpipeline.metrics.intervals import Interval, bootstrap, ratio

_TINY = 1e-12  # of a mean square: a variance below this is rounding
_QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


def compute(
    targets: np.ndarray, values: np.ndarray, weights: Optional[np.ndarray] = None
) -> dict[str, float]:
    """Pearson's and Spearman's correlation, root mean square error, mean absolute error, R2.

    A weight counts as that many copies of its row. Equal numbers share their mean rank. A correlation is 0 if
    all targets or all values are equal. If all targets are equal, R2 is 1 if every value is right, else 0, as
    in scikit-learn.

    Args:
        targets: float or integer [N], the right numbers, finite.
        values: float [N], the predictions.
        weights: float [N], at least 0; 1 by default.
    Raises:
        UserError: no row has a weight above 0, or a value is NaN or infinite (training diverged).
    """
    targets, values, weights = _checked(targets, values, weights)
    errors = values - targets
    squared = float(np.average(errors**2, weights=weights))
    if _constant(targets):
        r2 = float(squared == 0)
    else:
        spread = np.average((targets - np.average(targets, weights=weights)) ** 2, weights=weights)
        r2 = float(1 - squared / spread)
    return {
        "pearson": _correlation(targets, values, weights),
        "spearman": _correlation(_ranks(targets, weights), _ranks(values, weights), weights),
        "rmse": float(np.sqrt(squared)),
        "mae": float(np.average(np.abs(errors), weights=weights)),
        "r2": r2,
    }


def confidence_intervals(
    targets: np.ndarray, values: np.ndarray, weights: Optional[np.ndarray] = None
) -> dict[str, Interval]:
    """95 % intervals of all metrics but Spearman's, which is not a function of sums over rows; arguments and
    errors as for :func:`compute`.
    """
    targets, values, weights = _checked(targets, values, weights)
    errors = values - targets
    # Centred, because the squares of large numbers would lose their differences.
    x, y = (numbers - np.average(numbers, weights=weights) for numbers in (targets, values))
    powers = [np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(errors), errors**2]

    def statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
        total = sums[:, 0]
        mean_x, mean_y, xx, yy, xy, absolute, squared = (sums[:, 1:] / total[:, None]).T
        of_x, of_y = np.maximum(xx - mean_x**2, 0), np.maximum(yy - mean_y**2, 0)
        spread = np.where((of_x > _TINY * xx) & (of_y > _TINY * yy), np.sqrt(of_x * of_y), 0.0)
        # A resample of equal targets has R2 1 if every value is right, else 0, as the whole.
        r2 = np.where(of_x > _TINY * xx, 1 - ratio(squared, of_x), squared == 0)
        return {
            "pearson": np.clip(ratio(xy - mean_x * mean_y, spread), -1, 1),
            "rmse": np.sqrt(squared),
            "mae": absolute,
            "r2": r2,
        }

    return bootstrap(np.stack(powers, axis=1) * weights[:, None], statistics)


def report(targets: np.ndarray, values: np.ndarray, weights: Optional[np.ndarray] = None) -> str:
    """The scores and the quantiles of the residuals (value minus target); arguments and errors as for
    :func:`compute`.
    """
    targets, values, weights = _checked(targets, values, weights)
    rows = {name: f"{score:.4g}" for name, score in compute(targets, values, weights).items()}
    rows["rows"] = str(len(targets))
    errors = values - targets + 0.0  # turns -0 into 0
    order = errors.argsort()
    reached = weights[order].cumsum()
    places = np.searchsorted(reached, np.array(list(_QUANTILES.values())) * reached[-1])
    quantiles = errors[order][places.clip(max=len(errors) - 1)]
    return "\n".join(
        [
            *(f"{name:>12}  {score:>10}" for name, score in rows.items()),
            "",
            "residuals (value - target)",
            "".join(f"{name:>11}" for name in _QUANTILES),
            "".join(f"{error:>11.4g}" for error in quantiles),
            "",
        ]
    )


def _constant(numbers: np.ndarray) -> bool:
    # Not by their spread around the mean: rounding can make the mean of equal numbers differ from them.
    return bool((numbers == numbers[0]).all())


def _correlation(one: np.ndarray, two: np.ndarray, weights: np.ndarray) -> float:
    if _constant(one) or _constant(two):
        return 0.0
    one, two = (numbers - np.average(numbers, weights=weights) for numbers in (one, two))
    spread = np.sqrt(weights @ one**2) * np.sqrt(weights @ two**2)
    return float(np.clip(weights @ (one * two) / spread, -1, 1)) if spread > 0 else 0.0


def _ranks(numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean rank of each number's copies, up to a constant, which does not affect correlations."""
    _, places = np.unique(numbers, return_inverse=True)
    copies = np.bincount(places, weights)
    return (copies.cumsum() - copies / 2)[places]


def _checked(
    targets: np.ndarray, values: np.ndarray, weights: Optional[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    targets, values = np.asarray(targets, np.float64), np.asarray(values, np.float64)
    weights = weights_of(targets, weights)
    if targets.ndim != 1 or values.shape != targets.shape or weights.shape != targets.shape:
        raise ValueError(
            f"targets {targets.shape}, values {values.shape} and weights {weights.shape} do not fit together"
        )
    return counted(targets, values, weights)
