from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from tfpipeline.errors import UserError
from tfpipeline.metrics import regression

TARGETS = np.array([1.0, 2.0, 3.0, 4.0])
VALUES = np.array([1.0, 3.0, 2.0, 6.0], np.float32)  # errors 0, 1, -1, 2


def test_by_hand():
    assert regression.compute(TARGETS, VALUES) == pytest.approx(
        {
            # Around the means: -1.5, -0.5, 0.5, 1.5 and -2, 0, -1, 3; products 3, 0, -0.5, 4.5.
            "pearson": 7 / np.sqrt(5 * 14),
            "spearman": 1 - 6 * 2 / (4 * 15),  # two ranks exchanged
            "rmse": np.sqrt(6 / 4),
            "mae": 1.0,
            "r2": 1 - 6 / 5,
        }
    )


def random_rows(seed, rows=200):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 6, rows) / 2  # many are equal
    values = (targets + rng.normal(0, 1, rows)).astype(np.float32)
    return targets, np.round(values, 1), rng.integers(0, 4, rows).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_equals_scipy_and_scikit_learn(seed):
    targets, values, weights = random_rows(seed)
    scores = regression.compute(targets, values)
    assert scores["pearson"] == pytest.approx(scipy.stats.pearsonr(targets, values.astype(float))[0])
    assert scores["spearman"] == pytest.approx(scipy.stats.spearmanr(targets, values)[0])
    for uneven in (None, weights * 0.37):
        scores = regression.compute(targets, values, uneven)
        assert scores["rmse"] == pytest.approx(
            reference.root_mean_squared_error(targets, values, sample_weight=uneven)
        )
        assert scores["mae"] == pytest.approx(
            reference.mean_absolute_error(targets, values, sample_weight=uneven)
        )
        assert scores["r2"] == pytest.approx(reference.r2_score(targets, values, sample_weight=uneven))
    matrix = np.cov(targets, values.astype(float), aweights=weights, bias=True)
    assert scores["pearson"] == pytest.approx(matrix[0, 1] / np.sqrt(matrix[0, 0] * matrix[1, 1]))


numbers = st.floats(-1000, 1000, width=16)


@given(data=st.data(), rows=st.integers(1, 8))
def test_a_weight_counts_as_so_many_copies_and_order_does_not(data, rows):
    targets = data.draw(hnp.arrays(np.float64, rows, elements=numbers))
    values = data.draw(hnp.arrays(np.float32, rows, elements=numbers))
    weights = data.draw(hnp.arrays(np.float64, rows, elements=st.integers(0, 3)))
    assume(weights.any())
    copies = np.repeat(np.arange(rows), weights.astype(int))
    weighted = regression.compute(targets, values, weights)
    close = {"rel": 1e-6, "abs": 1e-6}
    assert weighted == pytest.approx(regression.compute(targets[copies], values[copies]), **close)
    order = data.draw(st.permutations(range(rows)))
    assert weighted == pytest.approx(
        regression.compute(targets[order], values[order], weights[order]), **close
    )
    quantiles = regression.report(targets, values, weights).splitlines()[-1]
    assert quantiles == regression.report(targets[copies], values[copies]).splitlines()[-1]
    assert -1 <= weighted["pearson"] <= 1
    assert -1 <= weighted["spearman"] <= 1


@given(data=st.data(), rows=st.integers(2, 8))
def test_ranks_are_scipys(data, rows):
    targets = data.draw(hnp.arrays(np.float64, rows, elements=st.integers(0, 4)))
    values = data.draw(hnp.arrays(np.float64, rows, elements=st.integers(0, 4)))
    assume(len(set(targets)) > 1)
    assume(len(set(values)) > 1)
    assert regression.compute(targets, values)["spearman"] == pytest.approx(
        scipy.stats.spearmanr(targets, values)[0]
    )


def test_what_has_no_correlation():
    """Of equal numbers: their mean is not 0.1 to the last digit."""
    equal = np.full(3, 0.1)
    scores = regression.compute(equal, np.array([0.1, 0.2, 0.3]))
    assert scores["pearson"] == scores["spearman"] == scores["r2"] == 0
    assert regression.compute(equal, equal) == {"pearson": 0, "spearman": 0, "rmse": 0, "mae": 0, "r2": 1}
    scores = regression.compute(np.array([1.0, 2.0, 4.0]), equal)
    assert scores["pearson"] == scores["spearman"] == 0
    assert scores["r2"] < 0
    assert regression.compute(np.array([2.0]), np.array([3.0]))["rmse"] == 1
    weights = np.array([1.0, 1.0, 0.0])  # what counts is equal
    assert regression.compute(np.array([1.0, 1.0, 2.0]), TARGETS[:3], weights)["pearson"] == 0


def test_small_differences_of_large_numbers_count():
    targets = 1e9 + np.arange(5.0)
    scores = regression.compute(targets, targets + np.array([0, 0.5, 0, 0.5, 0]))
    assert scores["pearson"] == pytest.approx(np.corrcoef(np.arange(5), [0, 1.5, 2, 3.5, 4])[0, 1])
    assert scores["mae"] == 0.2


def test_report():
    lines = regression.report(TARGETS, VALUES).splitlines()
    assert [line.split() for line in lines] == [
        ["pearson", "0.8367"],
        ["spearman", "0.8"],
        ["rmse", "1.225"],
        ["mae", "1"],
        ["r2", "-0.2"],
        ["rows", "4"],
        [],
        ["residuals", "(value", "-", "target)"],
        ["min", "5%", "25%", "median", "75%", "95%", "max"],
        ["-1", "-1", "-1", "0", "1", "2", "2"],
    ]
    lines = regression.report(TARGETS, VALUES, np.array([1, 1, 0, 8])).splitlines()
    assert lines[5].split() == ["rows", "3"]
    assert lines[-1].split() == ["0", "0", "2", "2", "2", "2", "2"]


def test_nothing_to_score_and_values_that_are_not_numbers():
    for score in (regression.compute, regression.report):
        with pytest.raises(UserError, match="no row has a weight above 0"):
            score(TARGETS, VALUES, np.zeros(4))
        with pytest.raises(
            UserError, match="2 of 4 predictions are NaN or infinite, so training has diverged"
        ):
            score(TARGETS, np.array([1, np.nan, np.inf, 2]))
        with pytest.raises(ValueError, match="do not fit together"):
            score(TARGETS, VALUES[:, None])


def test_an_answer_of_minus_zero_is_no_error():
    lines = regression.report(np.array([0.0, 1.0]), np.array([-0.0, 1.0])).splitlines()
    assert lines[-1].split() == ["0"] * 7
