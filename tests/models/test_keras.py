"""Models, encoder and heads as Keras has them: training, saving, cloning, layers by name."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.models import (
    BertEncoder,
    ClassificationHead,
    HeadGroup,
    MultiLabelHead,
    Noise,
    SpanHead,
    TaggingHead,
    TextModel,
    Windows,
)
from tfpipeline.models.encoder import Embeddings
from tfpipeline.models.layers import Dense, Dropout, EncoderBlock, LayerNorm, SelfAttention
from tfpipeline.text import AddedToken, TokenizerOptions, Truncation, WordPieceTokenizer

# Keras 3.15 itself, with NumPy 2, when it reads a file.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

TEXTS = ["the good film", "a very bad food , so", "x"]
HEADS = {
    "none": lambda: None,
    "classification": lambda: ClassificationHead(3, pooling="pooler", seed=2),
    "multilabel": lambda: MultiLabelHead(4, threshold=0.25, pooling="cls", dropout=0.3),
    "tagging": lambda: TaggingHead(5),
    "crf": lambda: TaggingHead(5, crf=True, seed=3),
    "span": lambda: SpanHead(threshold=0.75),
    "group": lambda: HeadGroup({"mood": ClassificationHead(2), "topics": MultiLabelHead(3)}),
}
CUT = Truncation(6, "windows", overlap=1, max_windows=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("keras") / "checkpoint"))


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    options = dataclasses.replace(checkpoint.tokenizer, lowercase=False, special_tokens=("good",))
    return WordPieceTokenizer(checkpoint.vocabulary, options)


@pytest.fixture(scope="module")
def tokens(tokenizer):
    return tokenizer(TEXTS)


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        np.testing.assert_array_equal(got[name], tensor)


def far(got, want):
    return max(np.abs(np.asarray(got[name]) - np.asarray(want[name])).max() for name in want)


# Training.


@pytest.mark.parametrize(
    ("inputs", "found"),
    [(np.zeros((1, 3), np.int32), "EagerTensor"), ({"ids": np.zeros((1, 3), np.int32)}, "a dict of ids")],
)
def test_what_are_no_inputs(checkpoint, inputs, found):
    with pytest.raises(TypeError, match=f"takes a dict of input_ids, .* gives it; found {found}"):
        TextModel(checkpoint.encoder())(inputs)


@pytest.mark.parametrize("head", ["none", "classification", "crf", "span", "group"])
def test_training_in_eager_mode_drops(checkpoint, tokens, head):
    model = TextModel(checkpoint.encoder(), HEADS[head]())
    for variable in model.weights:  # what starts at 0 shows no dropout
        variable.assign_add(tf.random.stateless_normal(variable.shape, [1, 2], stddev=0.3))
    still = model(tokens)
    first, second = model(tokens, training=True), model(tokens, training=True)
    assert far(first, still) > 1e-3
    assert far(first, second) > 1e-3
    assert_same(model(tokens, training=False), still)
    # Call by call the masks of the generator's seed.
    for step, outputs in enumerate((first, second)):
        assert_same(model(tokens, training=True, noise=Noise(0, step)), outputs)


def test_the_encoders_masks_are_those_of_its_seed_and_the_number_of_the_call(checkpoint, tokens):
    encoder = BertEncoder(checkpoint.config, seed=5)
    encoder.assign(checkpoint.tensors)
    for step in range(2):
        assert_same(encoder(tokens, training=True), encoder(tokens, noise=Noise(5, step)))
    assert far(encoder(tokens, noise=Noise(5, 0)), encoder(tokens, noise=Noise(5, 1))) > 1e-3
    assert_same(encoder(tokens, noise=Noise(5, 0), training=False), encoder(tokens))
    still = BertEncoder(
        dataclasses.replace(checkpoint.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    )
    still.assign(checkpoint.tensors)
    assert far(still(tokens, training=True), encoder(tokens)) < 1e-5  # by other formulas: gradients by hand


@pytest.mark.parametrize("part", ["embeddings", "layer_1", "attention", "head"])
def test_a_part_on_its_own_drops_too(checkpoint, tokens, part):
    encoder = checkpoint.encoder()
    encoded, mask = encoder(tokens), tokens["attention_mask"]
    states, bias = encoded["sequence_output"], tf.zeros([3, 1, 1, 1])
    if part == "embeddings":
        call = lambda **how: encoder.embeddings(tokens["input_ids"], tokens["token_type_ids"], **how)  # noqa: E731
    elif part == "head":
        head = ClassificationHead(3)
        call = lambda **how: head(encoded, mask, **how)["logits"]  # noqa: E731
    else:
        layer = encoder.layer_1 if part == "layer_1" else encoder.layer_1.attention
        call = lambda **how: layer(states, bias, **how)  # noqa: E731
    assert np.abs(call(training=True) - call(training=True)).max() > 1e-4
    np.testing.assert_array_equal(call(), call(training=False))


def functional(encoder):
    """Somebody's own head on the encoder."""
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    return keras.Model(inputs, keras.layers.Dense(3)(encoder(inputs)["pooled_output"]))


