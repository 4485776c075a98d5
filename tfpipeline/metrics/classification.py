"""Scores for one label per text. Letters in shapes: N rows, C classes.

A row's prediction is its most probable class; of equally probable ones, the first. Averages over classes
include the classes that occur in the targets or in the predictions, as in scikit-learn, so a label without
rows does not count as a failure. Rows of weight 0 are excluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

import numpy as np
from scipy import sparse
from sklearn import metrics

from tfpipeline.metrics import intervals
from tfpipeline.metrics._calibration import calibration_error
from tfpipeline.metrics._ranking import columns, roc_auc
from tfpipeline.metrics._rows import counted, weights_of
from tfpipeline.metrics.intervals import Interval

_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def compute(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> dict[str, float]:
    """Accuracy, averaged F1, MCC, ROC-AUC and calibration error.

    A class that is never predicted has precision 0 and F1 0. MCC is 0 if all targets or all predictions are
    of one class. With two classes, ``roc_auc`` is that of the second; with more, the mean over the classes of
    one class against the rest. It is omitted if all targets are of one class. Rows are ranked by odds, which
    distinguish rows whose float32 probabilities have been rounded to 1.

    Time and memory grow with N * C (times log N), never with C * C.

    Args:
        targets: integer [N], the right class.
        probabilities: float [N, C].
        weights: float [N], at least 0; 1 by default.
        labels: the names of the C classes.
    Raises:
        UserError: no row has a weight above 0, or a probability is NaN or infinite (training diverged).
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


def confidence_intervals(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> dict[str, Interval]:
    """95 % intervals of accuracy, the averaged F1s and MCC; arguments and errors as for :func:`compute`."""
    targets, probabilities, weights = _checked(targets, probabilities, weights, labels)
    answers, rows, classes = probabilities.argmax(-1), np.arange(len(targets)), len(labels)
    right = answers == targets
    added = sparse.coo_array(
        (
            np.concatenate([weights, weights, weights[right]]),
            (
                np.concatenate([rows, rows, rows[right]]),
                np.concatenate([targets, classes + answers, 2 * classes + targets[right]]),
            ),
        ),
        shape=(len(targets), 3 * classes),
    ).tocsr()

    def statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
        true, answered, hits = np.split(sums, 3, axis=1)
        total, hit = true.sum(-1), hits.sum(-1)
        f1 = intervals.ratio(2 * hits, true + answered)
        spread = (total**2 - (true**2).sum(-1)) * (total**2 - (answered**2).sum(-1))
        mcc = intervals.ratio(hit * total - (true * answered).sum(-1), np.sqrt(np.maximum(spread, 0)))
        return {
            "macro_f1": intervals.mean_where(f1, true + answered > 0, 1.0),
            "micro_f1": hit / total,
            "weighted_f1": (f1 * true).sum(-1) / total,
            "mcc": mcc,
        }

    accuracy = float(np.average(right, weights=weights))
    return {
        "accuracy": intervals.wilson(accuracy, len(targets)),
        **intervals.bootstrap(added, statistics),
    }


def report(
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: Optional[np.ndarray] = None,
    *,
    labels: Sequence[str],
) -> str:
    """scikit-learn's ``classification_report`` for the classes that occur; arguments and errors as for
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
    """The weights of the rows by right class (first axis) and predicted class (second axis).

    Returns:
        A sparse ``scipy`` array, float64 [C, C], with at most N nonzero cells for any number of classes.
    """
    targets, probabilities, weights = _checked(targets, probabilities, weights, labels)
    size = len(labels)
    return sparse.coo_array((weights, (targets, probabilities.argmax(-1))), shape=(size, size)).tocsr()


def _odds(probabilities: np.ndarray, classes: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The odds p / (1 - p) of the given classes, float64 [N] each.

    A float32 probability is rounded to 1 from log-odds of 17 on. The probabilities of the row's other classes
    are still exact then, and their sum is 1 - p.
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
    """The calibration error of the predicted classes' probabilities, 0 to 1; see
    :func:`tfpipeline.metrics._calibration.calibration_error`.
    """
    weights = np.ones(len(targets)) if weights is None else weights
    return calibration_error(probabilities.max(-1), probabilities.argmax(-1) == targets, weights)


def _mcc(targets: np.ndarray, answers: np.ndarray, weights: np.ndarray, classes: int) -> float:
    """The multi-class Matthews correlation (Gorodkin 2004), from the sums of the confusion matrix; 0 if it is
    undefined.

    scikit-learn's function is not used: it sums in the dtype of the weights, and warns if all predictions are
    of one class.
    """
    total, right = weights.sum(), weights @ (targets == answers)
    true, answered = np.bincount(targets, weights, classes), np.bincount(answers, weights, classes)
    spread = (total**2 - (true**2).sum()) * (total**2 - (answered**2).sum())
    return float((right * total - true @ answered) / np.sqrt(spread)) if spread > 0 else 0.0


def _checked(
    targets: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    targets = np.asarray(targets)
    probabilities = np.asarray(probabilities)  # float32 stays float32: there may be very many
    weights = weights_of(targets, weights)
    if probabilities.shape != (len(targets), len(labels)) or weights.shape != targets.shape:
        raise ValueError(
            f"targets {targets.shape}, probabilities {probabilities.shape}, weights {weights.shape} and "
            f"{len(labels)} labels do not fit together"
        )
    return counted(targets, probabilities, weights)
