"""Scores for one number per text. Letters in shapes: N rows. Rows of weight 0 are excluded."""

from __future__ import annotations

from typing import Optional

import numpy as np

from tfpipeline.metrics.intervals import Interval, bootstrap, ratio
from tfpipeline.metrics.similarity import (
    checked,
    is_constant,
    moments,
    pearson,
    pearson_of_sums,
    spearman,
    variances,
)

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
    targets, values, weights = checked(targets, values, weights)
    errors = values - targets
    squared = float(np.average(errors**2, weights=weights))
    if is_constant(targets):
        r2 = float(squared == 0)
    else:
        spread = np.average((targets - np.average(targets, weights=weights)) ** 2, weights=weights)
        r2 = float(1 - squared / spread)
    return {
        "pearson": pearson(targets, values, weights),
        "spearman": spearman(targets, values, weights),
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
    targets, values, weights = checked(targets, values, weights)
    errors = values - targets
    sums_of = np.column_stack([moments(targets, values, weights), np.abs(errors), errors**2])

    def statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
        absolute, squared = (sums[:, 6:] / sums[:, :1]).T
        of_targets, _ = variances(sums)
        return {
            "pearson": pearson_of_sums(sums),
            "rmse": np.sqrt(squared),
            "mae": absolute,
            # A resample of equal targets has R2 1 if every value is right, else 0, as the whole.
            "r2": np.where(of_targets > 0, 1 - ratio(squared, of_targets), squared == 0),
        }

    return bootstrap(sums_of * weights[:, None], statistics)


def report(targets: np.ndarray, values: np.ndarray, weights: Optional[np.ndarray] = None) -> str:
    """The scores and the quantiles of the residuals (value minus target); arguments and errors as for
    :func:`compute`.
    """
    targets, values, weights = checked(targets, values, weights)
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