def test_a_functional_model_around_the_encoder_trains_with_dropout(checkpoint, tokens, tmp_path):
    encoder = BertEncoder(checkpoint.config, seed=5)
    encoder.assign(checkpoint.tensors)
    model = functional(encoder)
    dense = model.layers[-1]
    got = model(tokens, training=True)
    np.testing.assert_array_equal(got, dense(encoder(tokens, noise=Noise(5, 0))["pooled_output"]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(tokens, training=True))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    encoder.layer_1.trainable = False
    model.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")
    np.testing.assert_array_equal(again(tokens), model(tokens))
    assert len(again.trainable_variables) == len(gradients) - 12


def test_xla_drops_as_eager_mode_does(checkpoint, tokens):
    want = TextModel(checkpoint.encoder(), ClassificationHead(3))(tokens, training=True)["logits"]
    model = TextModel(checkpoint.encoder(), ClassificationHead(3))
    run = tf.function(
        lambda inputs: model(inputs, training=True)["logits"], autograph=False, jit_compile=True
    )
    np.testing.assert_allclose(run(tokens), want, atol=1e-5)


# Saving.


@pytest.mark.parametrize("head", [name for name in HEADS if name != "tagging"])
def test_saved_and_loaded(checkpoint, tokenizer, tokens, head, tmp_path):
    windows = Windows(CUT) if head in ("none", "span", "multilabel") else None
    model = TextModel(checkpoint.encoder(), HEADS[head](), windows, tokenizer, CUT, name="mine")
    for variable in model.weights:  # no weight is as it was drawn
        variable.assign_add(tf.random.stateless_normal(variable.shape, [1, 2], stddev=0.1))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is TextModel
    assert loaded.get_config() == model.get_config()
    assert_same(loaded(tokens), model(tokens))
    assert [(v.path, v.trainable) for v in loaded.variables] == [
        (v.path, v.trainable) for v in model.variables
    ]
    assert_same(loaded.tokenizer(TEXTS), tokens)
    assert loaded.truncation == CUT
    assert loaded.windows == windows
    np.testing.assert_array_equal(loaded.embed(TEXTS), model.embed(TEXTS))

    cloned = keras.models.clone_model(model)
    assert cloned.get_config() == model.get_config()
    assert far(cloned(tokens), model(tokens)) > 1e-3
    model.save_weights(tmp_path / "model.weights.h5")
    cloned.load_weights(tmp_path / "model.weights.h5")
    assert_same(cloned(tokens), model(tokens))


def test_added_tokens_are_saved(checkpoint):
    """Their ids are part of the options."""
    options = TokenizerOptions(
        added_tokens=(AddedToken("film", special=False), AddedToken("bad", normalized=True, special=False))
    )
    model = TextModel(checkpoint.encoder(), tokenizer=WordPieceTokenizer(tiny.VOCABULARY, options))
    again = TextModel.from_config(model.get_config())
    assert again.tokenizer.options == options


def test_what_is_frozen_and_the_precision_are_saved(checkpoint, tmp_path):
    with _policy("mixed_bfloat16"):
        model = TextModel(checkpoint.encoder(), ClassificationHead(3))
    model.encoder.embeddings.trainable = model.encoder.layer_0.trainable = False
    names = [variable.path for variable in model.trainable_variables]
    assert names[0] == "encoder/layer_1/attention/qkv/kernel"
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [variable.path for variable in loaded.trainable_variables] == names
    for layer in (loaded, loaded.encoder, loaded.encoder.layer_1.attention.qkv, loaded.head.dense):
        assert layer.dtype_policy.name == "mixed_bfloat16"
    model.head.trainable = False
    names = [variable.path for variable in model.trainable_variables]
    assert not any(name.startswith("head") for name in names)
    again = TextModel.from_config(model.get_config())
    assert [variable.path for variable in again.trainable_variables] == names
    model.trainable = False
    again = TextModel.from_config(model.get_config())
    assert not again.trainable_variables
    assert not any(variable.trainable for variable in again.weights)


class _policy:  # noqa: N801 - reads as `with _policy("mixed_bfloat16"):`
    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.saved = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.saved)


def test_parts_can_be_made_again_from_their_configuration(checkpoint):
    encoder = checkpoint.encoder()
    block = encoder.layer_1
    parts = [encoder.embeddings, block, block.attention, block.attention.qkv, block.inner, block.output_norm]
    parts += [block.output_dropout, encoder]
    for part in parts:
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(part))
        assert type(again) is type(part)
        assert again.get_config() == part.get_config()
    kinds = {Embeddings, EncoderBlock, SelfAttention, Dense, LayerNorm, Dropout, BertEncoder}
    assert {type(part) for part in parts} == kinds


# Layers by name.


