from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tfpipeline.tasks.similarity.scorer import SimilarityScorer, ranks

PAIRS = SimilarityScorer(SimpleNamespace(has_scores=False))
SCORED = SimilarityScorer(SimpleNamespace(has_scores=True))


def keys(*values):
    return np.array(values, np.int64)


def angles(*degrees):
    """Vectors in the plane, of any length."""
    radians = np.radians(np.array(degrees, float))
    return 3 * np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def test_ranks_of_pairs_by_hand():
    predictions = {"embedding": angles(0, 30, 90, 91), "text_pair/embedding": angles(20, 10, 80, 0)}
    targets = {
        "text_key": keys(1, 2, 3, 4),
        "text_pair_key": keys(11, 12, 13, 14),
        "group_key": keys(0, 0, 0, 0),
    }
    # 0: 0, 10, 20 -> third. 30: 20, 10 -> second. 90: 80 -> first. 91: 80, 20, 10, 0 -> fourth.
    assert ranks(predictions, targets).tolist() == [3, 2, 1, 4]
    scores = PAIRS.metrics(predictions, targets, np.array([1, 1, 2, 0.0]))
    assert scores == pytest.approx({"recall@1": 0.5, "recall@10": 1, "mrr@10": (1 / 3 + 1 / 2 + 2) / 4})
    low, high = PAIRS.intervals(predictions, targets, np.ones(4))["mrr@10"]
    assert low < (1 / 3 + 1 / 2 + 1 + 1 / 4) / 4 < high


def test_other_right_answers_are_no_mistakes():
    """Of a row with the same question, of one in the same group; a text that occurs twice is one candidate."""
    predictions = {"embedding": angles(0, 0, 40), "text_pair/embedding": angles(20, 10, 10)}
    targets = {"text_key": keys(1, 2, 3), "text_pair_key": keys(11, 12, 12), "group_key": keys(0, 0, 0)}
    assert ranks(predictions, targets).tolist() == [2, 1, 2]
    assert ranks(predictions, {**targets, "text_key": keys(1, 1, 3)}).tolist() == [1, 1, 2]
    assert ranks(predictions, {**targets, "group_key": keys(7, 7, 0)}).tolist() == [1, 1, 2]


def test_equal_vectors_score_nothing():
    same = np.ones((30, 4), np.float32)
    targets = {name: np.arange(30) for name in ("text_key", "text_pair_key")}
    targets["group_key"] = np.zeros(30, np.int64)
    scores = PAIRS.metrics({"embedding": same, "text_pair/embedding": same}, targets, np.ones(30))
    assert scores == {"recall@1": 0, "recall@10": 0, "mrr@10": 0}


def test_a_text_with_a_class_is_not_its_own_neighbour():
    """A class with a single row has nothing to find."""
    predictions = {"embedding": angles(0, 10, 12, 50)}
    targets = {"label_key": keys(5, 6, 5, 7)}
    found = ranks(predictions, targets)
    assert np.isnan(found[[1, 3]]).all()
    assert found[[0, 2]].tolist() == [2, 2]
    assert PAIRS.metrics(predictions, targets, np.ones(4))["mrr@10"] == 0.5
    assert PAIRS.metrics(predictions, {"label_key": keys(1, 2, 3, 4)}, np.ones(4))["mrr@10"] == 0


def test_scored_pairs_are_scored_by_correlation():
    targets = {"score": np.array([0, 0.2, 1])}
    scores = SCORED.metrics({"score": np.array([0.1, 0.3, 0.35], np.float32)}, targets, np.ones(3))
    assert scores["spearman"] == pytest.approx(1)
    assert scores["pearson"] == pytest.approx(np.corrcoef([0.1, 0.3, 0.35], targets["score"])[0, 1])
    assert set(scores) == {"spearman", "pearson"}
    assert (SCORED.best_metric, PAIRS.best_metric) == ("spearman", "mrr@10")
