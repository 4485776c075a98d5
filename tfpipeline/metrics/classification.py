"""Scores of one label for a text. N rows, C classes.

A row's answer is its most probable class, the first one where two are equal. Averages over classes are over those
that occur, in the targets or in the answers, as scikit-learn has it: a label without a row here does not count
as failed. Rows of weight 0 are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np
from sklearn import metrics

from tfpipeline.metrics._rows import counted, weights_of

CALIBRATION_BINS = 15


def compute(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> dict[str, float]:
    """Accuracy, averaged F1, MCC, ROC-AUC and calibration error.

    A class that is never answered has precision 0, and F1 0; MCC is 0 where the targets or the answers are all of
    one class. ``roc_auc`` is the mean over the classes of one class against the rest (with two classes: the usual
    one); it is left out where the targets are all of one class.

    Args:
        targets: integer [N], the right class.
        probabilities: float [N, C].
        weights: float [N], at least 0; 1 by default.
        labels: the names of the C classes.
    Raises:
        UserError: no row has a weight above 0, or a probability is not a number (training diverged).
    """
    targets, probabilities, weights = _checked(targets, probabilities, weights, labels)
    answers = probabilities.argmax(-1)

    def f1(average: str) -> float:
        return float(
            metrics.f1_score(targets, answers, average=average, sample_weight=weights, zero_division=0)
        )

    scores = {
        "accuracy": float(np.average(answers == targets, weights=weights)),
        "macro_f1": f1("macro"),
        "micro_f1": f1("micro"),
        "weighted_f1": f1("weighted"),
        "mcc": _mcc(confusion_matrix(targets, probabilities, weights, labels=labels)),
    }
    against_rest = [
        metrics.roc_auc_score(targets == index, probabilities[:, index], sample_weight=weights)
        for index in np.unique(targets)
        if not (targets == index).all()
    ]
    if against_rest:
        scores["roc_auc"] = float(np.mean(against_rest))
    scores["expected_calibration_error"] = expected_calibration_error(targets, probabilities, weights)
    return scores


def report(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> str:
    """scikit-learn's ``classification_report`` of the classes that occur; arguments and errors as :func:`compute`."""
    targets, probabilities, weights = _checked(targets, probabilities, weights, labels)
    answers = probabilities.argmax(-1)
    present = np.union1d(targets, answers)
    text: str = metrics.classification_report(
        targets,
        answers,
        labels=present,
        target_names=[labels[index] for index in present],
        sample_weight=None if (weights == 1).all() else weights,  # supports are shown as whole numbers
        digits=3,
        zero_division=0,
    )
    return text


def confusion_matrix(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> np.ndarray:
    """Rows (their weights) by right class, down, and answered class, across: float64 [C, C]."""
    targets, probabilities, weights = _checked(targets, probabilities, weights, labels)
    matrix = np.zeros((len(labels), len(labels)))
    np.add.at(matrix, (targets, probabilities.argmax(-1)), weights)
    return matrix


def expected_calibration_error(
    targets: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray] = None
) -> float:
    """How far the answers' probabilities are from how often they are right, 0 to 1.

    Answers are put into bins of equal width by their probability; a bin's error is the difference between its mean
    probability and its accuracy; the mean over the bins is weighted by their rows.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2, with their 15 bins.
    """
    weights = np.ones(len(targets)) if weights is None else weights
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == targets
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.searchsorted(edges, confidence)  # (0, 1/15], (1/15, 2/15], ...
    differences = np.bincount(bins, weights * (confidence - right), minlength=CALIBRATION_BINS)
    return float(np.abs(differences).sum() / weights.sum())


def _mcc(matrix: np.ndarray) -> float:
    """Gorodkin 2004's multi-class Matthews correlation; 0 where it is undefined.

    Not scikit-learn's: it counts rows in the weights' own dtype and warns where the answers are all of one class.
    """
    total, right = matrix.sum(), matrix.trace()
    true, answered = matrix.sum(1), matrix.sum(0)
    spread = (total**2 - (true**2).sum()) * (total**2 - (answered**2).sum())
    return float((right * total - true @ answered) / np.sqrt(spread)) if spread > 0 else 0.0


def _checked(
    targets: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    targets = np.asarray(targets)
    probabilities = np.asarray(probabilities, np.float64)
    weights = weights_of(targets, weights)
    if probabilities.shape != (len(targets), len(labels)) or weights.shape != targets.shape:
        raise ValueError(
            f"targets {targets.shape}, probabilities {probabilities.shape}, weights {weights.shape} and "
            f"{len(labels)} labels do not fit together"
        )
    return counted(targets, probabilities, weights)
