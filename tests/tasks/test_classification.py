from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.models.pooling import Pooling
from tfpipeline.tasks.classification import Classification, ClassificationOptions

LOGITS = np.log([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]).astype(np.float32)


def task(**options):
    return Classification(ClassificationOptions(**options), ["a", "b", "c"])


def examples(*labels):
    return [Example("text", label=label, file="rows.csv", line=line) for line, label in enumerate(labels, 2)]


def test_loss_by_hand():
    losses = task().loss({"logits": tf.constant(LOGITS)}, {"label": tf.constant([0, 1])})
    np.testing.assert_allclose(losses, [-np.log(0.7), -np.log(0.1)], rtol=1e-6)


def test_label_smoothing_by_hand():
    losses = task(label_smoothing=0.3).loss({"logits": tf.constant(LOGITS)}, {"label": tf.constant([0, 1])})
    target = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    np.testing.assert_allclose(losses, -(target * LOGITS).sum(-1), rtol=1e-6)


def test_answers():
    answers = {
        name: tensor.numpy()
        for name, tensor in task().predictions({"logits": tf.constant(LOGITS)}, {}).items()
    }
    assert answers["label"].tolist() == [b"a", b"c"]
    assert answers["classes"].tolist() == [[b"a", b"b", b"c"]] * 2
    np.testing.assert_allclose(answers["probabilities"], [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], rtol=1e-6)
    assert answers["probabilities"].dtype == np.float32


def test_two_labels_are_ranked_where_32_bits_are_saturated():
    own = Classification(ClassificationOptions(), ["a", "b"])
    logits = tf.constant([[20, -3], [20, -2], [20, -1], [0, 1]], tf.float32)
    answers = {
        name: tensor.numpy() for name, tensor in own.scored_predictions({"logits": logits}, {}).items()
    }
    assert answers.keys() == {"probabilities"}  # the names of many labels beside each row would be much
    assert own.scorer.metrics(answers, {"label": np.array([0, 0, 1, 1])}, np.ones(4))["roc_auc"] == 1


def test_labels_are_learnt_sorted_and_kept(tmp_path):
    learnt = ClassificationOptions().fit(examples("b", "a", "b", "ü"))
    assert learnt.labels == ("a", "b", "ü")
    learnt.save(tmp_path)
    assert ClassificationOptions().load(tmp_path).labels == ("a", "b", "ü")
    assert learnt.targets(examples("ü", "a"))["label"].tolist() == [2, 0]


def test_given_labels_keep_their_order():
    assert ClassificationOptions(labels=["b", "a"]).fit(examples("a", "b")).labels == ("b", "a")


@pytest.mark.parametrize(
    ("labels", "rows", "message"),
    [
        (["a", "a"], ["a"], 'task.labels names "a" twice'),
        (["a", "b"], ["a"], 'no training row has the label "b"'),
        (
            ["a", "b"],
            ["a", "b", "B"],
            r'rows.csv:4: unknown label "B"; did you mean|rows.csv:4: unknown label "B"; known: a, b',
        ),
        (None, ["a", None, "b"], "rows.csv:3: the row has no label"),
        (None, [], "no label; a classifier needs at least two"),
    ],
)
def test_bad_labels(labels, rows, message):
    with pytest.raises(UserError, match=message):
        ClassificationOptions(labels=labels).fit(examples(*rows))


def test_mistakes_worst_first():
    answers = {"probabilities": np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])}
    found = Classification(ClassificationOptions(), ["a", "b"]).scorer.mistakes(
        answers, {"label": np.array([1, 1, 1])}
    )
    assert found == [(1, "b", "a"), (0, "b", "a")]


def test_the_baseline_keeps_the_order_of_labels():
    train = [Example(text, label=label) for text, label in [("good day", "b"), ("bad day", "a")] * 5]
    name, answers = Classification(ClassificationOptions(), ["b", "a"]).scorer.baseline(
        train, [Example("good good"), Example("bad")]
    )
    assert name == "TF-IDF + logistic regression"
    assert answers["probabilities"].argmax(-1).tolist() == [0, 1]


def test_nearly_equal_probabilities_are_close_calls():
    answers = {"probabilities": np.array([[0.3, 0.3, 0.4], [0.1, 0.45, 0.45]])}
    assert task().scorer.near_ties(answers, 2e-5).tolist() == [False, True]


