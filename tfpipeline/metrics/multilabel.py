"""Scores of any number of labels for a text, and the thresholds that decide them. N rows, C labels.

A label is answered where its score is at least its threshold. As scikit-learn has it, a label that is neither right
nor answered anywhere has F1 0, and so has, in the mean over rows, a row without a label that gets none. Rows of
weight 0 are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np
from sklearn import metrics

from tfpipeline.metrics._rows import counted, weights_of

_EQUAL = 1e-12  # F1s nearer than this differ by the order in which weights were added up


def compute(
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> dict[str, float]:
    """Averaged F1, mean average precision, subset accuracy and Hamming loss; then each label's F1 as ``f1/LABEL``.

    ``macro_f1`` is the mean over labels, ``weighted_f1`` that by their rows, ``samples_f1`` the mean over rows,
    ``micro_f1`` that of all N * C decisions. ``map`` needs no thresholds: the mean, over the labels that a row has, of
    their average precision; it is left out where no row has a label. ``subset_accuracy`` is the share of rows with all
    labels right, ``hamming_loss`` that of wrong decisions.

    Args:
        targets: bool or integer [N, C], which labels are right.
        scores: float [N, C], 0 to 1.
        thresholds: float [C].
        weights: float [N], at least 0; 1 by default.
        labels: the names of the C labels.
    Raises:
        UserError: no row has a weight above 0, or a score is not a number (training diverged).
    """
    targets, scores, thresholds, weights = _checked(targets, scores, thresholds, weights, labels)
    answers = scores >= thresholds
    right, true, answered = weights @ (targets & answers), weights @ targets, weights @ answers
    f1 = _f1(right, true, answered)
    by_row = _f1((targets & answers).sum(-1), targets.sum(-1), answers.sum(-1))
    found = {
        "macro_f1": float(f1.mean()),
        "micro_f1": float(_f1(right.sum(), true.sum(), answered.sum())),
        "weighted_f1": float(np.average(f1, weights=true)) if true.any() else 0.0,
        "samples_f1": float(np.average(by_row, weights=weights)),
    }
    if true.any():
        found["map"] = float(
            np.mean(
                [
                    metrics.average_precision_score(
                        targets[:, index], scores[:, index], sample_weight=weights
                    )
                    for index in np.flatnonzero(true)
                ]
            )
        )
    wrong = targets != answers
    found["subset_accuracy"] = float(np.average(~wrong.any(-1), weights=weights))
    found["hamming_loss"] = float(np.average(wrong.mean(-1), weights=weights))
    return {**found, **{f"f1/{label}": float(score) for label, score in zip(labels, f1)}}


def report(
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> str:
    """scikit-learn's ``classification_report``, a label with its threshold; arguments, errors as :func:`compute`."""
    targets, scores, thresholds, weights = _checked(targets, scores, thresholds, weights, labels)
    answers = scores >= thresholds
    # A single column is to scikit-learn a choice of two classes, of which the label is the class 1.
    one = len(labels) == 1
    text: str = metrics.classification_report(
        targets[:, 0] if one else targets,
        answers[:, 0] if one else answers,
        labels=[1] if one else range(len(labels)),
        target_names=[f"{label} >= {threshold:#.3g}" for label, threshold in zip(labels, thresholds)],
        sample_weight=None if (weights == 1).all() else weights,  # supports are shown as whole numbers
        digits=3,
        zero_division=0,
    )
    return text


def tune_thresholds(
    targets: np.ndarray, scores: np.ndarray, weights: Optional[np.ndarray] = None
) -> np.ndarray:
    """Each label's threshold of the highest F1, of all between 0 and 1.

    It lies midway between two neighbouring scores (or the lowest and 0), so that no score is near it; on the upper
    one where no float32 is between them. Of equal F1s the threshold nearest to 0.5 is taken. A label that no row has,
    or whose rows all have the score 0, gets 0.5.

    Args:
        targets: bool or integer [N, C], which labels are right.
        scores: float [N, C], 0 to 1; compared as float32, as the served model does.
        weights: float [N], at least 0; 1 by default.
    Returns:
        float32 [C], above 0 and below 1.
    Raises:
        UserError: as :func:`compute`.
    """
    labels = range(np.shape(targets)[-1])
    targets, scores, thresholds, weights = _checked(
        targets, scores, np.full(len(labels), 0.5), weights, labels
    )
    for label in labels:
        thresholds[label] = _best_threshold(targets[:, label], scores[:, label].astype(np.float32), weights)
    return thresholds.astype(np.float32)


def _best_threshold(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    falling = np.argsort(-scores)
    scores = scores[falling]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of each run of equal scores
    upper = scores[last]
    lower = np.append(upper[1:], np.float32(0))
    middle = ((upper.astype(np.float64) + lower) / 2).astype(np.float32)
    thresholds = np.where(middle > lower, middle, upper)
    right = (weights * targets)[falling].cumsum()
    f1 = _f1(right[last], right[-1], weights[falling].cumsum()[last])
    f1[(thresholds <= 0) | (thresholds >= 1)] = 0
    if not f1.any():
        return 0.5
    best = thresholds[f1 >= f1.max() * (1 - _EQUAL)]
    return float(best[np.abs(best.astype(np.float64) - 0.5).argmin()])


def _f1(right: np.ndarray, true: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """2 PR / (P + R), from counts of any shape; 0 where there is nothing to count."""
    total = np.asarray(true + answered, np.float64)
    return np.divide(2 * right, total, where=total > 0, out=np.zeros_like(total))


def _checked(
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    weights: Optional[np.ndarray],
    labels: Sequence[object],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    targets = np.asarray(targets).astype(bool)
    scores, thresholds = np.asarray(scores, np.float64), np.asarray(thresholds, np.float64)
    weights = weights_of(targets, weights)
    if (
        targets.shape != (len(targets), len(labels))
        or scores.shape != targets.shape
        or thresholds.shape != (len(labels),)
        or weights.shape != (len(targets),)
    ):
        raise ValueError(
            f"targets {targets.shape}, scores {scores.shape}, thresholds {thresholds.shape}, weights {weights.shape} "
            f"and {len(labels)} labels do not fit together"
        )
    targets, scores, weights = counted(targets, scores, weights)
    return targets, scores, thresholds, weights
