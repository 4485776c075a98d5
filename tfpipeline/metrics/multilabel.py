"""Scores for any number of labels per text, and the choice of thresholds. Letters in shapes: N rows, C
labels.

A label is predicted if its score is at least its threshold. A row without labels is right if none is
predicted: its F1 in the mean over rows is 1, as with scikit-learn's ``zero_division=1``. Means over labels
include the labels that occur in the targets or in the predictions; if none occurs, each mean is 1. So a
perfect model has 1 everywhere. Rows of weight 0 are excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np
from scipy import sparse
from sklearn import metrics

from tfpipeline.metrics import intervals
from tfpipeline.metrics._calibration import calibration_error
from tfpipeline.metrics._ranking import average_precision, columns
from tfpipeline.metrics._rows import counted, weights_of
from tfpipeline.metrics.intervals import Interval

_EQUAL = 1e-12  # F1s closer than this differ only by the order of summation
_DIGITS = 3
_BLOCK = 1024  # rows


def compute(
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
    logits: Optional[np.ndarray] = None,
) -> dict[str, float]:
    """Averaged F1, mean average precision, subset accuracy, Hamming loss and calibration error; then each
    label's F1 as ``f1/LABEL``.

    ``macro_f1`` is the mean over labels, ``weighted_f1`` the mean over labels weighted by their rows,
    ``samples_f1`` the mean over rows, and ``micro_f1`` the F1 of all N * C decisions. ``map`` needs no
    thresholds: it is the mean average precision of the labels that occur in the targets, and is omitted if
    none occurs. ``subset_accuracy`` is the share of rows with all labels right, ``hamming_loss`` the share of
    wrong decisions. ``expected_calibration_error`` is the mean over the labels of their calibration errors.
    ``f1/LABEL`` is 0 for a label that does not occur.

    Time and memory grow with N * C (times log N).

    Args:
        targets: bool or integer [N, C], which labels are right.
        scores: float [N, C], 0 to 1.
        thresholds: float [C].
        weights: float [N], at least 0; 1 by default.
        labels: the names of the C labels.
        logits: float [N, C]; if given, ``map`` ranks rows by them, because float32 scores are rounded to 1
            from logits of 17 on.
    Raises:
        UserError: no row has a weight above 0, or a score is NaN or infinite (training diverged).
    """
    ranked = scores if logits is None else logits
    _, ranked, _, _ = _checked(targets, ranked, thresholds, weights, labels)
    targets, scores, thresholds, weights = _checked(targets, scores, thresholds, weights, labels)
    answers = scores >= thresholds
    right, true, answered = (_sums(weights, given) for given in (targets & answers, targets, answers))
    f1 = _f1(right, true, answered)
    occur = true + answered > 0
    results = {
        "macro_f1": float(f1[occur].mean()) if occur.any() else 1.0,
        "micro_f1": float(_f1(right.sum(), true.sum(), answered.sum())) if occur.any() else 1.0,
        "weighted_f1": float(np.average(f1, weights=true)) if true.any() else float(not occur.any()),
        "samples_f1": float(np.average(_by_row(targets, answers)[2], weights=weights)),
    }
    if true.any():
        precisions = [
            average_precision(targets[:, index], column, weights)
            for index, column in columns(ranked, np.flatnonzero(true))
        ]
        results["map"] = float(np.mean(precisions))
    wrong = targets != answers
    results["subset_accuracy"] = float(np.average(~wrong.any(-1), weights=weights))
    results["hamming_loss"] = float(np.average(wrong.mean(-1), weights=weights))
    errors = [
        calibration_error(column, targets[:, index], weights)
        for index, column in columns(scores, range(len(labels)))
    ]
    results["expected_calibration_error"] = float(np.mean(errors))
    return {**results, **{f"f1/{label}": float(score) for label, score in zip(labels, f1)}}


def confidence_intervals(
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> dict[str, Interval]:
    """95 % intervals of the F1s (averaged, and ``f1/LABEL``), subset accuracy and Hamming loss; arguments and
    errors as for :func:`compute`.
    """
    targets, scores, thresholds, weights = _checked(targets, scores, thresholds, weights, labels)
    answers = scores >= thresholds
    wrong = targets != answers
    given = sparse.hstack([sparse.csr_array(part) for part in (targets & answers, targets, answers)])
    by_row = np.stack([_by_row(targets, answers)[2], wrong.mean(-1), np.ones(len(targets))], axis=1)
    added = sparse.hstack([given, sparse.csr_array(by_row)]).multiply(weights[:, None]).tocsr()

    def statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
        right, true, answered = np.split(sums[:, :-3], 3, axis=1)
        samples, hamming, total = sums[:, -3:].T
        f1, occur = _f1(right, true, answered), true + answered > 0
        nothing = np.where(occur.any(-1), 0.0, 1.0)
        all_right, all_true, all_answered = (part.sum(-1) for part in (right, true, answered))
        return {
            "macro_f1": intervals.mean_where(f1, occur, 1.0),
            "micro_f1": np.maximum(_f1(all_right, all_true, all_answered), nothing),
            "weighted_f1": np.maximum(intervals.ratio((f1 * true).sum(-1), all_true), nothing),
            "samples_f1": samples / total,
            "hamming_loss": hamming / total,
            **{f"f1/{label}": column for label, column in zip(labels, f1.T)},
        }

    subset = float(np.average(~wrong.any(-1), weights=weights))
    return {
        "subset_accuracy": intervals.wilson(subset, len(targets)),
        **intervals.bootstrap(added, statistics),
    }


def report(
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> str:
    """scikit-learn's ``classification_report`` for the labels that occur, each with its threshold.

    The last line, the mean over rows, differs from scikit-learn's: a row without labels is right if none is
    predicted. Arguments and errors as for :func:`compute`.
    """
    targets, scores, thresholds, weights = _checked(targets, scores, thresholds, weights, labels)
    answers = scores >= thresholds
    present = np.flatnonzero((targets | answers).any(0)).tolist()
    if not present:
        return "no row has a label, and none was predicted\n"
    # scikit-learn treats a single column as a choice between two classes, where the label is class 1.
    one = len(labels) == 1
    text: str = metrics.classification_report(
        targets[:, 0] if one else targets,
        answers[:, 0] if one else answers,
        labels=[1] if one else present,
        target_names=[f"{labels[index]} >= {thresholds[index]:#.3g}" for index in present],
        sample_weight=None if (weights == 1).all() else weights,  # supports are shown as whole numbers
        digits=_DIGITS,
        zero_division=0,
    )
    if one:
        return text
    lines = text.rstrip("\n").splitlines()
    means = [np.average(values, weights=weights) for values in _by_row(targets, answers)]
    cells = "".join(f" {mean:>9.{_DIGITS}f}" for mean in means)
    name, support = lines[-1][: -len(cells) - 10], lines[-1][-10:]
    return "\n".join([*lines[:-1], f"{name}{cells}{support}", ""])


def tune_thresholds(
    targets: np.ndarray, scores: np.ndarray, weights: Optional[np.ndarray] = None
) -> np.ndarray:
    """The threshold between 0 and 1 with the highest F1, for each label.

    A threshold is midway between two neighbouring scores (or the lowest and 0), so that no score is close to
    it. If no float32 lies between them, it is the upper one. Of thresholds with equal F1, the nearest to 0.5
    is chosen. A label that no row has gets 0.5, as does a label with the score 0 in all its rows.

    Args:
        targets: bool or integer [N, C], which labels are right.
        scores: float [N, C], 0 to 1; compared as float32, as in the served model.
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
    for label, column in columns(scores, labels):
        thresholds[label] = _best_threshold(targets[:, label], column.astype(np.float32), weights)
    return thresholds.astype(np.float32)


