from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.tasks.regression import RegressionOptions


def examples(*labels):
    return [Example("text", label=label, file="rows.csv", line=line) for line, label in enumerate(labels, 2)]


def task(**options):
    return RegressionOptions(**options).fit(examples("10", "30", "10", "30"))


def test_numbers_are_learnt_in_deviations_from_the_mean():
    assert task().fitted == {"mean": 20.0, "scale": 10.0}
    outputs = {"logits": tf.constant([[0.0], [-1.5]])}
    assert task().predictions(outputs, {})["value"].numpy().tolist() == [20.0, 5.0]
    # 30 is one deviation above the mean: the errors are 1 and -2.5.
    losses = task().loss(outputs, {"value": tf.constant([30.0, 30.0])})
    np.testing.assert_allclose(losses, [1.0, 6.25])


def test_rows_of_no_weight_set_no_scale():
    rows = [*examples("10", "30"), Example("x", label="1e30", weight=0.0)]
    assert RegressionOptions().fit(rows).fitted == {"mean": 20.0, "scale": 10.0}


def test_huber_by_hand():
    outputs = {"logits": tf.constant([[0.0], [-1.5]])}
    losses = task(loss="huber", delta=2.0).loss(outputs, {"value": tf.constant([30.0, 30.0])})
    np.testing.assert_allclose(losses, [0.5, 2.0 * (2.5 - 1.0)])


def test_the_unit_does_not_matter():
    """Euros or cents: the same loss, answers a hundred times as large."""
    cents = RegressionOptions().fit(examples("1000", "3000", "1000", "3000"))
    outputs = {"logits": tf.constant([[0.3], [-1.5]])}
    np.testing.assert_allclose(
        cents.loss(outputs, {"value": tf.constant([1700.0, -200.0])}),
        task().loss(outputs, {"value": tf.constant([17.0, -2.0])}),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        cents.predictions(outputs, {})["value"], 100 * task().predictions(outputs, {})["value"], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            ["1", "x"],
            'rows.csv:3: the label "x" is not a finite float32 number; correct the row or remove it',
        ),
        (["1", "nan"], 'rows.csv:3: the label "nan" is not a finite float32 number'),
        (["-inf", "1"], 'rows.csv:2: the label "-inf" is not a finite float32 number'),
        (["1", "1e39"], 'rows.csv:3: the label "1e39" is not a finite float32 number'),
        (["1,5", "2"], 'rows.csv:2: the label "1,5" is not a finite float32 number'),
        (["1", None], "rows.csv:3: the row has no number in the label column"),
        (["1_000", "2"], 'rows.csv:2: the label "1_000" is not a finite float32 number'),
        (["1", "٣"], 'rows.csv:3: the label "٣" is not a finite float32 number'),
        (
            ["1700000000", "1700000059"],
            "the training rows' numbers lie within 29.5 of 1700000030, too close for float32 to distinguish",
        ),
        (["7", "7.0"], "all training rows have the value 7; a regression needs at least two different ones"),
    ],
)
def test_bad_numbers(labels, sentence):
    with pytest.raises(UserError) as caught:
        RegressionOptions().fit(examples(*labels))
    assert str(caught.value).startswith(sentence)


def test_the_worst_first():
    answers, targets = {"value": np.array([1.0, 5.0, 2.5])}, {"value": np.array([1.5, 1.0, 2.5])}
    assert task().scorer.mistakes(answers, targets) == [(1, "1", "5"), (0, "1.5", "1"), (2, "2.5", "2.5")]


def test_scores_and_baseline():
    train = examples(*["1", "9"] * 6)
    train = [Example("very good" if row.label == "9" else "very bad", label=row.label) for row in train]
    test = [Example("good", label="9"), Example("bad", label="1"), Example("good good", label="8")]
    learnt = RegressionOptions().fit(train)
    name, answers = learnt.scorer.baseline(train, test)
    assert name == "TF-IDF + ridge regression"
    assert answers["value"].dtype == np.float32
    scores = learnt.scorer.metrics(answers, learnt.targets(test), np.ones(3, np.float32))
    assert scores["pearson"] > 0.9
    assert learnt.scorer.lower_is_better <= scores.keys()
    values = np.array([1.0, 2.0, 6.0])
    scores = learnt.scorer.metrics(
        {"value": values}, {"value": np.array([1.0, 4.0, 4.0])}, np.array([1.0, 1.0, 2.0])
    )
    # Errors 0, -2, 2, the last one twice.
    assert scores["rmse"] == pytest.approx(np.sqrt(12 / 4))
    assert scores["mae"] == pytest.approx(6 / 4)