def test_one_label_in_two_spellings():
    with pytest.raises(UserError) as caught:
        ClassificationOptions().fit(examples("Good", "bad", "good"))
    assert str(caught.value) == (
        'rows.csv:4: the label "good" differs from "Good" (rows.csv:2) only in case or white space; use one '
        "spelling, or name both in task.labels if they are different labels"
    )
    options = ClassificationOptions(labels=["Good", "bad", "good"])
    assert options.fit(examples("Good", "bad", "good")).labels == (
        "Good",
        "bad",
        "good",
    )


@pytest.mark.parametrize("label", ["a\nb", "a\rb", "a\u2028b", "a\x85b"])
def test_labels_with_line_breaks(label):
    with pytest.raises(UserError, match=r"rows.csv:2: the label .* a line break in it; rename it"):
        ClassificationOptions().fit(examples(label, "c"))


def test_a_label_of_one_row_is_said(capfd):
    ClassificationOptions().fit(examples("a", "b", "a"))
    assert 'warning: only one training row has the label "b" (rows.csv:3)' in capfd.readouterr().err


def test_a_label_that_training_lacks():
    learnt = ClassificationOptions().fit(examples("aa", "bb", "aa", "bb"))
    with pytest.raises(UserError) as caught:
        learnt.targets(examples("cc"))
    assert str(caught.value) == 'rows.csv:2: unknown label "cc", which no training row has; known: aa, bb'


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "0", "1.0"], 'rows.csv:4: the label "1.0" is the same value as "1" (rows.csv:2); use one spelling'),
        (["true", "0", "1"], 'rows.csv:2: the label "true" is the same value as "1" (rows.csv:4); use'),
        (["7", "0", "False"], 'rows.csv:4: the label "False" is the same value as "0" (rows.csv:3); use'),
        (["01", "1", "2"], 'rows.csv:3: the label "1" is the same value as "01" (rows.csv:2); use'),
        (["a", "b", "a\u200b"], 'rows.csv:4: the label "a\\u200b" differs from "a" (rows.csv:2) only in characters that look alike'),
        (["café", "b", "cafe\u0301"], 'rows.csv:2: the label "café" differs from "cafe\u0301" (rows.csv:4) only in characters'),
        (["1", "0", "nan"], 'rows.csv:4: the label "nan" is not a number, but all other labels are'),
    ],
)  # fmt: skip
def test_one_value_in_two_spellings(labels, message):
    with pytest.raises(UserError) as caught:
        ClassificationOptions().fit(examples(*labels))
    assert str(caught.value).startswith(message)
    named = ClassificationOptions(labels=labels)
    assert named.fit(examples(*labels)).labels == tuple(labels)


@pytest.mark.parametrize(
    "labels", [["true", "false"], ["1.0", "2.0"], ["nan", "deu"], ["new york", "newyork"]]
)
def test_values_that_differ(labels):
    assert ClassificationOptions().fit(examples(*labels)).labels == tuple(sorted(labels))


def test_the_same_value_is_what_was_meant():
    learnt = ClassificationOptions().fit(examples("0", "1", "12"))
    with pytest.raises(UserError, match=r'unknown label "1\.0", which no training row has; did you mean "1"'):
        learnt.targets(examples("1.0"))


def test_each_row_is_looked_at():
    options, (row,) = ClassificationOptions(labels=["a", "b"]), examples("a")
    assert options.preprocess(row) is row
    for labels, message in ((None, "has no label"), ("c", 'unknown label "c"')):
        with pytest.raises(UserError, match=message):
            options.preprocess(examples(labels)[0])
    assert ClassificationOptions().preprocess(examples("c")[0]).label == "c"


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_a_head_that_other_programs_cannot_read_says_what_it_reads(pooling):
    assert ClassificationOptions(pooling=pooling).pooling == pooling
    words = {"mean": "the mean of the tokens", "cls": "the [CLS] token", "last": "the last token"}
    if pooling in words:
        (note,) = (
            Classification(ClassificationOptions(pooling=pooling), ["a", "b"]).checkpoint_head(None).notes
        )
        assert f"it reads {words[pooling]} (task.pooling: {pooling})" in note
