"""Directories of the PEFT library, written here as it writes them; ``make parity`` asks PEFT itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.checkpoints.test_formats import BERT
from tfpipeline import checkpoints
from tfpipeline.checkpoints import peft_library
from tfpipeline.errors import UserError

QUERY = "encoder.layer.1.attention.self.query"
KEY = "encoder.layer.0.attention.self.key"
OUTER = "encoder.layer.0.output.dense"
# What PEFT 0.21 writes, with the settings that matter.
LORA = {
    "peft_type": "LORA",
    "task_type": "SEQ_CLS",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "use_rslora": False,
    "bias": "none",
    "target_modules": ["query"],
    "modules_to_save": ["classifier", "score"],
    "init_lora_weights": True,
    "rank_pattern": {},
    "alpha_pattern": {},
    "megatron_core": "megatron.core",
    "loftq_config": {},
    "use_dora": False,
    "layer_replication": None,
}
IA3 = {"peft_type": "IA3", "task_type": "SEQ_CLS", "feedforward_modules": ["output.dense"]}


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def write(tmp_path, settings, tensors, prefix="base_model.model.bert.", head=True, **changes):
    """An adapter on a tiny base."""
    base = tmp_path / "base"
    if not base.exists():
        tiny.write_checkpoint(base)
    folder = tmp_path / "adapter"
    folder.mkdir()
    values = {**settings, "base_model_name_or_path": str(base), **changes}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    arrays = {prefix + name: array for name, array in tensors.items()}
    if head:
        arrays |= {"base_model.model.classifier.weight": random(3, 16)}
        arrays |= {"base_model.model.classifier.bias": random(3)}
    save_file(arrays, folder / "adapter_model.safetensors")
    return folder


def pair(module=QUERY, rank=4):
    return {f"{module}.lora_A.weight": random(rank, 16), f"{module}.lora_B.weight": random(16, rank)}


def kernels(folder):
    """The matrices [out, in] of a checkpoint by transformers' names."""
    found = checkpoints.load(folder)
    placed = peft_library.huggingface.TABLE.place(found.config)
    return {tensor.theirs: tensor.to_theirs(found.tensors[tensor.ours]) for tensor in placed}


@pytest.mark.parametrize(
    ("changes", "rank", "scale"),
    [
        ({}, 4, 2),
        ({"use_rslora": True}, 4, 4),
        ({"rank_pattern": {"layer.1.attention.self.query": 2}}, 2, 4),
        ({"rank_pattern": {"query": 1, "layer.1.attention.self.query": 2}}, 1, 8),
        ({"rank_pattern": {"key": 2}, "alpha_pattern": {".*query": 1}}, 4, 0.25),
    ],
)
def test_lora_is_merged_by_hand(tmp_path, changes, rank, scale):
    tensors = pair(rank=rank)
    folder = write(tmp_path, LORA, tensors, **changes)
    before, after = kernels(tmp_path / "base"), kernels(folder)
    a, b = tensors.values()
    want = before[f"{QUERY}.weight"] + scale * b.astype(float) @ a
    np.testing.assert_allclose(after.pop(f"{QUERY}.weight"), want, rtol=1e-6, atol=1e-6)
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])


def test_ia3_is_merged_by_hand(tmp_path):
    tensors = {f"{KEY}.ia3_l": random(16, 1), f"{OUTER}.ia3_l": random(1, 32)}
    folder = write(tmp_path, IA3, tensors)
    before, after = kernels(tmp_path / "base"), kernels(folder)
    key, outer = tensors.values()
    for name, factor in (
        (f"{KEY}.weight", key),
        (f"{KEY}.bias", key[:, 0]),
        (f"{OUTER}.weight", outer),
    ):
        np.testing.assert_allclose(after.pop(name), before[name] * factor, rtol=1e-6, atol=1e-7)
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])


def test_modules_to_save_and_the_head(tmp_path):
    folder = write(tmp_path, LORA, {**pair(), "pooler.dense.weight": random(16, 16)})
    found = checkpoints.load(folder)
    assert found.format == "peft"
    assert found.head_names == ("sequence_classifier",)
    raw = load_file(folder / "adapter_model.safetensors")
    np.testing.assert_array_equal(
        found.heads["sequence_classifier/kernel"], raw["base_model.model.classifier.weight"].T
    )
    np.testing.assert_array_equal(found.tensors["pooler/kernel"], random(16, 16).T)
    assert found.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert any("name no labels" in note for note in found.notes)
    (folder / "config.json").write_text(json.dumps(tiny.CLASSIFIER))
    assert checkpoints.load(folder).labels == tuple(tiny.LABELS)


