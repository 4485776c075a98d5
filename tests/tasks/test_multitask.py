from __future__ import annotations

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_heads import CONFIG
from tests.tasks import kit
from tfpipeline import config, tasks
from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.models import BertEncoder, TextModel
from tfpipeline.models.model_call import ModelCall
from tfpipeline.tasks import Task
from tfpipeline.tasks.multitask.rows import HeadColumn
from tfpipeline.tasks.multitask.task import Multitask
from tfpipeline.training import RunConfig, train
from tfpipeline.training.rows import read_targets

HEADS = {"mood": {"name": "classification"}, "stars": {"name": "regression"}}


def options(heads=HEADS, data=(), **more):
    settings = {
        "checkpoint": "c",
        "output": "o",
        "data": {"train": "t.csv", **dict(data)},
        "task": {"name": "multitask", "heads": heads, **more},
    }
    return config.resolve(settings, RunConfig, source="run.yaml").task


def rows(*cells, names=("mood", "stars")):
    return [
        Example("text", columns=dict(zip(names, row)), file="rows.csv", line=line)
        for line, row in enumerate(cells, 2)
    ]


ROWS = rows(("good", "1"), ("bad", ""), ("", "3"), ("good", ""))


def test_gaps_train_nothing():
    task = options(weights={"stars": 0.5}).fit(ROWS)
    assert task.fitted == {"mood": ["bad", "good"], "stars": {"mean": 2.0, "scale": 1.0}}
    targets = task.targets(ROWS)
    assert targets["mood/share"].tolist() == [1, 1, 0, 1]
    assert targets["stars/share"].tolist() == [1, 0, 1, 0]
    assert targets["mood/label"].tolist() == [1, 0, 0, 1]
    outputs = {
        "mood/logits": tf.constant(
            np.log([[0.2, 0.8], [0.4, 0.6], [np.nan, np.nan], [0.5, 0.5]]), tf.float32
        ),
        "stars/logits": tf.constant([[0.0], [np.inf], [3.0], [np.nan]]),
    }
    losses = task.loss(outputs, {name: tf.constant(array) for name, array in targets.items()})
    # Row by row: both heads; one; the other, at half its weight; one.
    want = [-np.log(0.8) + 0.5 * 1.0, -np.log(0.4), 0.5 * 4.0, -np.log(0.5)]
    np.testing.assert_allclose(losses, want, rtol=1e-6)


def test_a_gap_gives_no_gradient():
    task = options().fit(ROWS)
    targets = {name: tf.constant(array) for name, array in task.targets(ROWS).items()}
    logits = tf.Variable(np.ones((4, 2), np.float32))
    stars = tf.Variable(np.full((4, 1), 1e30, np.float32))
    with tf.GradientTape() as tape:
        losses = task.loss({"mood/logits": logits, "stars/logits": stars}, targets)
        loss = tf.reduce_sum(losses[1:2])
    by_mood, by_stars = tape.gradient(loss, [logits, stars])
    assert np.flatnonzero(np.abs(by_mood.numpy()).sum(-1)).tolist() == [1]
    assert not by_stars.numpy().any()


def test_classes_are_balanced_within_their_head():
    heads = {"mood": {"name": "classification", "class_weights": "balanced"}, "stars": "regression"}
    rows_ = [dataclasses.replace(row, weight=weight) for row, weight in zip(ROWS, (2.0, 1.0, 1.0, 0.0))]
    task = options(heads).fit(rows_)
    # good weighs 2, bad 1, so a row of good counts 3/4 and one of bad 3/2; rows' own weights are the loop's.
    targets, weights = read_targets(task, rows_, training=True)
    assert targets["mood/share"].tolist() == [0.75, 1.5, 0, 0]
    assert weights.tolist() == [2, 1, 1, 0]
    targets, weights = read_targets(task, rows_)
    assert targets["mood/share"].tolist() == [1, 1, 0, 1]
    assert weights.tolist() == [2, 1, 1, 0]


