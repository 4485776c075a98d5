"""tf.data datasets of one's own, in place of data files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tensorflow as tf

from tests import tiny
from tests.training import faults
from tfpipeline.data import read_data_file
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.training import train
from tfpipeline.training.datasets import write_datasets

ROWS = tiny.texts(120, seed=1)
TEXTS, LABELS = [text for text, _ in ROWS], [label for _, label in ROWS]


def test_a_dataset_trains_as_its_file_does(tiny_run, undisturbed):
    dataset = tf.data.Dataset.from_tensor_slices({"text": TEXTS, "label": LABELS}).batch(7)
    run_config = tiny_run("b", epochs=1)
    run = train(run_config, data={"train": dataset})
    faults.assert_same(undisturbed(epochs=1).path, run.path)
    assert len(run.examples("validation")) == 12
    assert not run.has_split("test")
    again = train(run_config, data={"train": dataset})  # finished, and known by its rows
    assert again.store.index() == run.store.index()
    with pytest.raises(UserError, match=r"different settings: data\.train was .*, is now "):
        train(run_config, data={"train": dataset.skip(1)})


def test_splits_of_ones_own(tiny_run):
    dataset = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS))
    run = train(tiny_run(epochs=1), data={"train": dataset.take(90), "validation": dataset.skip(90)})
    assert [len(run.examples(split)) for split in ("train", "validation")] == [90, 30]


def test_pairs_weights_and_numbers(tmp_path):
    options = DataOptions(train="x", text_pair="other", weight="w")
    element = ((["a", "b"], ["c", "d"]), [3, 4], [0.5, 2.0])
    dataset = tf.data.Dataset.from_tensors(element)
    files = write_datasets({"train": dataset}, tmp_path, options)
    rows = [json.loads(line) for line in Path(files["train"]).read_text().splitlines()]
    assert rows == [
        {"text": "a", "other": "c", "label": "3", "w": "0.5"},
        {"text": "b", "other": "d", "label": "4", "w": "2.0"},
    ]


def test_nan_is_no_value(tmp_path):
    dataset = tf.data.Dataset.from_tensor_slices((["a", "b"], [1.0, float("nan")]))
    files = write_datasets({"train": dataset}, tmp_path, DataOptions(train="x"))
    with pytest.raises(UserError, match=r'jsonl:2: the column "label" holds NaN, which is not a value'):
        read_data_file(files["train"], DataOptions(train="x"))


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (5, r'data is int; give a dict of datasets: \{"train": \.\.\.\}'),
        (tf.data.Dataset.from_tensors(("a", "x")).repeat(), "data is .*; give a dict of datasets"),
        ({1: 1}, "the datasets are called 1;"),
        ({"training": 1}, 'the datasets are called training; give "train"'),
        ({"train": tf.data.Dataset.from_tensors("a")}, "elements of the type .*; expected dicts of columns"),
        (
            {"train": tf.data.Dataset.from_tensors({"text": ["a", "b"], "label": "x"})},
            r"element 0 of the train dataset has columns of the shapes",
        ),
        ({"train": tf.data.Dataset.from_tensors((("a", "b"), "x"))}, r"data\.text_pair is null"),
        ({"train": tf.data.Dataset.from_tensors(("a", "x", 1.0))}, r"data\.weight is null"),
    ],
)
def test_datasets_of_another_form(tmp_path, datasets, message):
    with pytest.raises(UserError, match=message):
        write_datasets(datasets, tmp_path / "data", DataOptions(train="x"))
    assert not list((tmp_path).glob("data/*"))
