"""Equal to Hugging Face's PyTorch BertModel, whose outputs ``make parity`` keeps in tests/goldens."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.parity import cases
from tfpipeline import checkpoints
from tfpipeline.models import BertEncoder


@pytest.fixture(scope="module", params=cases.REAL)
def real(request):
    """Name, configuration and encoder of packaged weights."""
    checkpoint = checkpoints.load(cases.REAL[request.param]())
    return request.param, checkpoint.config, checkpoint.encoder()


@pytest.mark.parametrize("length", cases.LENGTHS)
def test_packaged_weights(real, length):
    name, config, encoder = real
    inputs = cases.inputs_of(length, config.vocab_size, config.type_vocab_size)
    states = encoder.hidden_states(inputs)
    assert len(states) == 7
    with np.load(cases.GOLDENS / f"{name}.npz") as golden:
        for index, state in enumerate(states):
            got = cases.sample(cases.real_tokens(np.asarray(state), inputs))
            want = golden[f"length_{length}/state_{index}"]
            assert np.count_nonzero(want) > 200
            np.testing.assert_allclose(got, want, rtol=0, atol=cases.REAL_TOLERANCE)


def tiny_difference(name, **wrong):
    """How far a tiny model is from PyTorch's, computed as its configuration says but for what is wrong."""
    directory = cases.GOLDENS / f"tiny_{name}"
    checkpoint = checkpoints.load(directory)
    config = dataclasses.replace(checkpoint.config, **wrong)
    encoder = BertEncoder(config, uninitialized=True)
    tensors = dict(checkpoint.tensors)
    encoder.assign(tensors if "num_attention_heads" not in wrong else regrouped(tensors, config))
    inputs = cases.inputs_of(config.max_position_embeddings, config.vocab_size, config.type_vocab_size)
    worst = 0.0
    with np.load(directory / "outputs.npz") as golden:
        got = [*encoder.hidden_states(inputs), encoder(inputs)["pooled_output"]]
        assert len(got) == len(golden.files) == config.num_hidden_layers + 2
        for array, want in zip(got, golden.values()):
            assert array.shape == want.shape
            worst = max(worst, np.abs(array - want).max())
    return worst


def regrouped(tensors, config):
    """The same matrices, cut into another number of heads."""
    heads = (config.num_attention_heads, config.head_size)
    for name, array in tensors.items():
        if any(f"/{role}/" in name for role in ("query", "key", "value")):
            tensors[name] = array.reshape(*array.shape[:-2], *heads)
        elif name.endswith("attention/output/kernel"):
            tensors[name] = array.reshape(*heads, -1)
    return tensors


@pytest.mark.parametrize("name", cases.TINY)
def test_tiny_models(name):
    assert tiny_difference(name) < cases.TINY_TOLERANCE


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("erf", {"hidden_act": "gelu_tanh"}),
        ("tanh", {"hidden_act": "gelu_erf"}),
        ("relu", {"hidden_act": "gelu_erf"}),
        ("epsilon", {"layer_norm_eps": 1e-12}),
        ("erf", {"layer_norm_eps": 1e-5}),
        ("heads", {"num_attention_heads": 3}),
    ],
)
def test_the_goldens_have_teeth(name, wrong):
    """A wrong activation, epsilon or number of heads is far outside the tolerance."""
    assert tiny_difference(name, **wrong) > 2 * cases.TINY_TOLERANCE


def test_goldens_stay_small():
    files = [path for path in cases.GOLDENS.rglob("*") if path.is_file()]
    assert len(files) > len(cases.TINY)
    assert sum(path.stat().st_size for path in files) < 1_000_000
