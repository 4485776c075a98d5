"""Scores of one label for a text. N rows, C classes.

A row's answer is its most probable class, the first one where two are equal. Averages over classes are over
those that occur, in the targets or in the answers, as scikit-learn has it: a label without a row here does
not count as failed. Rows of weight 0 are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

import numpy as np
from scipy import sparse
from sklearn import metrics

from tfpipeline.metrics._calibration import calibration_error
from tfpipeline.metrics._ranking import columns, roc_auc
from tfpipeline.metrics._rows import counted, weights_of

_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def compute(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> dict[str, float]:
    """Accuracy, averaged F1, MCC, ROC-AUC and calibration error.

    A class that is never answered has precision 0, and F1 0; MCC is 0 where the targets or the answers are
    all of one class. ``roc_auc`` is, with two classes, that of the second one; with more, the mean over the
    classes of one class against the rest. It is left out where the targets are all of one class. Rows are
    ranked by odds, which tell apart what probabilities of 32 bits do not: those that have become 1.

    Time and memory grow with N * C (times log N), never with C * C.

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
        "mcc": _mcc(targets, answers, weights, len(labels)),
    }
    present = np.unique(targets)
    if len(present) > 1:
        against_rest = [1] if len(labels) == 2 else present
        areas = [
            roc_auc(targets == index, odds, weights) for index, odds in _odds(probabilities, against_rest)
        ]
        scores["roc_auc"] = float(np.mean(areas))
    scores["expected_calibration_error"] = expected_calibration_error(targets, probabilities, weights)
    return scores


def report(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> str:
    """scikit-learn's ``classification_report`` of the classes that occur; arguments and errors as
    :func:`compute`.
    """
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
) -> Any:
    """Rows (their weights) by right class, down, and answered class, across.

    Returns:
        A sparse ``scipy`` array, float64 [C, C]: it has N cells that are not 0 at most, however many classes
            there are.
    """
    targets, probabilities, weights = _checked(targets, probabilities, weights, labels)
    size = len(labels)
    return sparse.coo_array((weights, (targets, probabilities.argmax(-1))), shape=(size, size)).tocsr()


def _odds(probabilities: np.ndarray, classes: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """p / (1 - p) of these classes, float64 [N] each.

    A probability of 32 bits is 1 from log-odds of 17 on. Those of the row's other classes are still exact
    then, and their sum is what is missing to 1.
    """
    best = probabilities.argmax(-1)
    others = np.arange(probabilities.shape[-1]) != best[:, None]
    missing = probabilities.sum(-1, dtype=np.float64, where=others)
    for index, column in columns(probabilities, classes):
        own = column.astype(np.float64)
        rest = np.where(best == index, missing, 1 - own)
        yield index, own / np.maximum(rest, _SMALLEST)


def expected_calibration_error(
    targets: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray] = None
) -> float:
    """How far the answers' probabilities are from how often they are right, 0 to 1; see
    :func:`tfpipeline.metrics._calibration.calibration_error`.
    """
    weights = np.ones(len(targets)) if weights is None else weights
    return calibration_error(probabilities.max(-1), probabilities.argmax(-1) == targets, weights)


def _mcc(targets: np.ndarray, answers: np.ndarray, weights: np.ndarray, classes: int) -> float:
    """Gorodkin 2004's multi-class Matthews correlation, from the sums of the confusion matrix; 0 where it is
    undefined.

    Not scikit-learn's: it counts rows in the weights' own dtype and warns where the answers are all of one
    class.
    """
    total, right = weights.sum(), weights @ (targets == answers)
    true, answered = np.bincount(targets, weights, classes), np.bincount(answers, weights, classes)
    spread = (total**2 - (true**2).sum()) * (total**2 - (answered**2).sum())
    return float((right * total - true @ answered) / np.sqrt(spread)) if spread > 0 else 0.0


def _checked(
    targets: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    targets = np.asarray(targets)
    probabilities = np.asarray(probabilities)  # of 32 bits they stay so: there may be very many
    weights = weights_of(targets, weights)
    if probabilities.shape != (len(targets), len(labels)) or weights.shape != targets.shape:
        raise ValueError(
            f"targets {targets.shape}, probabilities {probabilities.shape}, weights {weights.shape} and "
            f"{len(labels)} labels do not fit together"
        )
    return counted(targets, probabilities, weights)
