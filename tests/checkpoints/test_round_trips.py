"""From a Hugging Face directory that safetensors alone wrote, through us, to every written format and
back.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tests import tiny
from tests.parity import cases
from tfpipeline import checkpoints
from tfpipeline.checkpoints import formats

WRITTEN = [name for name in formats.names() if hasattr(formats.find(name), "write")]
ACTIVATIONS = {"gelu": "gelu_erf", "gelu_new": "gelu_tanh", "relu": "relu", "tanh": "tanh"}
TOKENIZERS = [
    None,
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False},
    {"mask_token": None, "additional_special_tokens": ["fine"]},
]
# The neutral name of each name of theirs, "0" for the layer, and the order of axes once heads are split.
ATTENTION = {
    f"encoder.layer.0.attention.self.{which}": f"layer_0/attention/{which}"
    for which in ("query", "key", "value")
}
DENSE = {
    "encoder.layer.0.intermediate.dense": "layer_0/feed_forward/inner",
    "encoder.layer.0.output.dense": "layer_0/feed_forward/outer",
    "pooler.dense": "pooler",
}
SAME = {
    "embeddings.word_embeddings.weight": "embeddings/word",
    "embeddings.position_embeddings.weight": "embeddings/position",
    "embeddings.token_type_embeddings.weight": "embeddings/token_type",
    "embeddings.LayerNorm.weight": "embeddings/norm/scale",
    "embeddings.LayerNorm.bias": "embeddings/norm/bias",
    "encoder.layer.0.attention.output.dense.bias": "layer_0/attention/output/bias",
    "encoder.layer.0.attention.output.LayerNorm.weight": "layer_0/attention/norm/scale",
    "encoder.layer.0.attention.output.LayerNorm.bias": "layer_0/attention/norm/bias",
    "encoder.layer.0.output.LayerNorm.weight": "layer_0/feed_forward/norm/scale",
    "encoder.layer.0.output.LayerNorm.bias": "layer_0/feed_forward/norm/bias",
}


def expected(theirs, layers, heads):
    """Our tensors, written down once more without the table: PyTorch's Linear computes x W^T + b."""
    ours = {}
    for name, array in theirs.items():
        layer = name.split(".")[2] if name.startswith("encoder.layer.") else None
        first = name if layer is None else name.replace(f".{layer}.", ".0.", 1)
        stem, _, kind = first.rpartition(".")
        size = array.shape[0] // heads
        if first in SAME:
            ours_name = SAME[first]
        elif stem in ATTENTION:
            ours_name = f"{ATTENTION[stem]}/{'kernel' if kind == 'weight' else 'bias'}"
            array = array.T.reshape(*array.T.shape[:-1], heads, size)
        elif stem in DENSE:
            ours_name = f"{DENSE[stem]}/{'kernel' if kind == 'weight' else 'bias'}"
            array = array.T
        else:
            assert first == "encoder.layer.0.attention.output.dense.weight"
            ours_name = "layer_0/attention/output/kernel"
            array = array.T.reshape(heads, size, -1)
        ours[ours_name if layer is None else ours_name.replace("layer_0", f"layer_{layer}")] = array
    assert len(ours) == len(theirs) == 5 + 16 * layers + 2 * ("pooler/kernel" in ours)
    return ours


def same_tensors(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].dtype == np.float32


@st.composite
def architectures(draw):
    heads = draw(st.integers(1, 5))
    return {
        "hidden_size": heads * draw(st.integers(1, 5)),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(1, 13)),
        "max_position_embeddings": draw(st.integers(1, 13)),
        "type_vocab_size": draw(st.integers(1, 4)),
        "hidden_act": draw(st.sampled_from(sorted(ACTIVATIONS))),
        "layer_norm_eps": draw(st.floats(1e-15, 1e-2)),
        "hidden_dropout_prob": draw(st.sampled_from([0, 0.1, 1 / 3])),
        "attention_probs_dropout_prob": draw(st.sampled_from([0.0, 0.1])),
        "initializer_range": draw(st.sampled_from([0.02, 0.1])),
        "pooler": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@given(
    changes=architectures(),
    tokenizer=st.sampled_from(TOKENIZERS),
    order=st.permutations([*WRITTEN, *WRITTEN]),
)
@settings(max_examples=25)
def test_every_written_format_and_back(changes, tokenizer, order):
    with tempfile.TemporaryDirectory() as folder:
        source = tiny.write_checkpoint(Path(folder) / "source", **changes)
        if tokenizer is not None:
            (source / "tokenizer_config.json").write_text(json.dumps(tokenizer))
        first = checkpoints.load(source)
        raw = load_file(source / "model.safetensors")
        want = expected(raw, changes["num_hidden_layers"], changes["num_attention_heads"])
        same_tensors(first.tensors, want)
        assert first.vocabulary == tuple(tiny.VOCABULARY)
        given_fields = {name: value for name, value in changes.items() if name not in ("seed", "hidden_act")}
        assert {name: getattr(first.config, name) for name in given_fields} == given_fields
        assert first.config.hidden_act == ACTIVATIONS[changes["hidden_act"]]
        assert first.tokenizer.lowercase is (tokenizer or {}).get("do_lower_case", True)
        assert first.tokenizer.strip_accents is (tokenizer or {}).get("strip_accents")

        for step, to in enumerate(order):  # each from what the one before wrote
            dest = Path(folder) / f"step-{step}"
            report = checkpoints.convert(source, dest, to=to)
            assert (report.to, report.dest, report.reused) == (to, dest, False)
            found = checkpoints.load(dest)
            assert found.format == to
            assert (found.config, found.vocabulary, found.tokenizer) == (
                first.config,
                first.vocabulary,
                first.tokenizer,
            )
            same_tensors(found.tensors, want)
            assert found.equals(first)
            source = dest


