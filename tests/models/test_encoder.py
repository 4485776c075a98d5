"""The encoder against NumPy, in every way of running it."""

from __future__ import annotations

import dataclasses

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.models import pre_norm
from tests.models.numpy_bert import encode
from tests.models.strategies import configs, random_inputs, random_weights
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig, BertEncoder

CONFIG = BertConfig(
    vocab_size=37,
    hidden_size=15,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=23,
    max_position_embeddings=13,
    type_vocab_size=3,
    hidden_act="gelu_erf",
    layer_norm_eps=1e-3,
)


def encoder_with(config, weights, dtype="float32"):
    encoder = BertEncoder(config, dtype=dtype)
    encoder.assign(weights)
    return encoder


def outputs_of(encoder, inputs):
    """Hidden states and pooled output as NumPy."""
    states = [np.asarray(state) for state in encoder.hidden_states(inputs)]
    pooled = encoder(inputs).get("pooled_output")
    return states, None if pooled is None else np.asarray(pooled)


def difference(got, want):
    """The greatest, over hidden states at real tokens and the pooled output; shapes must agree."""
    (states, pooled), (want_states, want_pooled) = got, want
    assert [state.shape for state in states] == [state.shape for state in want_states]
    assert (pooled is None) == (want_pooled is None)
    worst = max(np.abs(a - b).max() for a, b in zip(states, want_states))
    return worst if pooled is None else max(worst, np.abs(pooled - want_pooled).max())


@hypothesis.given(config=configs(), seed=st.integers(0, 2**31), batch=st.integers(1, 4))
@hypothesis.settings(max_examples=60)
def test_equals_the_papers(config, seed, batch):
    """In float64: with a hidden size of 2, LayerNorm makes float32's rounding arbitrarily large."""
    weights, inputs = random_weights(config, seed), random_inputs(config, seed, batch)
    got = outputs_of(encoder_with(config, weights, "float64"), inputs)
    assert got[0][0].dtype == np.float64
    assert difference(got, encode(config, weights, **inputs)) < 1e-8


class PreNorm(BertConfig):
    norm_first = True


class Causal(BertConfig):
    causal = True


@pytest.mark.parametrize("kind", [PreNorm, Causal, pre_norm.PreNormConfig])
@hypothesis.given(config=configs(), seed=st.integers(0, 2**31), batch=st.integers(1, 4))
@hypothesis.settings(max_examples=20)
def test_variants_of_the_blocks_equal_the_papers(kind, config, seed, batch):
    config = kind(**dataclasses.asdict(config))
    weights, inputs = random_weights(config, seed), random_inputs(config, seed, batch)
    assert ("final_norm/scale" in weights) == config.norm_first
    got = outputs_of(encoder_with(config, weights, "float64"), inputs)
    assert difference(got, encode(config, weights, **inputs)) < 1e-8


@pytest.mark.parametrize("kind", [PreNorm, Causal])
def test_variants_differ_and_their_weights_are_packed_and_trained(kind):
    plain = random_weights(CONFIG, 1)
    config = kind(**dataclasses.asdict(CONFIG))
    weights, inputs = {**random_weights(config, 1), **plain}, random_inputs(CONFIG, 2)
    encoder = encoder_with(config, weights)
    for name, array in encoder.tensors().items():
        np.testing.assert_array_equal(array, weights[name])
    output = np.asarray(encoder(inputs)["sequence_output"])
    assert np.abs(output - encoder_with(CONFIG, plain)(inputs)["sequence_output"]).max() > 1e-2
    # The gradients by hand of a training step are those of automatic differentiation.
    gradients = []
    for options in ({"training": True}, {}):
        still = encoder_with(config.with_dropout(0.0), weights, "float64")
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(still(inputs, **options)["pooled_output"] ** 2)
        gradients.append(tape.gradient(loss, [variable.value for variable in still.trainable_variables]))
    for one, other in zip(*gradients):
        np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), rtol=0, atol=1e-9)


