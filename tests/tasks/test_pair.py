from __future__ import annotations

import pytest

from tests.tasks import kit
from tfpipeline import config, predictors, tasks
from tfpipeline.data import Example
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.tasks.classification import Classification
from tfpipeline.tasks.pair import PairOptions
from tfpipeline.tasks.regression import Regression
from tfpipeline.training import RunConfig, train

SETTINGS = {"checkpoint": "c", "output": "o", "data": {"train": "t.csv", "text_pair": "second"}}


def rows(*pairs):
    return [Example(a, b, c, file="rows.csv", line=line) for line, (a, b, c) in enumerate(pairs, 2)]


def resolved(task, **data):
    settings = {**SETTINGS, "data": {**SETTINGS["data"], **data}, "task": task}
    return config.resolve(settings, RunConfig, source="run.yaml").task


def test_the_answer_is_another_tasks(tmp_path):
    options = resolved({"name": "pair", "answer": "regression"})
    examples = rows(("a", "b", "1"), ("c", "d", "2"))
    task = options.fit(examples)
    assert type(task) is Regression
    task.save(tmp_path)
    assert options.load(tmp_path).fitted == task.fitted
    assert type(PairOptions().fit(rows(("a", "b", "x"), ("c", "d", "y")))) is Classification
    section = {"name": "pair", "answer": {"name": "multilabel", "columns": ["x", "y"]}}
    assert resolved(section).target_columns() == ["x", "y"]
    assert tasks.find("pair") is PairOptions


@pytest.mark.parametrize(
    ("task", "data", "sentence"),
    [
        ({"name": "pair"}, {"text_pair": None}, "data.text_pair is null, but the task pair reads two texts"),
        ({"name": "pair", "answer": "pair"}, {}, "the task pair must be the only task of a run"),
        (
            {"name": "pair", "answer": {"name": "regression", "los": "mse"}},
            {},
            'task.answer.los: unknown field; did you mean "task.answer.loss"?',
        ),
        ({"name": "pair", "answer": "regresion"}, {}, 'unknown task "regresion"; did you mean "regression"?'),
        (
            {"name": "pair", "answer": "multilabel"},
            {"label": None},
            "task.columns and data.label are both null",
        ),
    ],
)
def test_bad_settings(task, data, sentence):
    with pytest.raises(UserError) as caught:
        resolved(task, **data)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("second", ["", "  "])
def test_a_row_without_a_second_text(tmp_path, second):
    whole, path = tmp_path / "whole.csv", tmp_path / "rows.csv"
    whole.write_text("text,second,label\n" + "a,b,x\nc,d,y\n" * 10)
    path.write_text(f"text,second,label\na,b,x\nc,{second},y\n")
    data = DataOptions(train=str(whole), validation=str(path), text_pair="second")
    for read in (PairOptions().load_splits, lambda data: PairOptions().read(data, path)):
        with pytest.raises(
            UserError, match=r"rows.csv:3: the row has no second text; complete it or remove it$"
        ):
            read(data)


def test_both_texts_are_read(tmp_path):
    """The label is in the second text alone; a model of one text cannot learn it."""
    cells = [["the food", "good film", "yes"], ["the food", "bad film", "no"]]
    given = {
        "task": {"name": "pair"},
        "data": {"text_pair": "second"},
        "rows": {"columns": ["text", "second", "label"], "cells": cells},
    }
    run = train(kit.write_run_file(tmp_path, given, rows=160, layers=2, epochs=10))
    assert run.store.state("best")["best"] > 0.95
    with predictors.open_local(run.path) as predictor:
        answers = predictor.predict(["the food", "the food"], ["bad film", "good film"])
        assert [answer.label for answer in answers] == ["no", "yes"]
        with pytest.raises(UserError) as caught:
            predictor.predict(["the food"])
    sentence = "the run takes text, text_pair, but was given text; give the second text with --pair, or name its column with --pair-column"
    assert str(caught.value) == sentence


def test_the_answers_options_are_called_as_they_are_in_the_run_file():
    examples = rows(("a", "b", "1"), ("c", "d", "1.0"), ("e", "f", "0"))
    with pytest.raises(UserError, match=r"or name both in task\.answer\.labels if") as caught:
        PairOptions().fit(examples)
    assert "task.labels" not in str(caught.value)
    with pytest.raises(UserError, match=r'no training row has the label "2" of task\.answer\.labels'):
        resolved(
            {"name": "pair", "answer": {"name": "classification", "labels": ["1", "1.0", "0", "2"]}}
        ).fit(examples)
