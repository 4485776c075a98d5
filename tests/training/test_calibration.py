"""Temperatures and thresholds, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.errors import UserError
from tfpipeline.tasks.classification import Classification, ClassificationOptions
from tfpipeline.tasks.multilabel import MultiLabel, MultiLabelOptions
from tfpipeline.training.calibration import Collected, abstention, fit_temperatures


def collected(logits, weights=None, **targets):
    """In batches of three rows."""
    weights = np.ones(len(logits)) if weights is None else np.asarray(weights, float)
    found = Collected(weights)
    for start in range(0, len(logits), 3):
        rows = np.arange(start, min(start + 3, len(logits)))
        found(
            rows,
            {
                "logits": tf.constant(np.asarray(logits, np.float32)[rows]),
                "thresholds": tf.fill(np.asarray(logits)[rows].shape, np.float32(0.5)),
            },
            {},
            {name: tf.constant(np.asarray(values)[rows]) for name, values in targets.items()},
        )
    return found


def classifier(**options):
    return Classification(ClassificationOptions(**options), ["a", "b"])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_temperature_makes_probabilities_as_often_right_as_they_say(smoothing):
    """Eight rows are as sure, six of them right: sigmoid(4 / T) = 3 / 4, so T = 4 / log(3). What training
    smooths is no part of it.
    """
    logits = [[4.0, 0.0]] * 8
    fitted = fit_temperatures(
        classifier(label_smoothing=smoothing), collected(logits, label=[0] * 6 + [1] * 2)
    )
    assert fitted.temperatures["temperature"] == pytest.approx(4 / np.log(3), rel=1e-5)
    assert not fitted.unfitted


def test_rows_count_with_their_weights():
    """Weights of 3 and 1: as above."""
    found = collected([[4.0, 0.0]] * 3, [3, 1, 0], label=[0, 1, 1])
    fitted = fit_temperatures(classifier(), found)
    assert fitted.temperatures["temperature"] == pytest.approx(4 / np.log(3), rel=1e-5)


def test_each_label_has_its_own_temperature():
    logits = np.tile([[2.0, -6.0, 1.0]], [10, 1])
    labels = np.zeros((10, 3), np.int8)
    labels[:8, 0] = 1  # sigmoid(2 / T) = 0.8
    labels[:1, 1] = 1  # sigmoid(-6 / T) = 0.1
    task = MultiLabel(MultiLabelOptions(), ["a", "b", "c"])
    fitted = fit_temperatures(task, collected(logits, labels=labels))
    np.testing.assert_allclose(
        fitted.temperatures["temperature"], [2 / np.log(4), 6 / np.log(9), 1], rtol=1e-5
    )
    assert fitted.unfitted == ["temperature[2]"]  # no row has it


@pytest.mark.parametrize("label", [[0, 0, 0, 1], [1, 1, 1, 0]])
def test_rows_that_are_all_right_or_all_wrong_tell_no_temperature(label):
    logits = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 2.0]]
    fitted = fit_temperatures(classifier(), collected(logits, label=label))
    assert fitted.temperatures["temperature"] == 1
    assert fitted.unfitted == ["temperature"]


SURE = np.array([0.9, 0.5, 0.8, 0.7, 0.6], np.float32)
RIGHT = np.array([True, True, True, False, True])


@pytest.mark.parametrize(
    ("share", "threshold", "coverage", "right"),
    [
        (1.0, 0.75, 0.4, 1.0),  # 0.9 and 0.8
        (0.75, 0.0, 1.0, 0.8),  # all
        (0.8, 0.0, 1.0, 0.8),
        (0.81, 0.75, 0.4, 1.0),
    ],
)
def test_as_many_rows_are_answered_as_may_be(share, threshold, coverage, right):
    found = abstention(SURE, RIGHT, np.ones(5), share)
    assert (found.threshold, found.coverage, found.right) == pytest.approx((threshold, coverage, right))


def test_rows_as_sure_as_each_other_are_answered_together():
    found = abstention(np.array([0.9, 0.8, 0.8]), np.array([True, True, False]), np.ones(3), 0.9)
    assert (found.threshold, found.coverage) == pytest.approx((0.85, 1 / 3))
    one = np.float32(0.9)
    near = np.array([one, np.nextafter(one, np.float32(0))])
    assert np.float32(abstention(near, np.array([True, False]), np.ones(2), 1).threshold) == one


def test_weights_of_rows_count_for_abstaining_too():
    found = abstention(SURE, RIGHT, np.array([1.0, 1, 1, 0, 2]), 0.95)
    assert (found.threshold, found.coverage) == (0, 1)  # the wrong one does not count


def test_a_share_out_of_reach_is_refused():
    wrong = np.array([False, True, True, True, True])
    with pytest.raises(UserError, match=r"no threshold makes 0\.95 .* right; at best 0\.8 of"):
        abstention(SURE, wrong, np.ones(5), 0.95)
    with pytest.raises(UserError, match="no threshold"):
        abstention(SURE, RIGHT, np.zeros(5), 0.95)
