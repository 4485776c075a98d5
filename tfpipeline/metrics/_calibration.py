"""Measures how well probabilities are calibrated."""

from __future__ import annotations

import numpy as np

CALIBRATION_BINS = 15


def calibration_error(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> float:
    """The expected calibration error, 0 to 1.

    Predictions are grouped by probability into bins of equal width. The error of a bin is the difference
    between its mean probability and its share of right predictions. The result is the mean over the bins,
    weighted by their predictions.

    Args:
        confidence: float [N], the probabilities.
        right: bool [N], whether each prediction is right.
        weights: float [N], some above 0.
    Source: Guo et al. 2017, arXiv:1706.04599, section 2, with their 15 bins.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.searchsorted(edges, confidence)  # (0, 1/15], (1/15, 2/15], ...
    differences = np.bincount(bins, weights * (confidence - right), minlength=CALIBRATION_BINS)
    return float(np.abs(differences).sum() / weights.sum())
