"""Scores for answers taken from a text, as in SQuAD's official evaluation. Letters in shapes: N rows.

Answers are compared ignoring case, punctuation, articles and white space. A row without right answers is
unanswerable, and the empty answer is right. Rows of weight 0 are excluded. All scores are 0 to 1.

Source: Rajpurkar, Jia and Liang 2018, arXiv:1806.03822, and its script evaluate-v2.0.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Optional

import numpy as np

from tfpipeline.metrics._calibration import calibration_error
from tfpipeline.metrics._rows import counted, weights_of
from tfpipeline.metrics.intervals import Interval, means, wilson

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII punctuation only
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_EQUAL = 1e-12  # mean F1s closer than this differ only by the order of summation


def normalize_answer(text: str) -> str:
    """A text in lower case, without ASCII punctuation, English articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 if the normalised answer is one of the right answers, else 0.

    Args:
        answer: the answer; empty for "no answer".
        gold: the right answers. Answers that are empty after normalisation do not count. If none is left, the
            empty answer is right.
    """
    return float(normalize_answer(answer) in _normalized(gold))


def f1(answer: str, gold: Sequence[str]) -> float:
    """F1 in words, the highest over the right answers.

    Words are separated by white space after normalisation, so a Chinese text is one word. If either side has
    no words, the result is 1 if both have none, else 0. Arguments as for :func:`exact_match`.
    """
    words = normalize_answer(answer).split()
    return max(_overlap(words, right.split()) for right in _normalized(gold))


def compute(
    answers: Sequence[str],
    gold: Sequence[Sequence[str]],
    weights: Optional[np.ndarray] = None,
    scores: Optional[np.ndarray] = None,
) -> dict[str, float]:
    """Weighted means of exact match and F1.

    If there are unanswerable rows, the result also has ``has_answer_exact_match`` and ``has_answer_f1`` for
    the other rows, and ``no_answer_accuracy``, the share of unanswerable rows with an empty answer.

    Args:
        answers: N answers; empty for "no answer".
        gold: the right answers of each, none for an unanswerable row.
        weights: float [N], at least 0; 1 by default.
        scores: float [N], the probability of each answer. With them, the result has
            ``expected_calibration_error``, where an answer is right if it matches exactly.
    Raises:
        UserError: no row has a weight above 0.
    """
    given = weights_of(np.arange(len(answers)), weights)
    exact, overlap, answerable, weights = _scored(answers, gold, weights)

    def mean(scores: np.ndarray, rows: np.ndarray) -> float:
        return float(np.average(scores[rows], weights=weights[rows]))

    every = np.ones(len(exact), bool)
    results = {"exact_match": mean(exact, every), "f1": mean(overlap, every)}
    if scores is not None:
        results["expected_calibration_error"] = calibration_error(scores[given > 0], exact, weights)
    if answerable.all():
        return results
    if answerable.any():
        results["has_answer_exact_match"] = mean(exact, answerable)
        results["has_answer_f1"] = mean(overlap, answerable)
    results["no_answer_accuracy"] = mean(exact, ~answerable)
    return results


def confidence_intervals(
    answers: Sequence[str], gold: Sequence[Sequence[str]], weights: Optional[np.ndarray] = None
) -> dict[str, Interval]:
    """95 % intervals of exact match and F1, and of those of rows with and without an answer if
    :func:`compute` has them; arguments and errors as there.
    """
    exact, overlap, answerable, weights = _scored(answers, gold, weights)
    kinds = {"exact_match": np.ones(len(exact), bool)}
    overlaps = {"f1": overlap}
    if not answerable.all():
        kinds["no_answer_accuracy"] = ~answerable
        if answerable.any():
            kinds["has_answer_exact_match"] = answerable
            overlaps["has_answer_f1"] = np.where(answerable, overlap, np.nan)
    shares = {
        name: wilson(float(np.average(exact[rows], weights=weights[rows])), int(rows.sum()))
        for name, rows in kinds.items()
    }
    return {**shares, **means(overlaps, weights)}


def report(
    answers: Sequence[str], gold: Sequence[Sequence[str]], weights: Optional[np.ndarray] = None
) -> str:
    """Exact match, F1 and row counts, for all rows and for those with and without an answer; as
    :func:`compute`.
    """
    exact, overlap, answerable, weights = _scored(answers, gold, weights)
    kinds = {"all": np.ones(len(exact), bool)}
    if not answerable.all():
        kinds.update({"has answer": answerable, "no answer": ~answerable})
    lines = [f"{'':>12}{'exact match':>13}{'f1':>9}{'rows':>9}"]
    for name, rows in kinds.items():
        if rows.any():
            means = [np.average(scores[rows], weights=weights[rows]) for scores in (exact, overlap)]
            lines.append(f"{name:>12}{means[0]:>13.4f}{means[1]:>9.4f}{rows.sum():>9}")
    return "\n".join([*lines, ""])


def tune_threshold(
    spans: Sequence[str],
    no_answer: np.ndarray,
    gold: Sequence[Sequence[str]],
    weights: Optional[np.ndarray] = None,
) -> float:
    """The threshold with the highest mean F1, where rows with ``no_answer`` above the threshold get an empty
    answer.

    The threshold is midway between two neighbouring scores (or the lowest and 0, the highest and 1), so that
    no score is close to it. If no float32 lies between them, it is the lower one. Of thresholds with equal
    F1, the nearest to 0.5 is chosen. If no row has a weight above 0, it is 0.5.

    Args:
        spans: N answers, the best span in each row's text.
        no_answer: float [N], 0 to 1; compared as float32, as in the served model.
        gold: the right answers of each, none for an unanswerable row.
        weights: float [N], at least 0; 1 by default.
    Returns:
        The threshold, 0 to 1, exactly representable as float32.
    Raises:
        UserError: a score is NaN or infinite (training diverged).
    """
    no_answer, weights = np.asarray(no_answer, np.float32), weights_of(no_answer, weights)
    if not len(spans) == len(gold) == len(no_answer) == len(weights):
        raise ValueError(
            f"{len(spans)} spans, {len(no_answer)} scores, {len(gold)} rows of right answers and "
            f"{len(weights)} weights "
            "do not fit together"
        )
    if not (weights > 0).any():
        return 0.5
    rows, no_answer, weights = counted(np.arange(len(spans)), no_answer, weights)
    gains = weights * [f1(spans[row], gold[row]) - f1("", gold[row]) for row in rows]
    rising = np.argsort(no_answer)
    scores = no_answer[rising]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the end of each run of equal scores
    # Each threshold is between a lower and an upper score; rows up to the lower one get their spans.
    lower, upper = np.append(np.float32(0), scores[last]), np.append(scores[last], np.float32(1))
    gained = np.append(0, gains[rising].cumsum()[last])
    middle = ((lower.astype(np.float64) + upper) / 2).astype(np.float32)
    thresholds = np.where(middle < upper, middle, lower)
    possible = thresholds < upper  # not all rows can be without an answer if a score is 0
    possible[-1] = True
    thresholds, gained = thresholds[possible], gained[possible]
    best = thresholds[gained >= gained.max() - _EQUAL * weights.sum()].astype(np.float64)
    return float(best[np.abs(best - 0.5).argmin()])


def _normalized(gold: Sequence[str]) -> list[str]:
    return [text for text in map(normalize_answer, gold) if text] or [""]


def _overlap(words: Sequence[str], right: Sequence[str]) -> float:
    if not words or not right:
        return float(words == right)
    same = sum((Counter(words) & Counter(right)).values())
    if not same:
        return 0.0
    precision, recall = same / len(words), same / len(right)
    return 2 * precision * recall / (precision + recall)


def _scored(
    answers: Sequence[str], gold: Sequence[Sequence[str]], weights: Optional[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Exact match, F1, whether an answer exists, and the weight, for the rows that count, each [N]."""
    numbers = np.arange(len(answers))
    weights = weights_of(numbers, weights)
    if not len(answers) == len(gold) == len(weights):
        raise ValueError(
            f"{len(answers)} answers, {len(gold)} rows of right answers and {len(weights)} weights do not "
            f"fit together"
        )
    rows, _, weights = counted(numbers, numbers, weights)
    return (
        np.array([exact_match(answers[row], gold[row]) for row in rows]),
        np.array([f1(answers[row], gold[row]) for row in rows]),
        np.array([len(gold[row]) > 0 for row in rows]),
        weights,
    )
