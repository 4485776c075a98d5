from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.tasks import kit
from tests.training.replicas import devices
from tfpipeline import config
from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.tasks.multilabel import MultiLabel, MultiLabelOptions
from tfpipeline.training import RunConfig, train

LOGITS = np.log([[3.0, 1.0, 1 / 3], [0.25, 0.25, 0.25]]).astype(
    np.float32
)  # scores 3/4, 1/2, 1/4 and 1/5 each


def examples(*labels):
    return [Example("text", label=label, file="rows.csv", line=line) for line, label in enumerate(labels, 2)]


def columns(**cells):
    rows = zip(*cells.values())
    return [
        Example("text", columns=dict(zip(cells, row)), file="rows.csv", line=line)
        for line, row in enumerate(rows, 2)
    ]


def task(**options):
    return MultiLabel(MultiLabelOptions(**options), ["a", "b", "c"])


def outputs(thresholds=(0.5, 0.5, 0.5)):
    return {"logits": tf.constant(LOGITS), "thresholds": tf.constant([thresholds] * 2, tf.float32)}


def test_loss_by_hand():
    losses = task().loss(outputs(), {"labels": tf.constant([[1, 0, 0], [0, 0, 1]], tf.int8)})
    want = [-np.log([0.75, 0.5, 0.75]).mean(), -np.log([0.8, 0.8, 0.2]).mean()]
    np.testing.assert_allclose(losses, want, rtol=1e-6)


def test_answers():
    answers = {
        name: tensor.numpy() for name, tensor in task().predictions(outputs((0.8, 0.5, 0.2)), {}).items()
    }
    assert answers["labels"].tolist() == [[b"b", b"c", b""], [b"c", b"", b""]]
    assert answers["classes"].tolist() == [[b"a", b"b", b"c"]] * 2
    np.testing.assert_allclose(answers["scores"], [[0.75, 0.5, 0.25], [0.2, 0.2, 0.2]], rtol=1e-6)
    assert task().predictions(outputs((0.5, 0.6, 0.2)), {})["labels"].numpy().tolist()[0] == [b"a", b"c", b""]
    assert task().predictions(outputs((0.1, 0.1, 0.1)), {})["labels"].numpy().tolist()[0] == [
        b"a",
        b"b",
        b"c",
    ]
    assert (
        task().predictions(outputs((0.9, 0.9, 0.9)), {})["labels"].numpy().tolist() == [[b"", b"", b""]] * 2
    )


def test_what_is_scored_has_no_names_and_tells_saturated_scores_apart():
    logits = np.array([[20, -30, 0], [25, -20, 0]], np.float32)
    found = task().scored_predictions({"logits": tf.constant(logits), "thresholds": tf.fill([2, 3], 0.5)}, {})
    answers = {name: tensor.numpy() for name, tensor in found.items()}
    assert answers.keys() == {"scores", "thresholds", "logits"}
    assert (answers["scores"][:, 0] == 1).all()
    targets = {"labels": np.array([[0, 0, 1], [1, 0, 1]])}
    assert task().scorer.metrics(answers, targets, np.ones(2))["map"] == 1
    # In the first row a logit of 20 is wrong, in the second one of 25.
    targets = {"labels": np.array([[0, 0, 1], [0, 0, 0]])}
    assert task().scorer.mistakes(answers, targets) == [(1, "none", "a, c"), (0, "c", "a, c")]
    del answers["logits"]
    assert [row for row, _, _ in task().scorer.mistakes(answers, targets)] == [0, 1]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("a, b", ["a", "b"]),
        (" a ,,a", ["a"]),
        ('["a, b", "c"]', ["a, b", "c"]),
        ("[]", []),
        ("[1, 2.50]", ["1", "2.50"]),
        ('["\\ud83d"]', ["\ufffd"]),
        (None, []),
    ],
)
def test_lists_of_labels(cell, labels):
    rows = examples(cell, "z")
    learnt = MultiLabelOptions().fit(rows)
    assert learnt.labels == tuple(sorted([*labels, "z"]))
    given = learnt.targets(rows)["labels"]
    assert [label for label, is_given in zip(learnt.labels, given[0]) if is_given] == sorted(labels)