def _best_threshold(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    falling = np.argsort(-scores)
    scores = scores[falling]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the end of each run of equal scores
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


def _by_row(targets: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each row's labels, float64 [N]; all 1 for a row without labels and
    predictions.
    """
    right, true, answered = ((targets & answers).sum(-1), targets.sum(-1), answers.sum(-1))
    nothing = (true + answered == 0).astype(np.float64)
    return (
        np.divide(right, answered, where=answered > 0, out=nothing.copy()),
        np.divide(right, true, where=true > 0, out=nothing.copy()),
        np.maximum(_f1(right, true, answered), nothing),
    )


def _sums(weights: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The summed weights of each label's rows, float64 [C], from bool [N, C]. Computed in blocks, because a
    product converts its bool operand to floats.
    """
    blocks = (slice(start, start + _BLOCK) for start in range(0, len(given), _BLOCK))
    total: np.ndarray = sum((weights[block] @ given[block] for block in blocks), np.zeros(given.shape[1]))
    return total


def _f1(right: np.ndarray, true: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """2 PR / (P + R), from counts of any shape; 0 if all counts are 0."""
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
    scores, thresholds = np.asarray(scores), np.asarray(thresholds, np.float64)
    weights = weights_of(targets, weights)
    if (
        targets.shape != (len(targets), len(labels))
        or scores.shape != targets.shape
        or thresholds.shape != (len(labels),)
        or weights.shape != (len(targets),)
    ):
        raise ValueError(
            f"targets {targets.shape}, scores {scores.shape}, thresholds {thresholds.shape}, weights "
            f"{weights.shape} "
            f"and {len(labels)} labels do not fit together"
        )
    targets, scores, weights = counted(targets, scores, weights)
    return targets, scores, thresholds, weights