def test_a_causal_encoder_reads_nothing_that_comes_later():
    encoder = encoder_with(Causal(**dataclasses.asdict(CONFIG)), random_weights(CONFIG, 1))
    inputs = random_inputs(CONFIG, 2, batch=1)
    changed = {name: array.copy() for name, array in inputs.items()}
    changed["input_ids"][0, 7] = (changed["input_ids"][0, 7] + 1) % CONFIG.vocab_size
    got, want = (np.asarray(encoder(one)["sequence_output"]) for one in (changed, inputs))
    np.testing.assert_array_equal(got[:, :7], want[:, :7])
    assert np.abs(got[:, 7:] - want[:, 7:]).max(-1).min() > 1e-4


def test_parts_hold_each_weight_once_from_the_bottom_to_the_top():
    config = PreNorm(**dataclasses.asdict(CONFIG))
    encoder = config.encoder()
    parts = encoder.parts()
    assert [(part.layer.name, part.role, part.output) for part in parts] == [
        ("embeddings", "embeddings", None),
        ("layer_0", "block", None),
        ("layer_1", "block", None),
        ("final_norm", "top", None),
        ("pooler", "top", "pooled_output"),
    ]
    assert [weight.path for part in parts for weight in part.layer.weights] == [
        weight.path for weight in encoder.weights
    ]
    assert encoder.outputs == tuple(encoder(random_inputs(config, 1)))


@pytest.mark.parametrize("hidden_act", ["gelu_erf", "gelu_tanh", "relu", "silu", "tanh"])
def test_equals_the_papers_in_float32_and_nothing_near_them_does(hidden_act):
    config = dataclasses.replace(CONFIG, hidden_act=hidden_act)
    weights, inputs = random_weights(config, 1), random_inputs(config, 2, batch=7)
    want = encode(config, weights, **inputs)
    assert difference(outputs_of(encoder_with(config, weights), inputs), want) < 1e-5

    for other in {"gelu_erf", "gelu_tanh", "relu", "silu", "tanh"} - {hidden_act}:
        wrong = encoder_with(dataclasses.replace(config, hidden_act=other), weights)
        assert difference(outputs_of(wrong, inputs), want) > 5e-4, other
    wrong = encoder_with(dataclasses.replace(config, layer_norm_eps=1e-12), weights)
    assert difference(outputs_of(wrong, inputs), want) > 1e-3
    five_heads = {
        name: array.reshape(*array.shape[:-2], 5, 3)
        if "/query/" in name or "/key/" in name or "/value/" in name
        else array.reshape(5, 3, -1)
        if name.endswith("attention/output/kernel")
        else array
        for name, array in weights.items()
    }
    wrong = encoder_with(dataclasses.replace(config, num_attention_heads=5), five_heads)
    assert difference(outputs_of(wrong, inputs), want) > 1e-2


def test_each_input_matters_and_has_its_default():
    encoder = encoder_with(CONFIG, random_weights(CONFIG, 1))
    inputs = random_inputs(CONFIG, 2)
    whole = np.asarray(encoder(inputs)["sequence_output"])
    for name in ("token_type_ids", "attention_mask"):
        without = {key: value for key, value in inputs.items() if key != name}
        default = {**inputs, name: np.full_like(inputs[name], name == "attention_mask")}
        left_out = np.asarray(encoder(without)["sequence_output"])
        assert np.abs(left_out - whole).max() > 1e-3
        np.testing.assert_array_equal(left_out, encoder(default)["sequence_output"])


