"""Small files beside the weights, as editors on Windows save them."""

from __future__ import annotations

import codecs
import json

import pytest

from tests import tiny
from tests.checkpoints.test_google import CONFIG, NAMES, numbered, write_with_tensorflow_1
from tfpipeline import checkpoints
from tfpipeline.data import read_records


def mark(path):
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())


@pytest.mark.parametrize(
    "name", ["config.json", "bert_config.json", "tokenizer_config.json", "tokenizer.json"]
)
def test_a_byte_order_mark_before_json(tmp_path, name):
    if name == "bert_config.json":
        source = write_with_tensorflow_1(tmp_path / "source", numbered(NAMES), CONFIG)
    else:
        source = tiny.write_checkpoint(tmp_path / "source")
    if name == "tokenizer_config.json":
        (source / name).write_text(json.dumps({"do_lower_case": False}))
    if name == "tokenizer.json":
        (source / "vocab.txt").unlink()
        vocabulary = {token: number for number, token in enumerate(tiny.VOCABULARY)}
        (source / name).write_text(json.dumps({"model": {"type": "WordPiece", "vocab": vocabulary}}))
    want = checkpoints.load(source)
    mark(source / name)
    found = checkpoints.load(source)
    assert found.equals(want)
    assert found.notes == want.notes


def test_a_byte_order_mark_before_data(tmp_path):
    row = {"text": "a", "label": "b"}
    for path, text in (
        (tmp_path / "rows.json", json.dumps([row])),
        (tmp_path / "rows.jsonl", json.dumps(row)),
    ):
        path.write_text(text)
        mark(path)
        assert [record.columns for record in read_records(path)] == [row]