def test_columns_of_zeros_and_ones():
    rows = columns(b=["1", "0", "TRUE"], a=["0.0", "1.0", " 1 "])
    learnt = MultiLabelOptions(columns=["b", "a"]).fit(rows)
    assert learnt.labels == ("b", "a")
    assert learnt.targets(rows)["labels"].tolist() == [[1, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("options", "rows", "sentence"),
    [
        ({}, examples("a", "[1"), "rows.csv:3: the labels [1 are not a JSON list"),
        ({}, examples("a", '[["a"]]'), 'rows.csv:3: the label ["a"] is not text; write names only'),
        ({}, examples("a", '["a", null]'), "rows.csv:3: the label null is not text"),
        ({}, examples(None, None), "no training row has a label; check the column of the labels"),
        (
            {},
            examples("Sport,news", "sport"),
            'rows.csv:3: the label "sport" differs from "Sport" (rows.csv:2) only in case or white space',
        ),
        ({"labels": ["a", "b"]}, examples("a", "a"), 'no training row has the label "b" of task.labels'),
        ({"labels": ["a"]}, examples("a", "aa"), 'rows.csv:3: unknown label "aa"'),
        (
            {"columns": ["x"]},
            columns(x=["1", "maybe"]),
            'rows.csv:3: the column "x" holds "maybe"; expected 0 or 1',
        ),
        ({"columns": ["x"]}, columns(x=["1", ""]), 'rows.csv:3: the column "x" holds ""; expected 0 or 1'),
        ({"columns": ["x"]}, columns(x=["0", "0"]), 'no training row has the label "x" of task.columns'),
        ({"columns": ["x", "x"]}, columns(x=["0", "1"]), 'task.columns names "x" twice'),
        (
            {},
            examples("a,b", "b,a"),
            'every training row has the same labels ("a, b"), so there is nothing to learn',
        ),
        ({}, examples("b", "[1, 1.0]"), 'rows.csv:3: the label "1.0" is the same value as "1" (rows.csv:3)'),
        ({}, examples("b", '["a", NaN]'), "rows.csv:3: the label NaN is not text; write names only"),
        ({}, examples("a", "[" * 100_000), "rows.csv:3: the labels [[["),
        (
            {},
            examples("b", '["a\\u2028c"]'),
            "rows.csv:3: the label 'a\\u2028c' is empty or has white space around it",
        ),
    ],
)
def test_bad_labels(options, rows, sentence):
    with pytest.raises(UserError) as caught:
        MultiLabelOptions(**options).fit(rows)
    assert str(caught.value).startswith(sentence)


def test_a_label_of_one_row_is_said(capfd):
    MultiLabelOptions().fit(examples("a,b", "a"))
    assert 'warning: only one training row has the label "b" (rows.csv:2)' in capfd.readouterr().err


@pytest.fixture(scope="module", params=["one_device", "mirrored"])
def run(request, tmp_path_factory):
    given = kit.sample(kit.SAMPLES / "multilabel.yaml")
    path = kit.write_run_file(tmp_path_factory.mktemp("run"), given, rows=80, epochs=3)
    with devices(2):
        return train(config.load(path, RunConfig, [f"training.strategy={request.param}"]))


def test_thresholds_belong_to_the_weights(run):
    """The best checkpoint has those that its own validation chose; the initial one has 0.5."""
    from tfpipeline.metrics.multilabel import tune_thresholds
    from tfpipeline.training.batching import Split
    from tfpipeline.training.inference import Inference

    np.testing.assert_array_equal(
        run.model("initial").head.thresholds, [0.5, 0.5, 0.5][: len(run.task.labels)]
    )
    model, split = run.model("best"), Split.of(run, "validation")
    found = Inference(run.graph(model))(split.examples, split.cache, split.targets, "again")
    want = tune_thresholds(split.targets["labels"], found.predictions["scores"], split.weights)
    np.testing.assert_allclose(model.head.thresholds, want, atol=1e-6)
    assert not np.allclose(want, 0.5)
    scores = found.scores(run.task, split.targets, split.weights)
    history = run.store.state("best")["history"][-1]
    assert scores["macro_f1"] == pytest.approx(history["macro_f1"])
    assert "thresholds" not in " ".join(variable.path for variable in model.trainable_variables)


def test_a_threshold_that_is_given_stays(tmp_path):
    given = kit.sample(kit.SAMPLES / "multilabel.yaml")
    given["task"]["threshold"] = 0.3
    run = train(kit.write_run_file(tmp_path, given, epochs=1))
    assert set(run.model("best").head.thresholds.numpy()) == {np.float32(0.3)}
    assert json.loads((run.path / "task.json").read_text()) == ["film", "food", "praise"]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_thresholds_have_32_bits(tmp_path, precision):
    """Else a run and its export, which is float32, would give other labels."""
    given = kit.sample(kit.SAMPLES / "multilabel.yaml")
    run = train(kit.write_run_file(tmp_path, given, epochs=1, precision=precision))
    model = run.model("best")
    model.head.thresholds.assign([0.28636, 0.29869, 0.123456789])
    outputs = model(run.encode(["good film"]))
    np.testing.assert_array_equal(outputs["thresholds"][0], np.float32([0.28636, 0.29869, 0.123456789]))


def test_scores_on_a_threshold_are_close_calls():
    answers = {
        "scores": np.array([[0.5, 0.9], [0.500005, 0.1], [0.2, 0.7]], np.float32),
        "thresholds": np.array([[0.4, 0.6], [0.5, 0.6], [0.1, 0.7]], np.float32),
    }
    assert task().scorer.near_ties(answers, 2e-5).tolist() == [False, True, True]
