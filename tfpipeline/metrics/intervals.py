"""Confidence intervals of metrics, 95 %: of shares by Wilson's formula, of others by the bootstrap over rows.

A metric that follows from sums over rows (a mean, an F1) is computed for many resamples at once: the sums of
all resamples are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Interval = tuple[float, float]
# Sums [R, K] -> metric -> its values [R]; NaN where a resample has no rows that it is about.
Statistics = Callable[[np.ndarray], Mapping[str, np.ndarray]]

RESAMPLES = 1000
_SEED = 0
_Z = 1.959963984540054  # 95 % of a normal distribution lie within this many standard deviations
_TAILS = (0.025, 0.975)
_CELLS = 1 << 22  # rows times resamples to draw at once


def wilson(share: float, rows: int) -> Interval:
    """The interval of a share of independent rows.

    Args:
        share: 0 to 1.
        rows: the number of rows, 1 or more.
    Source: Wilson 1927, J. Am. Stat. Assoc. 22(158), 209-212.
    """
    middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    half = _Z / (1 + _Z**2 / rows) * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(added: Any, statistics: Statistics, *, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Percentile intervals of metrics that follow from sums over rows. The resamples are always the same.

    N rows, K sums, R resamples.

    Args:
        added: float [N, K], an array or a sparse array of scipy: what each row adds to each sum.
        statistics: makes the metrics from the sums.
        resamples: R.
    Returns:
        The interval of each metric that is finite in some resample.
    Source: Efron 1979, Ann. Statist. 7(1), 1-26.
    """
    random, rows = np.random.default_rng(_SEED), added.shape[0]
    found: dict[str, list[np.ndarray]] = {}
    at_once = max(1, _CELLS // rows)
    for start in range(0, resamples, at_once):
        counts = _counts(random, min(at_once, resamples - start), rows)
        for name, values in statistics(np.asarray(counts @ added, np.float64)).items():
            found.setdefault(name, []).append(values)
    intervals = {}
    for name, parts in found.items():
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.quantile(values, _TAILS)
            intervals[name] = (float(low), float(high))
    return intervals


def means(values: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, Interval]:
    """The intervals of weighted means over rows.

    Args:
        values: name -> float [N]; NaN for rows that a mean is not about.
        weights: float [N], above 0.
    """
    about = {name: np.isfinite(each) for name, each in values.items()}
    columns = [weights * np.where(about[name], each, 0.0) for name, each in values.items()]
    columns += [weights * rows for rows in about.values()]

    def statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
        totals, counts = np.split(sums, 2, axis=1)
        return dict(zip(values, ratio(totals, counts, otherwise=np.nan).T))

    return bootstrap(np.stack(columns, axis=1), statistics)


def ratio(over: np.ndarray, under: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """``over / under``; ``otherwise`` where ``under`` is not above 0."""
    over, under = np.broadcast_arrays(np.asarray(over, np.float64), np.asarray(under, np.float64))
    return np.divide(over, under, where=under > 0, out=np.full(over.shape, otherwise))


def mean_where(values: np.ndarray, rows: np.ndarray, otherwise: float) -> np.ndarray:
    """The mean of the values [R, C] where ``rows``, bool [R, C]; ``otherwise`` where there are none: [R]."""
    return ratio(np.where(rows, values, 0.0).sum(-1), rows.sum(-1), otherwise)


def _counts(random: np.random.Generator, resamples: int, rows: int) -> np.ndarray:
    """How often each row is in each resample, float64 [R, N]."""
    drawn = random.integers(0, rows, (resamples, rows), np.int64)
    drawn += np.arange(resamples)[:, None] * rows
    counts = np.bincount(drawn.ravel(), minlength=resamples * rows)
    return counts.reshape(resamples, rows).astype(np.float64)
