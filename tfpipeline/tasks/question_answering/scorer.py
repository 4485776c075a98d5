"""The scores of answers to questions, and the threshold for "no answer"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.tasks.base import ABSTAINED
from tfpipeline.tasks.scorer import Arrays, Scorer

if TYPE_CHECKING:
    from tfpipeline.tasks.question_answering.task import QuestionAnswering

_SAME_RANK = 1e-4  # of two log-scores


class QuestionAnsweringScorer(Scorer):
    """Compares answers with the gold answers as SQuAD does."""

    task: QuestionAnswering
    best_metric = "f1"
    lower_is_better = frozenset({"expected_calibration_error"})

    def tune(
        self,
        head: Any,
        predictions: Arrays,
        targets: Arrays,
        weights: np.ndarray,
    ) -> Arrays:
        if self.task.options.no_answer_threshold != "tuned" or not self.task.may_be_none:
            return predictions
        from tfpipeline.metrics.question_answering import tune_threshold

        spans, no_answer = _texts(predictions["answers"][:, 0]), predictions["no_answer"]
        threshold = np.float32(tune_threshold(spans, no_answer, targets["gold"].tolist(), weights))
        head.threshold.assign(threshold)
        is_none = (no_answer > threshold) | (predictions["ends"][:, 0] == 0)
        # For rows with a predicted span, the odds give the probability of "no answer" relative to it.
        odds = no_answer / np.maximum(1 - no_answer, np.finfo(np.float32).eps)
        of_none = np.minimum(predictions["scores"][:, 0] * odds, 1)
        of_none = np.where(predictions["start"] < 0, predictions["score"], of_none)
        return {
            **predictions,
            "answer": np.where(is_none, b"", predictions["answers"][:, 0]),
            "start": np.where(is_none, -1, predictions["starts"][:, 0]),
            "end": np.where(is_none, -1, predictions["ends"][:, 0]),
            "score": np.where(is_none, of_none, predictions["scores"][:, 0]),
            "threshold": np.full_like(predictions["threshold"], threshold),
        }

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        from tfpipeline.metrics import question_answering

        return question_answering.compute(
            _texts(predictions["answer"]), targets["gold"].tolist(), weights, scores=predictions.get("score")
        )

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics import question_answering

        return question_answering.confidence_intervals(
            _texts(predictions["answer"]), targets["gold"].tolist(), weights
        )

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        from tfpipeline.metrics import question_answering

        return question_answering.report(_texts(predictions["answer"]), targets["gold"].tolist(), weights)

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        from tfpipeline.metrics.question_answering import exact_match

        given = _texts(predictions["answer"])
        wrong = [row for row, gold in enumerate(targets["gold"]) if not exact_match(given[row], gold)]
        wrong.sort(key=lambda row: -predictions["score"][row])
        return [(row, " / ".join(targets["gold"][row]) or "none", given[row] or "none") for row in wrong]

    def right(self, predictions: Arrays, targets: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        from tfpipeline.metrics.question_answering import exact_match

        given = _texts(predictions["answer"])
        right = np.array([exact_match(answer, gold) > 0 for answer, gold in zip(given, targets["gold"])])
        return {ABSTAINED: (np.arange(len(right)), right)}

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        close = np.abs(predictions["no_answer"] - predictions["threshold"]) <= tolerance
        scores = predictions["scores"]
        first, second = scores[:, :-1], scores[:, 1:]
        # Ranks depend on ratios. An unfilled slot equals its neighbour, and they cannot change places.
        tied = (second > 0) & (first <= second * (1 + _SAME_RANK))
        vanished = (predictions["ends"] > predictions["starts"]) & (scores == 0)
        return np.asarray(close | tied.any(-1) | vanished.any(-1))


def _texts(strings: np.ndarray) -> list[str]:
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in strings]
