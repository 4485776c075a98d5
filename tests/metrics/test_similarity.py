from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from tfpipeline.errors import UserError
from tfpipeline.metrics import regression, similarity

TARGETS = np.array([0.0, 1.0, 2.0, 3.0])
SCORES = np.array([0.1, 0.3, 0.2, 0.9], np.float32)


def test_by_hand():
    # Around the means: -1.5, -0.5, 0.5, 1.5 and -0.275, -0.075, -0.175, 0.525.
    product = 1.5 * 0.275 + 0.5 * 0.075 - 0.5 * 0.175 + 1.5 * 0.525
    squares = 5 * (0.275**2 + 0.075**2 + 0.175**2 + 0.525**2)
    found = similarity.compute(TARGETS, SCORES)
    assert list(found) == ["spearman", "pearson"]
    assert found["pearson"] == pytest.approx(product / np.sqrt(squares))
    assert found["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))  # two ranks exchanged


@pytest.mark.parametrize("seed", range(3))
def test_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 6, 200) / 5
    scores = np.round(targets + rng.normal(0, 0.4, 200), 1)
    found = similarity.compute(targets, scores)
    assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(targets, scores).statistic)
    assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(targets, scores).statistic)
    # A weight is that many copies.
    weights = rng.integers(0, 3, 200)
    copied = np.repeat(targets, weights), np.repeat(scores, weights)
    assert similarity.compute(targets, scores, weights) == pytest.approx(similarity.compute(*copied))
    assert (
        similarity.confidence_intervals(targets, scores, weights)["pearson"]
        == (regression.confidence_intervals(targets, scores, weights)["pearson"])
    )


def test_constant_and_broken_scores():
    assert similarity.compute(TARGETS, np.ones(4)) == {"spearman": 0.0, "pearson": 0.0}
    with pytest.raises(UserError, match="1 of 4 predictions are NaN or infinite"):
        similarity.compute(TARGETS, np.array([0.1, np.nan, 0.2, 0.3]))
    with pytest.raises(UserError, match="no row has a weight above 0"):
        similarity.compute(TARGETS, SCORES, np.zeros(4))
