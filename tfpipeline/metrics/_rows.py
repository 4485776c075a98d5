"""Checks of rows and weights that all scores share."""

from __future__ import annotations

from typing import Optional

import numpy as np

from tfpipeline.errors import UserError


def weights_of(targets: np.ndarray, weights: Optional[np.ndarray]) -> np.ndarray:
    """The weights as float64 [N]; None means 1 for each of the N targets."""
    return np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)


def counted(
    targets: np.ndarray, answers: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that count: those with a weight above 0.

    Args:
        targets: [N, ...].
        answers: float [N, ...].
        weights: float [N].
    Raises:
        UserError: no row has a weight above 0, or a prediction is NaN or infinite (training diverged).
    """
    positive = weights > 0
    if not positive.any():
        raise UserError("there is nothing to score: no row has a weight above 0; check the weight column")
    require_finite(answers)
    if positive.all():  # avoids copies of large arrays
        return targets, answers, weights
    return targets[positive], answers[positive], weights[positive]


def require_finite(answers: np.ndarray) -> None:
    """Raise the error for predictions, [N, ...], that contain NaN or an infinity."""
    broken = ~np.isfinite(answers).reshape(len(answers), -1).all(-1)
    if broken.any():
        raise UserError(
            f"{broken.sum()} of {len(answers)} predictions are NaN or infinite, so training has diverged; "
            "lower training.learning_rate"
        )