@pytest.mark.parametrize("name", cases.REAL)
def test_packaged_weights_there_and_back(name, tmp_path):
    """Hugging Face -> Google -> Hugging Face -> Google."""
    source = cases.REAL[name]()
    for step, to in enumerate(["google", "huggingface", "google"]):
        source = checkpoints.convert(source, tmp_path / str(step), to=to).dest
    written = load_file(tmp_path / "1" / "model.safetensors")
    original = checkpoints.load(cases.REAL[name]())
    raw = expected(
        {key: array for key, array in written.items() if not key.startswith("classifier")},
        6,
        original.config.num_attention_heads,
    )
    same_tensors(original.tensors, raw)
    first, last = (tf.train.load_checkpoint(str(tmp_path / step / "bert_model.ckpt")) for step in ("0", "2"))
    names = first.get_variable_to_shape_map()
    assert names == last.get_variable_to_shape_map()
    assert len(names) == len(original.tensors) > 100
    for key in names:
        assert first.get_tensor(key).tobytes() == last.get_tensor(key).tobytes()


def test_special_values_survive(tmp_path):
    """Bit for bit: the sign of zero, denormals and the largest numbers too."""
    from safetensors.numpy import save_file

    source = tiny.write_checkpoint(tmp_path / "source")
    raw = load_file(source / "model.safetensors")
    strange = np.float32([-0.0, 0.0, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38, 1 + 2**-23, math.pi])
    raw["embeddings.LayerNorm.bias"] = np.tile(strange, 2)
    save_file(raw, source / "model.safetensors")
    for to in WRITTEN:
        checkpoints.convert(source, tmp_path / to, to=to)
        found = checkpoints.load(tmp_path / to).tensors["embeddings/norm/bias"]
        assert found.tobytes() == raw["embeddings.LayerNorm.bias"].tobytes()


@pytest.mark.parametrize("changes", [{}, tiny.CLASSIFIER], ids=["encoder", "classifier"])
def test_names_are_those_of_transformers(changes, tmp_path):
    """A bare encoder's have no prefix; beside a head, they have."""
    source = tiny.write_checkpoint(tmp_path / "source", **changes)
    for before, to in (("source", "google"), ("google", "huggingface")):
        checkpoints.convert(tmp_path / before, tmp_path / to, to=to)
    same_tensors(*(load_file(path / "model.safetensors") for path in (tmp_path / "huggingface", source)))


@pytest.mark.parametrize("to", WRITTEN)
def test_labels_their_meaning_and_the_padding_survive(to, tmp_path):
    problem = "multi_label_classification"
    source = tiny.write_checkpoint(tmp_path / "source", **tiny.CLASSIFIER, problem_type=problem)
    tokens = tiny.VOCABULARY
    (source / "vocab.txt").write_text("".join(f"{token}\n" for token in [*tokens[1:], tokens[0]]))
    checkpoints.convert(source, tmp_path / "dest", to=to)
    found = checkpoints.load(tmp_path / "dest")
    assert (found.labels, found.problem_type) == (tuple(tiny.LABELS), problem)
    assert found.equals(checkpoints.load(source))
    if to == "huggingface":
        written = json.loads((tmp_path / "dest" / "config.json").read_text())
        assert written["pad_token_id"] == found.vocabulary.index("[PAD]") == len(tokens) - 1


@pytest.mark.parametrize("to", WRITTEN)
def test_the_encoder_computes_the_same(to, tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source")
    checkpoints.convert(source, tmp_path / "dest", to=to)
    inputs = {
        "input_ids": np.array([[2, 5, 11, 3], [2, 8, 3, 0]], np.int32),
        "token_type_ids": np.array([[0, 0, 1, 1], [0, 0, 0, 0]], np.int32),
        "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.int32),
    }
    outputs = [checkpoints.load(path).encoder()(inputs) for path in (source, tmp_path / "dest")]
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_array_equal(*(np.asarray(output[name]) for output in outputs), strict=True)
    assert np.asarray(outputs[0]["sequence_output"]).std() > 0.1


def test_the_report(tmp_path):
    source = tiny.write_checkpoint(tmp_path / "source")
    report = checkpoints.convert(source, tmp_path / "dest", to="google")
    lines = str(report).splitlines()
    assert lines[0] == (
        f"read {source} (huggingface): 39 tensors, 2 layers, hidden size 16, 2 heads, "
        f"{len(tiny.VOCABULARY)} tokens, uncased"
    )
    assert lines[-1] == f"wrote {tmp_path / 'dest'} (google)"
    assert all(line.startswith("  note: ") for line in lines[1:-1])
    again = checkpoints.convert(source, tmp_path / "dest", to="google")
    assert again.reused
    assert str(again).splitlines()[-1] == f"{tmp_path / 'dest'} already holds this model; nothing to do"
