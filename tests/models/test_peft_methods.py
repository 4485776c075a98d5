"""Each method against NumPy, written from its paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import tiny
from tests.models import adapted, numpy_bert
from tfpipeline import checkpoints
from tfpipeline.models import peft

# In neutral names, kernels of attention have an axis for the heads; the last axes are the outputs, but for
# attention/output, whose heads are inputs.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("methods") / "checkpoint"))


def attached(checkpoint, **options):
    """An encoder in float64 with a method, whose weights are disturbed; and its own weights."""
    made = adapted.disturb(adapted.model(checkpoint, options))
    return made.encoder, made.encoder.tensors()


def assert_encodes(encoder, weights, added=None):
    """The encoder's hidden states at real tokens are those of NumPy with these weights and additions."""
    given = adapted.inputs()
    states, pooled = numpy_bert.encode(encoder.config, weights, *_ordered(given), added=added)
    outputs = encoder(given)
    real = given["attention_mask"] == 1
    np.testing.assert_allclose(outputs["sequence_output"].numpy()[real], states[-1][real], rtol=0, atol=1e-10)
    np.testing.assert_allclose(outputs["pooled_output"], pooled, rtol=0, atol=1e-10)


def _ordered(given):
    return [given[name] for name in ("input_ids", "token_type_ids", "attention_mask")]


def values(encoder, path):
    (found,) = [variable for variable in encoder.weights if variable.path == f"encoder/{path}"]
    return found.numpy().astype(np.float64)


def add(weights, name, change):
    kernel = weights[f"{name}/kernel"]
    weights[f"{name}/kernel"] = kernel + change.reshape(kernel.shape)


def test_lora_adds_alpha_over_rank_times_the_product(checkpoint):
    encoder, weights = attached(checkpoint, method="lora", rank=3, alpha=5.0)
    assert len(encoder.adaptation.trained) == 2 * 2 * 2
    for layer in (0, 1):
        for name in ("query", "value"):
            a, b = (values(encoder, f"layer_{layer}/attention/qkv/lora/{name}_{ab}") for ab in "ab")
            assert (a.shape, b.shape) == ((16, 3), (3, 16))
            add(weights, f"layer_{layer}/attention/{name}", 5.0 / 3 * a @ b)
    assert_encodes(encoder, weights)


def test_loras_patterns_choose_ranks_and_factors(checkpoint):
    encoder, weights = attached(
        checkpoint,
        method="lora",
        projections=["all"],
        rank=2,
        ranks={"attention/output": 5, "re:layer_1/.*": 4, "layer_1/feed_forward/outer": 1},
        alpha=6.0,
        alphas={"key": -2.0},
        rank_stabilized=True,
    )
    places = {
        "query": "attention/qkv/lora/query",
        "key": "attention/qkv/lora/key",
        "value": "attention/qkv/lora/value",
        "attention/output": "attention/output/lora/output",
        "feed_forward/inner": "inner/lora/inner",
        "feed_forward/outer": "outer/lora/outer",
    }
    for layer in (0, 1):
        for name, place in places.items():
            a, b = (values(encoder, f"layer_{layer}/{place}_{ab}") for ab in "ab")
            rank = {0: 5 if name == "attention/output" else 2, 1: 1 if name.endswith("outer") else 4}[layer]
            assert a.shape[1] == b.shape[0] == rank
            alpha = -2.0 if name == "key" else 6.0
            whole = f"attention/{name}" if name in ("query", "key", "value") else name
            add(weights, f"layer_{layer}/{whole}", alpha / math.sqrt(rank) * a @ b)
    assert_encodes(encoder, weights)


def test_lora_starts_as_its_authors_do(checkpoint):
    """A uniform within 1 / sqrt(in), no two alike; B is 0."""
    made = adapted.model(checkpoint, {"method": "lora", "projections": ["all"]})
    downs = [each.numpy() for each in made.adaptation.trained if each.path.endswith("_a")]
    ups = [each.numpy() for each in made.adaptation.trained if each.path.endswith("_b")]
    assert len(downs) == len(ups) == 12
    for down in downs:
        assert 0.9 / math.sqrt(len(down)) < np.abs(down).max() <= 1 / math.sqrt(len(down))
    assert len({float(down[0, 0]) for down in downs}) == len(downs)
    assert not any(up.any() for up in ups)


def test_adalora_adds_singular_values_between_the_matrices(checkpoint):
    encoder, weights = attached(checkpoint, method="adalora", initial_rank=4, target_rank=2, alpha=6.0)
    for layer in (0, 1):
        for name in ("query", "value"):
            at = f"layer_{layer}/attention/qkv/adalora/{name}"
            a, scales, b = (values(encoder, f"{at}_{role}") for role in ("a", "lambda", "b"))
            add(weights, f"layer_{layer}/attention/{name}", 6.0 / 4 * a @ np.diag(scales) @ b)
    assert_encodes(encoder, weights)


def test_adalora_starts_with_singular_values_of_zero(checkpoint):
    made = adapted.model(checkpoint, {"method": "adalora", "projections": ["all"]})
    vectors = [each.numpy() for each in made.adaptation.trained if not each.path.endswith("_lambda")]
    scales = [each.numpy() for each in made.adaptation.trained if each.path.endswith("_lambda")]
    assert (len(vectors), len(scales)) == (24, 12)
    assert not any(scale.any() for scale in scales)
    together = np.concatenate([each.ravel() for each in vectors])
    assert 0.019 < together.std() < 0.021
    assert len({float(each[0, 0]) for each in vectors}) == 24