def test_labels_of_the_base(tmp_path):
    tiny.write_checkpoint(tmp_path / "base", **tiny.CLASSIFIER)
    found = checkpoints.load(write(tmp_path, LORA, pair()))
    assert found.labels == tuple(tiny.LABELS)
    np.testing.assert_array_equal(found.heads["sequence_classifier/bias"], random(3))


def test_a_bare_model_has_no_prefix(tmp_path):
    folder = write(tmp_path, LORA, pair(), prefix="base_model.model.", head=False, task_type=None)
    found = checkpoints.load(folder)
    assert found.head_names == ()
    assert not found.equals(checkpoints.load(tmp_path / "base"))


def test_it_is_converted_like_any_checkpoint(tmp_path):
    folder = write(tmp_path, LORA, pair())
    checkpoints.convert(folder, tmp_path / "out", to="huggingface")
    one, other = checkpoints.load(tmp_path / "out"), checkpoints.load(folder)
    for name in other.tensors:
        np.testing.assert_array_equal(one.tensors[name], other.tensors[name])
    assert one.labels == other.labels


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"use_dora": True}, "use_dora is True: DoRA is not supported; merge the adapter with PEFT"),
        ({"bias": "all"}, "bias is 'all': trained biases are not supported"),
        ({"bias": "lora_only"}, "bias is 'lora_only': trained biases are not supported"),
        ({"lora_bias": True}, "lora_bias is True: biases of the low-rank matrices are not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa': it changes the weights of the base"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is .*: this setting is not supported"),
        ({"a_later_setting": 3}, "a_later_setting is 3: this setting is not supported"),
        ({"peft_type": "ADALORA"}, "peft_type is ADALORA; only LORA and IA3 can be read"),
        ({"r": None}, r"adapter_config\.json: r is None, not a whole number; copy it again"),
        ({"r": 4.5}, "r is 4.5, not a whole number"),
        ({"lora_alpha": "8"}, "lora_alpha is '8', not a number; copy it again"),
        ({"rank_pattern": [4]}, r"rank_pattern is \[4\], not an object"),
        ({"alpha_pattern": {"query": None}}, "query of alpha_pattern is None, not a number"),
        ({"rank_pattern": {"(": 4}}, r'"\(" of rank_pattern is no regular expression \(missing \)'),
        ({"task_type": None}, "holds a classifier, but the task_type .* is None; set it to"),
        (
            {"r": 3},
            r"does not fit adapter_config.json and the base(.|\n)*lora_A: found \[4, 16\], expected \[3, 16\]",
        ),
        (
            {"base_model_name_or_path": "org/bert"},
            "names the base org/bert, which is not on this machine; give",
        ),
        ({"base_model_name_or_path": None}, "names no base; give it: tfpipeline adapter merge"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, changes, sentence):
    folder = write(tmp_path, LORA, pair(), **changes)
    with pytest.raises(UserError, match=sentence):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {f"{QUERY}.lora_A.weight": random(4, 16)},
            r"holds no encoder\.layer\.1.*query\.lora_B\.weight; copy",
        ),
        (
            pair(QUERY.replace("1", "7")),
            "holds .*layer.7.*, which a BERT of .*base does not have; give the base",
        ),
        ({}, r"holds no tensor of the adapter \(lora\); copy it again"),
        (
            {"pooler.dense.weight": random(4, 4)},
            r"(.|\n)*pooler.dense.weight: found \[4, 4\], expected \[16, 16\]",
        ),
    ],
)
def test_tensors_of_another_base_are_refused(tmp_path, tensors, sentence):
    with pytest.raises(UserError, match=sentence):
        dict(checkpoints.load(write(tmp_path, LORA, tensors)).tensors)


def test_target_modules_mean_what_was_chosen():
    """As PEFT matches them: a whole name, or its end behind a dot."""
    known = peft_library.projections(BERT.replace(num_hidden_layers=12))
    for ends in (["query"], ["key", "value"], ["attention/output"], ["inner"], ["outer"], ["query", "outer"]):
        chosen = [name for name in known if name.endswith(tuple(f"/{end}" for end in ends))]
        words = peft_library.target_modules(chosen, known)
        matched = {m for m in known.values() if any(m == word or m.endswith(f".{word}") for word in words)}
        assert matched == {known[name] for name in chosen}
    assert peft_library.target_modules([n for n in known if n.endswith("/query")], known) == ["query"]
    one = peft_library.target_modules(["layer_1/attention/query"], known)
    assert one == ["encoder.layer.1.attention.self.query"]
