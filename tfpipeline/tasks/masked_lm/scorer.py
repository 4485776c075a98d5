"""Scores of masked tokens: perplexity and accuracy, with the frequencies of tokens as a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfpipeline.tasks.scorer import Arrays, Counts, Scorer

if TYPE_CHECKING:
    from tfpipeline.tasks.masked_lm.task import MaskedLM

_LARGEST = 700.0  # exp() of more is infinite


class MaskedLMScorer(Scorer):
    """Scores predicted tokens; a row counts by its masked tokens times its weight."""

    task: MaskedLM
    best_metric = "perplexity"
    lower_is_better = frozenset({"perplexity"})

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        """``perplexity``, e to the mean cross-entropy of a masked token; ``accuracy``, the share of masked
        tokens that are the most likely ones; and that of the relation of two texts, over rows.
        """
        sums = weights @ _added(predictions)
        scores = {name: float(value[0]) for name, value in _statistics(sums[None]).items()}
        if "relation" in predictions:
            name = f"{self.task.options.objective}_accuracy"
            scores[name] = float(np.average(predictions["relation"], weights=weights))
        return scores

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics.intervals import bootstrap, means

        counted = weights > 0
        found = bootstrap(_added(predictions)[counted] * weights[counted, None], _statistics)
        if "relation" in predictions:
            name = f"{self.task.options.objective}_accuracy"
            found |= means({name: predictions["relation"][counted].astype(float)}, weights[counted])
        return found

    def token_baseline(self, counts: Counts, predictions: Arrays) -> tuple[str, dict[str, np.ndarray]]:
        """The frequencies of tokens in the training rows, each token counted once more than it occurs."""
        frequency = counts().astype(np.float64)[: self.task.vocabulary_size] + 1
        frequency[self.task.special_ids] = 0  # they are never masked
        logs = np.log(np.maximum(frequency, np.finfo(np.float64).tiny) / frequency.sum())
        ids = predictions["masked_ids"]
        masked = ids >= 0
        found = {
            **predictions,
            "loss": -np.where(masked, logs[np.maximum(ids, 0)], 0.0).sum(1),
            "right": (ids == frequency.argmax()).sum(1),
        }
        found.pop("relation", None)
        return "unigram frequencies", found

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        scores, there = predictions["scores"], predictions["starts"] >= 0
        close = (scores[..., :-1] - scores[..., 1:] <= tolerance).any(-1)
        return np.asarray((close & there).any(-1))


def _added(predictions: Arrays) -> np.ndarray:
    """What each row adds to the sums of cross-entropies, of masked and of right tokens: float64 [N, 3]."""
    return np.stack([predictions[name] for name in ("loss", "masked", "right")], axis=1).astype(np.float64)


def _statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics [R] of sums [R, 3]; NaN without a masked token."""
    from tfpipeline.metrics.intervals import ratio

    loss, masked, right = sums.T
    return {
        "perplexity": np.exp(np.minimum(ratio(loss, masked, np.nan), _LARGEST)),
        "accuracy": ratio(right, masked, np.nan),
    }