def test_ia3_multiplies_keys_values_and_activations(checkpoint):
    encoder, weights = attached(checkpoint, method="ia3")
    assert len(encoder.adaptation.trained) == 2 * 3
    for layer in (0, 1):
        for name in ("key", "value"):
            factor = values(encoder, f"layer_{layer}/attention/qkv/ia3/{name}_scale")
            at = f"layer_{layer}/attention/{name}"
            for part in ("kernel", "bias"):
                shape = weights[f"{at}/{part}"].shape
                weights[f"{at}/{part}"] = weights[f"{at}/{part}"] * factor.reshape(shape[-2:])
        factor = values(encoder, f"layer_{layer}/outer/ia3/input_scale")
        weights[f"layer_{layer}/feed_forward/outer/kernel"] = (
            factor[:, None] * weights[f"layer_{layer}/feed_forward/outer/kernel"]
        )
    assert_encodes(encoder, weights)


def test_bitfit_trains_the_biases_it_names(checkpoint):
    def paths(**options):
        made = adapted.model(checkpoint, {"method": "bitfit", **options})
        return {variable.path.removeprefix("encoder/") for variable in made.adaptation.trained}

    layers = ["attention/qkv", "attention/output", "attention_norm", "inner", "outer", "output_norm"]
    blocks = {f"layer_{layer}/{name}/bias" for layer in (0, 1) for name in layers}
    assert paths() == {"embeddings/norm/bias"} | blocks
    assert paths(biases=["qkv", "re:.*layer_1/inner"]) == {
        "layer_0/attention/qkv/bias",
        "layer_1/attention/qkv/bias",
        "layer_1/inner/bias",
    }


def bottleneck(encoder, place, activation, x, i):
    at = f"layer_{i}/{place}"
    down, b, up, c = (
        values(encoder, f"{at}/{name}") for name in ("down/kernel", "down/bias", "up/kernel", "up/bias")
    )
    assert (down.shape, up.shape) == ((16, 5), (5, 16))
    return numpy_bert.ACTIVATIONS[activation](x @ down + b) @ up + c


@pytest.mark.parametrize(
    ("placement", "places"),
    [("houlsby", ["after_attention", "after_feed_forward"]), ("pfeiffer", ["after_feed_forward"])],
)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_adapters_change_outputs_before_the_residual_sum(checkpoint, placement, places, activation):
    encoder, weights = attached(
        checkpoint, method="adapters", placement=placement, size=5, activation=activation
    )
    assert len(encoder.adaptation.layers) == 2 * len(places)
    added = {
        place: lambda i, x, place=place: x + bottleneck(encoder, place, activation or "gelu_erf", x, i)
        for place in places
    }
    assert_encodes(encoder, weights, added)


@pytest.mark.parametrize(("scale", "factor"), [(None, 4.0), (1.5, 1.5)])
def test_parallel_adapters_read_what_the_feed_forward_part_reads(checkpoint, scale, factor):
    encoder, weights = attached(checkpoint, method="adapters", placement="parallel", size=5, scale=scale)
    assert len(encoder.adaptation.layers) == 2

    def beside(i, x):
        return factor * bottleneck(encoder, "beside_feed_forward", "gelu_erf", x, i)

    assert_encodes(encoder, weights, {"beside_feed_forward": beside})


def test_a_prefix_is_attended_to_through_a_gate(checkpoint):
    encoder, weights = attached(checkpoint, method="prefix", length=3)

    def prefix(i, query):  # [B, N, T, D]
        key, value, gate = (
            values(encoder, f"layer_{i}/attention/prefix/{name}") for name in ("key", "value", "gate")
        )
        assert (key.shape, value.shape, gate.shape) == ((2, 3, 8), (2, 3, 8), (2,))
        shares = np.exp(query @ key.swapaxes(-1, -2) / math.sqrt(8))
        shares /= shares.sum(-1, keepdims=True)
        return np.tanh(gate)[:, None, None] * (shares @ value)

    assert_encodes(encoder, weights, {"prefix": prefix})


def test_seeds_of_initial_weights_differ(checkpoint):
    """Between layers of a model, and between seeds."""
    for options in (
        {"method": "lora"},
        {"method": "adapters", "size": 4},
        {"method": "prefix", "length": 4},
        {"method": "adalora", "initial_rank": 8},
    ):
        first = []
        for seed in (0, 1):
            made = adapted.model(checkpoint, options, seed=seed)
            drawn = [variable.numpy() for variable in made.adaptation.trained]
            first += [float(array.ravel()[0]) for array in drawn if array.ndim > 1 and array.any()]
        assert len(first) >= 8
        assert len(set(first)) == len(first), options


def test_an_encoder_holds_one_method(checkpoint):
    made = adapted.model(checkpoint, {"method": "lora"})
    with pytest.raises(
        Exception, match="the encoder already has the method lora; load it again, or merge it"
    ):
        peft.attach(made.encoder, "ia3")