def test_heads_of_one_kind_begin_with_weights_of_their_own():
    heads = {"one": {"name": "regression"}, "two": {"name": "regression"}}
    task = options(heads).fit(rows(("1", "2"), ("3", "4"), names=("one", "two")))
    model = TextModel(BertEncoder(CONFIG), task.head(CONFIG, seed=0))
    one, two = (model.head.heads[name].dense.kernel.numpy() for name in ("one", "two"))
    assert one.shape == two.shape
    assert not np.array_equal(one, two)
    again = TextModel(BertEncoder(CONFIG), task.head(CONFIG, seed=0)).head.heads
    np.testing.assert_array_equal(again["two"].dense.kernel, two)


def test_scores_are_the_heads_own():
    task = options().fit(ROWS)
    answers = {
        "mood/probabilities": np.array([[0.2, 0.8], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9]]),
        "stars/value": np.array([1.0, 0.0, 3.0, 0.0]),
    }
    scores = task.scorer.metrics(answers, task.targets(ROWS), np.ones(4))
    assert scores["mood/accuracy"] == pytest.approx(2 / 3)
    assert (scores["stars/pearson"], scores["stars/rmse"]) == (pytest.approx(1.0), 0.0)
    assert scores["mean"] == pytest.approx((2 / 3 + 1) / 2)
    assert task.scorer.lower_is_better == {"mood/expected_calibration_error", "stars/rmse", "stars/mae"}
    report = task.scorer.report(answers, task.targets(ROWS), np.ones(4))
    assert "mood (3 rows)" in report
    assert "stars (2 rows)" in report
    assert task.scorer.mistakes(answers, task.targets(ROWS))[0] == (1, "mood: bad", "good")
    # Rows that fill one head only are scored for that one.
    only = task.scorer.metrics(answers, {**task.targets(ROWS), "stars/share": np.zeros(4)}, np.ones(4))
    assert "stars/pearson" not in only
    assert only["mean"] == only["mood/accuracy"]
    with pytest.raises(UserError, match="nothing to score: no row has a label for one of the heads"):
        task.scorer.metrics(answers, task.targets(ROWS), np.zeros(4))


def test_the_mean_subtracts_metrics_for_which_less_is_better():
    task = options().fit(ROWS)
    predictions = {
        "mood/probabilities": np.array([[0.2, 0.8], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9]]),
        "stars/value": np.array([2.0, 0.0, 6.0, 0.0]),
    }
    task.parts["stars"].scorer.best_metric = "rmse"
    scores = task.scorer.metrics(predictions, task.targets(ROWS), np.ones(4))
    # Wrong by 1 and by 3: the root of 5. Two of three moods are right.
    assert scores["mean"] == pytest.approx((2 / 3 - 5**0.5) / 2)


def test_a_row_is_split_for_its_heads_once(monkeypatch):
    task = options().fit(ROWS)
    counts = Counter()
    row = HeadColumn.row

    def counted(head, example):
        counts[head.name, example.source] += 1
        return row(head, example)

    monkeypatch.setattr(HeadColumn, "row", counted)
    read_targets(task, ROWS, training=True)
    assert set(counts.values()) == {1}
    assert len(counts) == 2 * len(ROWS)


@pytest.mark.parametrize(
    ("changes", "examples", "sentence"),
    [
        (
            {},
            rows((" ", ""), ("", "")),
            'no training row has a label for the head "mood"; check the column "mood"',
        ),
        (
            {},
            rows(("good", ""), ("bad", "")),
            'no training row has a label for the head "stars"; check the column "stars"',
        ),
        ({}, rows(("good", "1"), ("good", "2")), 'head "mood": the training rows have only the label "good"'),
        (
            {},
            rows(("good", "1"), ("bad", "x")),
            'head "stars": rows.csv:3: the label "x" is not a finite float32 number',
        ),
    ],
)
def test_bad_rows(changes, examples, sentence):
    with pytest.raises(UserError) as caught:
        options(**changes).fit(examples)
    assert str(caught.value).startswith(sentence)


def test_a_row_of_gaps_alone_is_left_out(capfd):
    found = [*ROWS, *rows(("", " "))]
    task = options().fit(found)
    said = capfd.readouterr().err
    assert (
        "warning: 1 of 5 training rows has a label for none of the heads (mood, stars), rows.csv:2; it is "
        "left out" in said
    )
    for training in (True, False):
        assert read_targets(task, found, training=training)[1].tolist() == [1, 1, 1, 1, 0]