def test_padding_changes_nothing():
    encoder = encoder_with(CONFIG, random_weights(CONFIG, 1))
    inputs = random_inputs(CONFIG, 2, batch=4, length=9)
    batch = np.asarray(encoder(inputs)["sequence_output"])
    for row, real in enumerate(inputs["attention_mask"].sum(-1)):
        alone = encoder({name: value[row : row + 1, :real] for name, value in inputs.items()})
        np.testing.assert_allclose(batch[row, :real], alone["sequence_output"][0], rtol=0, atol=5e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16", "mixed_float16"])
def test_a_text_of_nothing_but_padding_gives_numbers(dtype):
    encoder = encoder_with(CONFIG, random_weights(CONFIG, 1), dtype)
    inputs = random_inputs(CONFIG, 2)
    inputs["attention_mask"][1] = 0
    states = encoder.hidden_states(inputs)
    assert all(np.isfinite(np.asarray(state, np.float64)).all() for state in states)


@pytest.mark.parametrize(("dtype", "tolerance"), [("mixed_bfloat16", 0.3), ("mixed_float16", 0.04)])
def test_mixed_precision(dtype, tolerance):
    """Weights stay float32 and what leaves is 16 bits wide; hidden states are of the order of 1 to 5."""
    weights, inputs = random_weights(CONFIG, 1), random_inputs(CONFIG, 2)
    encoder = encoder_with(CONFIG, weights, dtype)
    assert {variable.dtype for variable in encoder.variables} == {"float32"}
    for name, array in encoder.tensors().items():
        np.testing.assert_array_equal(array, weights[name])
    got = encoder(inputs)["sequence_output"]
    assert got.dtype == dtype.removeprefix("mixed_")
    want = encode(CONFIG, weights, **inputs)[0][-1]
    error = np.abs(np.asarray(got, np.float64) - want)
    assert 1e-5 < error.mean() < tolerance / 10
    assert error.max() < tolerance


def test_layer_norm_is_wide_in_mixed_precision():
    """A large mean: in bfloat16 all that is left of the differences would be lost."""
    from tfpipeline.models.layers import LayerNorm

    x = tf.cast(np.array([[256.0, 258.0, 260.0, 262.0]]), tf.bfloat16)
    norm = LayerNorm(1e-12, dtype="mixed_bfloat16")
    norm.build(x.shape)
    norm.bias.assign([0.5 + 2**-12] * 4)  # not a bfloat16
    want = np.array([[-3, -1, 1, 3]]) / np.sqrt(5) + 0.5 + 2**-12
    np.testing.assert_array_equal(norm(x), tf.cast(want, tf.bfloat16))


@pytest.mark.parametrize("compiled", ["eager", "graph", "xla"])
def test_same_in_every_way_of_running(compiled):
    weights, inputs = random_weights(CONFIG, 1), random_inputs(CONFIG, 2)
    encoder = encoder_with(CONFIG, weights)
    call = encoder
    if compiled != "eager":
        # One trace for every size, as in a served model; XLA needs static ones.
        spec = {name: tf.TensorSpec([None, None], tf.int32) for name in inputs}
        signature = [spec] if compiled == "graph" else None
        call = tf.function(
            lambda x: encoder(x), input_signature=signature, jit_compile=compiled == "xla", autograph=False
        )
    got = call({name: tf.constant(value) for name, value in inputs.items()})
    want, pooled = encode(CONFIG, weights, **inputs)
    np.testing.assert_allclose(got["sequence_output"], want[-1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(got["pooled_output"], pooled, rtol=0, atol=1e-5)


def test_gradients_in_float64():
    """Against central differences of the NumPy encoder, for an element of every variable."""
    config = dataclasses.replace(CONFIG, num_hidden_layers=1)
    weights, inputs = random_weights(config, 1), random_inputs(config, 2)
    encoder = encoder_with(config, weights, "float64")
    shape = (*inputs["input_ids"].shape, config.hidden_size)
    direction = np.random.default_rng(3).normal(size=shape)
    with tf.GradientTape() as tape:
        outputs = encoder(inputs)
        loss = tf.reduce_sum(outputs["sequence_output"] * direction) + tf.reduce_sum(outputs["pooled_output"])
    gradients = tape.gradient(loss, [variable.value for variable in encoder.variables])
    for variable, gradient in zip(encoder.variables, gradients):
        variable.assign(tf.convert_to_tensor(gradient))  # tensors() then unpacks gradients as it does weights
    gradients = encoder.tensors()

    def loss_at(name, index, value):
        moved = {**weights, name: weights[name].astype(np.float64)}
        moved[name][index] += value
        states, pooled = encode(config, moved, **inputs)
        return (states[-1] * direction).sum() + pooled.sum()

    for name, gradient in gradients.items():
        index = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        numeric = (loss_at(name, index, 1e-6) - loss_at(name, index, -1e-6)) / 2e-6
        assert gradient[index] == pytest.approx(numeric, rel=1e-5, abs=1e-6), name
        if not name.endswith("key/bias"):  # which has none, by theory
            assert abs(numeric) > 1e-3, name


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_too_long_a_text(where):
    encoder = encoder_with(CONFIG, random_weights(CONFIG, 1))
    ids = np.ones((2, CONFIG.max_position_embeddings + 1), np.int32)
    if where == "eager":
        with pytest.raises(ValueError, match="input_ids has 14 positions, the model 13; truncate the texts"):
            encoder({"input_ids": ids})
        return
    spec = {"input_ids": tf.TensorSpec([None, None], tf.int32)}
    call = tf.function(lambda x: encoder(x), input_signature=[spec], autograph=False)
    assert call({"input_ids": ids[:, :-1]})["sequence_output"].shape == (2, 13, 15)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more positions than the model, which has 13"):
        call({"input_ids": ids})


def test_one_position_is_not_broadcast():
    """With one position, adding it to a longer text would work, and be wrong."""
    config = dataclasses.replace(CONFIG, max_position_embeddings=1)
    encoder = BertEncoder(config)
    spec = {"input_ids": tf.TensorSpec([None, None], tf.int32)}
    call = tf.function(lambda x: encoder(x), input_signature=[spec], autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more positions"):
        call({"input_ids": np.ones((2, 3), np.int32)})


@pytest.mark.parametrize("wrong", [-1, 37])
def test_an_id_that_no_token_has(wrong):
    ids = np.ones((2, 3), np.int32)
    ids[1, 1] = wrong
    with pytest.raises(tf.errors.InvalidArgumentError):
        BertEncoder(CONFIG)({"input_ids": ids})


@hypothesis.given(config=configs(), seed=st.integers(0, 2**31))
@hypothesis.settings(max_examples=20)
def test_packing_is_exact(config, seed):
    weights = random_weights(config, seed)
    encoder = encoder_with(config, weights)
    unpacked = encoder.tensors()
    assert unpacked.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(unpacked[name], array)
    # Each weight is in one variable only, and nothing else is.
    assert sum(array.size for array in weights.values()) == encoder.count_params()
    again = BertEncoder(config)
    again.assign(unpacked)
    for ours, theirs in zip(again.variables, encoder.variables):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_assign_lists_all_that_does_not_fit_and_sets_nothing():
    weights = random_weights(CONFIG, 1)
    encoder = BertEncoder(CONFIG)
    before = encoder.tensors()
    del weights["layer_1/attention/key/bias"], weights["embeddings/norm/scale"]
    weights["layer_2/attention/key/bias"] = np.zeros([3, 5], np.float32)
    weights["pooler/bias"] = np.zeros([4], np.float32)
    with pytest.raises(UserError) as caught:
        encoder.assign(weights)
    assert str(caught.value).splitlines() == [
        "the weights do not fit the configuration (2 missing, 1 unknown, 1 misshapen): use its own "
        "configuration",
        "  missing  embeddings/norm/scale",
        "  missing  layer_1/attention/key/bias",
        "  unknown  layer_2/attention/key/bias",
        "  shape    pooler/bias: found [4], expected [15]",
    ]
    for name, array in encoder.tensors().items():
        np.testing.assert_array_equal(array, before[name])


def test_paths_do_not_depend_on_what_was_built_before():
    """Runs store variables by path."""
    first = [variable.path for variable in BertEncoder(CONFIG).variables]
    keras.layers.Dense(3).build((None, 2))
    assert [variable.path for variable in BertEncoder(CONFIG).variables] == first
    assert len(set(first)) == len(first)
    assert first[:5] == [
        "encoder/embeddings/word",
        "encoder/embeddings/position",
        "encoder/embeddings/token_type",
        "encoder/embeddings/norm/scale",
        "encoder/embeddings/norm/bias",
    ]
    assert "encoder/layer_1/attention/qkv/kernel" in first
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope(), tf.name_scope("anything"):
        assert [variable.path for variable in BertEncoder(CONFIG).variables] == first


def test_same_seed_same_first_weights():
    keras.utils.set_random_seed(7)
    first = BertEncoder(CONFIG).tensors()
    keras.utils.set_random_seed(7)
    again = BertEncoder(CONFIG).tensors()
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    kernel = first["layer_0/attention/query/kernel"]
    assert 0.01 < kernel.std() < 0.03
    assert np.abs(kernel - first["layer_1/attention/query/kernel"]).max() > 0


def test_keras_serialisation():
    encoder = BertEncoder(CONFIG, name="encoder")
    again = BertEncoder.from_config(encoder.get_config())
    assert again.config == CONFIG
    assert again.name == "encoder"
