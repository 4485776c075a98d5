"""Our encoder beside Hugging Face's PyTorch one, live: ``make parity``."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is in an environment of its own: make parity")

from tests.parity import cases, pytorch
from tfpipeline import checkpoints
from tfpipeline.models import BertEncoder


def ours(encoder, inputs):
    """Hidden states, and the pooled output where there is one."""
    states = [np.asarray(state) for state in encoder.hidden_states(inputs)]
    pooled = encoder(inputs).get("pooled_output")
    return states if pooled is None else [*states, np.asarray(pooled)]


def at_real_tokens(encoder, model, inputs):
    """The greatest difference of a hidden state where there is no padding, or of the pooled output."""
    pairs = zip(ours(encoder, inputs), pytorch.outputs_of(model, inputs))
    return max(np.abs(a - b if a.ndim == 2 else cases.real_tokens(a - b, inputs)).max() for a, b in pairs)


def greatest_difference(got, want):
    """Over all that both have; hidden states both have always."""
    assert [array.shape for array in got] == [array.shape for array in want[: len(got)]]
    return max(np.abs(a - b).max() for a, b in zip(got, want))


@pytest.mark.parametrize("length", cases.LENGTHS)
@pytest.mark.parametrize("name", cases.REAL)
def test_packaged_weights(name, length):
    directory = cases.REAL[name]()
    checkpoint = checkpoints.load(directory)
    config = checkpoint.config
    inputs = cases.inputs_of(length, config.vocab_size, config.type_vocab_size)
    model = pytorch.model_of(directory)
    narrow = at_real_tokens(checkpoint.encoder(), model, inputs)
    wide = BertEncoder(config, dtype="float64")
    wide.assign(checkpoint.tensors)
    exact = greatest_difference(ours(wide, inputs), pytorch.outputs_of(model.double(), inputs))
    print(f"{name}, length {length}: {narrow:.1e} in float32, {exact:.1e} in float64")
    assert narrow < cases.REAL_TOLERANCE
    assert exact < 1e-10


@hypothesis.given(
    heads=st.integers(1, 5),
    head_size=st.integers(2, 7),
    layers=st.integers(1, 4),
    inner=st.integers(1, 40),
    types=st.integers(1, 4),
    act=st.sampled_from(["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh"]),
    epsilon=st.sampled_from([1e-12, 1e-7, 1e-5, 1e-3]),
    seed=st.integers(0, 1000),
)
@hypothesis.settings(max_examples=40)
def test_random_models(tmp_path_factory, heads, head_size, layers, inner, types, act, epsilon, seed):
    changes = {
        "num_attention_heads": heads,
        # Two or three hidden units: LayerNorm would blow float32's rounding up.
        "hidden_size": heads * max(head_size, -(-8 // heads)),
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "type_vocab_size": types,
        "hidden_act": act,
        "layer_norm_eps": epsilon,
    }
    model = pytorch.random_model(changes, seed)
    directory = tmp_path_factory.mktemp("model")
    model.save_pretrained(directory)
    pytorch.write_vocabulary(directory, model.config.vocab_size)
    checkpoint = checkpoints.load(directory)
    inputs = cases.inputs_of(13, model.config.vocab_size, types)
    want = pytorch.outputs_of(model, inputs)
    assert greatest_difference(ours(checkpoint.encoder(), inputs), want) < 10 * cases.TINY_TOLERANCE
    # In float64 both compute the same to the last digits.
    wide = BertEncoder(checkpoint.config, dtype="float64")
    wide.assign(checkpoint.tensors)
    assert greatest_difference(ours(wide, inputs), pytorch.outputs_of(model.double(), inputs)) < 1e-9


@pytest.mark.parametrize("name", cases.REAL)
def test_google_checkpoint_by_the_reader_of_transformers(name, tmp_path):
    """What we write in Google's format, read by transformers' own reader of it into PyTorch."""
    from transformers import BertConfig, BertForPreTraining
    from transformers.models.bert.modeling_bert import load_tf_weights_in_bert

    directory = cases.REAL[name]()
    checkpoints.convert(directory, tmp_path / "google", to="google")
    read_back = checkpoints.load(tmp_path / "google")
    config = BertConfig.from_json_file(str(tmp_path / "google" / "bert_config.json"))
    model = BertForPreTraining(config)
    load_tf_weights_in_bert(model, config, str(tmp_path / "google" / "bert_model.ckpt"))
    inputs = cases.inputs_of(128, config.vocab_size, config.type_vocab_size)
    assert at_real_tokens(read_back.encoder(), model.bert.eval(), inputs) < cases.REAL_TOLERANCE
    assert read_back.config == checkpoints.load(directory).config
