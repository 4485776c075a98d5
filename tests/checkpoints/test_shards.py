"""Sharded weights, and every way in which they can be wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.checkpoints import pytorch_file
from tfpipeline import checkpoints
from tfpipeline.errors import UserError

INDEX = "model.safetensors.index.json"


def shard(source, count=3, stem="model", suffix="safetensors", save=save_file):
    """Distribute model.safetensors over files with an index, as transformers does."""
    tensors = load_file(source / "model.safetensors")
    names = sorted(tensors)
    places = {}
    for number in range(count):
        file = f"{stem}-{number + 1:05d}-of-{count:05d}.{suffix}"
        mine = {name: tensors[name] for name in names[number::count]}
        save(source / file, mine) if save is pytorch_file.save else save(mine, source / file)
        places |= dict.fromkeys(mine, file)
    index = source / f"{stem if suffix == 'bin' else 'model'}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    (source / "model.safetensors").unlink()
    return places


@pytest.fixture
def source(tmp_path):
    return tiny.write_checkpoint(tmp_path / "source", **tiny.CLASSIFIER)


@pytest.mark.parametrize(
    "kind",
    [{}, {"stem": "pytorch_model", "suffix": "bin", "save": pytorch_file.save}],
    ids=["safetensors", "bin"],
)
def test_shards_are_read_as_one_file(source, tmp_path, kind):
    whole = checkpoints.load(source)
    want = {name: whole.tensors[name] for name in whole.tensors} | dict(whole.heads)
    shard(source, **kind)
    found = checkpoints.load(source)
    assert found.head_names == ("sequence_classifier",)
    got = dict(found.tensors) | dict(found.heads)
    assert got.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, strict=True)
    (file, *_) = sorted(path.name for path in source.glob("*-of-*"))
    assert checkpoints.load(source / file).equals(found)  # a shard stands for all of them


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda s, f: (s / f).unlink(),
            "lacks model-00002-of-00003.safetensors, which model.safetensors.index.json names",
        ),
        (
            lambda s, f: (s / f).write_bytes((s / f).read_bytes()[:-9]),
            "model-00002-of-00003.safetensors is truncated",
        ),
        (
            lambda s, f: (s / f).write_bytes((s / f).read_bytes()[:20]),
            "model-00002-of-00003.safetensors is truncated",
        ),
        (lambda s, f: save_file({"x": np.zeros(1)}, s / f), "names tensors that their files lack: "),
        (lambda s, f: (s / INDEX).write_text("{"), f"{INDEX}:1: not JSON"),
        (lambda s, f: (s / INDEX).write_text("{}"), f'{INDEX} has no "weight_map"'),
        (lambda s, f: (s / INDEX).write_text('{"weight_map": [1]}'), f'{INDEX} has no "weight_map"'),
        (
            lambda s, f: (s / INDEX).write_text('{"weight_map": {"x": "../../secrets.safetensors"}}'),
            'names a file outside its folder, "../../secrets.safetensors"',
        ),
        (
            lambda s, f: (s / INDEX).write_text('{"weight_map": {"x": "/etc/passwd"}}'),
            'names a file outside its folder, "/etc/passwd"',
        ),
        (lambda s, f: (s / INDEX).write_text('{"weight_map": {"x": 3}}'), "lacks 3, which"),
    ],
)
def test_broken_shards(source, tmp_path, damage, sentence):
    shard(source)
    damage(source, "model-00002-of-00003.safetensors")
    with pytest.raises(UserError) as caught:
        checkpoints.convert(source, tmp_path / "dest")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "dest").exists()


def test_a_tensor_left_out_of_the_index_is_missing(source):
    shard(source)
    index = json.loads((source / INDEX).read_text())
    del index["weight_map"]["bert.pooler.dense.bias"]
    (source / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"1 missing.*\n  missing  pooler\.dense\.bias"):
        checkpoints.load(source)
