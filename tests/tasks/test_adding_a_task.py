"""docs/adding-a-task.md is true: its example, as it stands there, is held to the contract of every task."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.tasks import kit
from tfpipeline import config, tasks
from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run_config import RunConfig

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-task.md"
ROWS = {
    "columns": ["text", "stars"],
    "cells": [
        ["the food was good", "5"],
        ["a very bad film", "1"],
        ["the table is a chair", "3"],
        ["fine", "4"],
    ],
}


def block(language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return text


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder that the page tells the reader to make, on Python's path."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "my_tasks").mkdir()
    (folder / "my_tasks" / "ordinal.py").write_text(block("python"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def trained(package, shared):
    return kit.trained(shared, {**yaml.safe_load(block("yaml")), "rows": ROWS})


def test_it_is_about_forty_lines():
    lines = [line for line in block("python").splitlines() if line.strip()]
    assert 35 <= len(lines) <= 45


def test_it_holds_the_contract(trained, tmp_path):
    kit.check_records_round_trip(trained, tmp_path)
    kit.check_rows_are_parsed_twice_at_most(trained)
    kit.check_batch_is_singles(trained)
    kit.check_losses(trained)
    kit.check_scores(trained)
    kit.check_every_way(trained)


def test_its_loss_and_answers_by_hand(package):
    import tensorflow as tf

    task = tasks.find("my_tasks.ordinal")(grades=3).fit([])
    outputs = {"logits": tf.constant([[np.log(3.0), -np.log(3.0)]], tf.float32)}  # above 1: 3/4, above 2: 1/4
    loss = task.loss(outputs, {"grade": tf.constant([2])})
    np.testing.assert_allclose(loss, [-2 * np.log(0.75)], rtol=1e-6)
    answers = task.predictions(outputs, {})
    assert (answers["grade"].numpy(), answers["expected"].numpy()) == ([2], [pytest.approx(2.0)])
    with pytest.raises(UserError, match=r"rows.csv:7: the grade is 4, not one of 1, 2, 3"):
        task.targets([Example("x", label="4", file="rows.csv", line=7)])


def test_rows_that_it_cannot_use_are_named_at_once(package, tmp_path):
    (tmp_path / "train.csv").write_text("text,stars\na,5\nb,6\nc,x\n" + "d,1\n" * 7)
    (tmp_path / "validation.csv").write_text("text,stars\na,0\n")
    settings = {
        "checkpoint": "c",
        "output": "o",
        "data": {name: str(tmp_path / f"{name}.csv") for name in ("train", "validation")},
        "task": yaml.safe_load(block("yaml"))["task"],
    }
    settings["data"]["label"] = "stars"
    with pytest.raises(UserError) as caught:
        read_rows(config.resolve(settings, RunConfig, source="run.yaml"))
    first, *lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert first == "3 rows cannot be used:"
    assert [line.split(", not one of")[0].strip() for line in lines] == [
        "train.csv:3: the grade is 6",
        "train.csv:4: the grade is x",
        "validation.csv:2: the grade is 0",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "my_tasks.cardinal",
            'unknown task "my_tasks.cardinal": there is no module my_tasks.cardinal; install it',
        ),
        ("theirs.ordinal", 'unknown task "theirs.ordinal": there is no module theirs; install it'),
        ("json.decoder", "the module json.decoder contains no task"),
        ("a..b", 'unknown task "a..b"'),
        (".a", 'unknown task ".a": not the name of a module'),
    ],
)
def test_a_module_that_is_no_task(package, name, sentence):
    with pytest.raises(UserError) as caught:
        tasks.find(name)
    assert str(caught.value).startswith(sentence)