def test_a_heads_options_are_called_as_they_are_in_the_run_file():
    with pytest.raises(UserError, match=r"or name both in task\.heads\.mood\.labels if"):
        options().fit(rows(("1", "1"), ("1.0", "2"), ("0", "3")))


def test_errors_of_other_rows_name_the_head():
    task = options().fit(ROWS)
    with pytest.raises(UserError) as caught:
        task.targets(rows(("", "x")))
    assert str(caught.value).startswith(
        'head "stars": rows.csv:2: the label "x" is not a finite float32 number'
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"heads": {}}, "task.heads"),
        ({"heads": {"a b": "regression"}}, '"a b" is no name of letters, digits and _'),
        ({"heads": {"a": "multitask"}}, "the task multitask must be the only task of a run"),
        (
            {"heads": {"a": {"name": "regression", "delt": 1.0}}},
            'task.heads.a.delt: unknown field; did you mean "task.heads.a.delta"?',
        ),
        ({"columns": {"moo": "x"}}, 'columns: there is no head "moo"; did you mean "mood"?'),
        ({"weights": {"mood": -1.0}}, "weights must be at least 0"),
        ({"weights": {"mood": 0.0, "stars": 0.0}}, "and one of them above it"),
        ({"columns": {"mood": "text"}}, 'the head "mood" reads the column "text", which is data.text'),
    ],
)
def test_bad_settings(changes, sentence):
    with pytest.raises(UserError) as caught:
        options(**changes)
    assert sentence in str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    given = kit.sample(kit.SAMPLES / "multitask.yaml")
    path = kit.write_run_file(tmp_path, given)
    with pytest.raises(UserError, match=r'rows.csv:1: there is no column "star"; did you mean "stars"'):
        train(config.load(path, RunConfig, ["task.columns.stars=star"]))
    assert not (tmp_path / "run").exists()


def test_every_head_learns_from_its_own_rows(tmp_path):
    cells = [["good", "pos", ""], ["bad", "neg", ""], ["table", "", "1"], ["film", "", "9"]]
    given = {
        "task": {"name": "multitask", "heads": HEADS},
        "rows": {"columns": ["text", "mood", "stars"], "cells": cells},
    }
    run = train(kit.write_run_file(tmp_path, given, rows=160, layers=2, epochs=6))
    best = run.store.state("best")["history"][-1]
    assert best["mood/accuracy"] > 0.95
    assert best["stars/pearson"] > 0.9
    paths = [variable.path for variable in run.model().head.variables]
    assert len(set(paths)) == len(paths)
    assert sorted(path.name for path in (run.path / "heads").iterdir()) == ["mood", "stars"]


class Decodes(Task):
    """Predicts twice what its head gives, in a decoding of its own."""

    def __init__(self):
        super().__init__(None)

    targets = head = loss = None

    def decode(self, call):
        return {"twice": 2 * call.outputs["value"]}

    def predictions(self, outputs, inputs):
        return dict(outputs)


class Plain(Decodes):
    decode = Task.decode


class Model:
    calls = 0

    def __call__(self, inputs, training):
        self.calls += 1
        return {"own/value": tf.constant([1, 2]), "plain/value": tf.constant([5, 6])}


def test_each_part_decodes_the_outputs_of_its_own_head():
    task = Multitask(SimpleNamespace(weights={}), {"own": Decodes(), "plain": Plain()})
    model = Model()
    decoded = task.decode(ModelCall(model, {}))
    assert model.calls == 1  # for all heads
    found = {name: value.numpy().tolist() for name, value in task.predictions(decoded, {}).items()}
    assert found == {"own/twice": [2, 4], "plain/value": [5, 6]}


def test_a_task_whose_texts_are_encoded_separately_is_no_part_of_another():
    """What encodes the texts is the whole task, so the part would silently be given both as one text."""
    with pytest.raises(UserError, match=r"tests.training.separate_task must be the only task of a run"):
        options({"mood": {"name": "tests.training.separate_task"}})
    with pytest.raises(UserError, match=r"tests.training.separate_task must be the only task of a run"):
        tasks.part_schema({"name": "tests.training.separate_task"})