def test_layers_can_be_reached_by_name(checkpoint):
    model = TextModel(checkpoint.encoder(), ClassificationHead(3))
    encoder = model.get_layer("encoder")
    assert encoder is model.encoder
    assert [layer.name for layer in model.layers] == ["encoder", "head"]
    assert [layer.name for layer in encoder.layers] == ["embeddings", "layer_0", "layer_1", "pooler"]
    assert encoder.layer_1 is encoder.blocks[1] is encoder.get_layer("layer_1")
    assert encoder.get_layer(index=0) is encoder.embeddings
    assert encoder.get_layer(index=-1) is encoder.layers[-1]
    for arguments in ({}, {"name": "layer_1", "index": 1}, {"index": 9}):
        with pytest.raises(ValueError, match=r"either a name or an index|no layer at 9"):
            encoder.get_layer(**arguments)
    assert "layer_1" in dir(encoder)
    with pytest.raises(AttributeError):
        encoder.layer_2  # noqa: B018
    with pytest.raises(
        ValueError, match="no layer 'layer_2'; its layers are embeddings, layer_0, layer_1, pooler"
    ):
        encoder.get_layer("layer_2")
    encoder.layer_0.trainable = False
    names = {variable.path for variable in model.trainable_variables}
    assert "encoder/layer_1/inner/kernel" in names
    assert "encoder/layer_0/inner/kernel" not in names


def test_the_summary_shows_parts_shapes_and_parameters(checkpoint, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model = TextModel(
        checkpoint.encoder(), HeadGroup({"mood": ClassificationHead(3), "tags": TaggingHead(5)})
    )
    model.summary(expand_nested=True, line_length=160)
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()
    ]
    rows = {cells[0]: cells[1:] for cells in lines if len(cells) == 3 and cells[2]}
    assert rows["└ embeddings (Embeddings)"] == ["(None, None, 16)", "1,168"]
    assert rows["└ layer_1 (EncoderBlock)"] == ["(None, None, 16)", "2,224"]
    assert rows["└ qkv (Dense)"] == ["(None, None, 48)", "816"]
    assert rows["└ pooler (Dense)"] == ["(None, 16)", "272"]
    assert rows["└ mood (ClassificationHead)"] == ["(None, 3)", "51"]
    assert rows["└ tags (TaggingHead)"] == ["(None, None, 5)", "85"]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
@pytest.mark.parametrize("head", ["crf", "span", "group"])
def test_symbolic_outputs_are_as_real_ones(checkpoint, tokens, head, policy):
    with _policy(policy):
        model = TextModel(checkpoint.encoder(), HEADS[head]())
    encoded = model.encoder(tokens)
    symbols = {name: keras.KerasTensor(tensor.shape, tensor.dtype) for name, tensor in encoded.items()}
    mask = tokens["attention_mask"]
    symbolic = model.head(symbols, keras.KerasTensor(mask.shape, "int32"))
    real = model.head(encoded, mask)
    shapes = model.head.compute_output_shape({name: tuple(tensor.shape) for name, tensor in encoded.items()})
    assert list(symbolic) == list(real) == list(shapes)
    for name, tensor in real.items():
        assert symbolic[name].shape == tuple(tensor.shape) == shapes[name], name
        assert symbolic[name].dtype == tensor.dtype.name, name


class OwnHead(keras.layers.Layer):
    """Somebody's own, with Keras's dropout."""

    def __init__(self):
        super().__init__()
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, encoded, attention_mask, training=None):
        return {"first": self.dropout(encoded["sequence_output"][:, 0], training=training)}


def test_a_head_that_takes_no_noise(checkpoint, tokens):
    model = TextModel(checkpoint.encoder(), OwnHead())
    assert model.encoder.pooler.trainable  # the head does not say that it does not use it
    np.testing.assert_array_equal(model(tokens)["first"], model.encoder(tokens)["sequence_output"][:, 0])
    dropped = np.asarray(model(tokens, training=True)["first"])
    assert 0 < np.count_nonzero(dropped == 0) < dropped.size


# What is shown.


def test_what_a_model_says_of_itself(checkpoint, tokenizer):
    model = TextModel(checkpoint.encoder(), HEADS["group"](), Windows(CUT), tokenizer, name="a<b")
    assert repr(model) == (
        "<TextModel a<b: encoder 2 layers, hidden size 16, 2 heads, 40 positions; head mood: "
        "ClassificationHead (2 outputs), "
        "topics: MultiLabelHead (3 outputs); parameters 5,976 (5,701 trainable); dtype float32; "
        "windows 6 tokens, overlap 1, at most 3 of a text; tokenizer 29 tokens, cased>"
    )
    shown = model._repr_html_()
    assert "TextModel a&lt;b" in shown
    assert "<td style='text-align: left'>29 tokens, cased</td>" in shown
    assert str(TextModel(checkpoint.encoder())).endswith(
        "head none; parameters 5,888; dtype float32; tokenizer none>"
    )
