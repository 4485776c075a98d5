"""What heads declare: ordinary layers as heads, dropout sites, and heads that share the word embeddings."""

from __future__ import annotations

import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests import tiny
from tests.tasks import kit
from tfpipeline.errors import UserError
from tfpipeline.models import (
    BertConfig,
    BertEncoder,
    ClassificationHead,
    HeadGroup,
    Noise,
    TaggingHead,
    TextModel,
    Windows,
    kernels,
)
from tfpipeline.models.head import HEAD_SITE, Head
from tfpipeline.models.layers import Dropout
from tfpipeline.text import TokenizerOptions, Truncation
from tfpipeline.training.optimizer import head_factors
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run_file import read_run_file

# Keras 3.15 itself, with NumPy 2, when it reads a file.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

CONFIG = BertConfig(
    vocab_size=11,
    hidden_size=6,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    hidden_act="gelu_erf",
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
    max_position_embeddings=9,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
    initializer_range=0.5,
    pooler=True,
)
TOKENS = {
    "input_ids": np.array([[1, 4, 4, 7, 2], [1, 9, 2, 0, 0]], np.int32),
    "token_type_ids": np.zeros((2, 5), np.int32),
    "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32),
}


# Ordinary layers.


@keras.saving.register_keras_serializable(package="tests")
class OrdinaryHead(keras.layers.Layer):
    """A layer that knows nothing of this package, with a part that Keras builds on the first call."""

    def __init__(self, size=3, **options):
        super().__init__(**options)
        self.size = size
        self.dense = keras.layers.Dense(size)
        self.dropout = keras.layers.Dropout(0.5)
        self.second = keras.layers.Dense(size)

    def call(self, encoded, attention_mask, training=None):
        pooled = self.dropout(encoded["sequence_output"][:, 0], training=training)
        return {"scores": self.second(self.dense(pooled))}

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("windows", [None, Windows(Truncation(4, "windows", overlap=0, max_windows=3))])
def test_an_ordinary_layer_is_a_head(tmp_path, group, windows):
    """Alone and beside another head, it is built at once, trained, saved, and named alike each time."""

    def make():
        head = HeadGroup({"a": OrdinaryHead(), "b": TaggingHead(4, crf=True)}) if group else OrdinaryHead()
        return TextModel(BertEncoder(CONFIG), head, windows)

    model, prefix = make(), "a/" if group else ""
    own = [variable.path for variable in model.head.trainable_variables if "crf" not in variable.path]
    for _ in range(2):
        names = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
        assert own[:4] == [f"head/{prefix}{name}" for name in names]
        own = [variable.path for variable in make().head.trainable_variables]
    assert model.encoder.pooler.trainable  # it does not say that it does not read it
    expected = model(TOKENS)
    assert expected[f"{prefix}scores"].shape == (2, 3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(TOKENS, training=True)[f"{prefix}scores"] ** 2)
    (gradient,) = tape.gradient(loss, [model.head.trainable_variables[0].value])
    assert np.abs(gradient).max() > 0
    assert list(head_factors(model, 1e-5)) == (["head/b/transitions"] if group else [])
    assert ("a: OrdinaryHead, b: TaggingHead (4 outputs)" if group else "head OrdinaryHead") in repr(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for name, tensor in loaded(TOKENS).items():
        np.testing.assert_array_equal(tensor, expected[name])


class WithItsOwnBuild(keras.layers.Layer):
    """It builds itself from the shapes of the encoder's outputs, and says what it does not read."""

    uses_pooler = False

    def build(self, shapes):
        self.kernel = self.add_weight(shape=(shapes["sequence_output"][-1], 2), name="kernel")
        self.built = True

    def call(self, encoded, attention_mask):
        return {"scores": ops.matmul(encoded["sequence_output"], self.kernel)}


def test_what_an_ordinary_layer_says_holds():
    model = TextModel(BertEncoder(CONFIG), HeadGroup({"a": WithItsOwnBuild()}))
    assert [variable.path for variable in model.head.variables] == ["head/a/kernel"]
    assert not model.encoder.pooler.trainable
    assert model(TOKENS)["a/scores"].shape == (2, 5, 2)


class ReturnsATensor(keras.layers.Layer):
    def call(self, encoded, attention_mask):
        return encoded["sequence_output"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            lambda: keras.layers.Dense(3),
            r"the Keras layer Dense does not work as a head; a head is called as",
        ),
        (
            lambda: keras.layers.LSTM(3),
            r"the Keras layer LSTM does not work as a head \(.+\); a head is called as",
        ),
        (
            ReturnsATensor,
            r"ReturnsATensor does not work as a head \(it returned KerasTensor, not a dict\); a head is",
        ),
        (
            lambda: len,
            "the head is of type builtin_function_or_method, not a Keras layer; a head is called as",
        ),
    ],
)
@pytest.mark.parametrize("group", [False, True])
def test_what_is_no_head_is_refused(head, message, group):
    with pytest.raises(UserError, match=message) as caught:
        TextModel(BertEncoder(CONFIG), HeadGroup({"a": head()}) if group else head())
    assert "\n" not in str(caught.value)


# Dropout sites.


def sites_of(model, monkeypatch):
    """The sites at which a training step drops, in order."""
    sites, drop = [], kernels.drop
    with monkeypatch.context() as patch:
        patch.setattr(
            kernels, "drop", lambda x, rate, noise, site: sites.append(site) or drop(x, rate, noise, site)
        )
        model(TOKENS, training=True, noise=Noise(0, 0))
    return sites


@pytest.mark.parametrize("name", sorted(path.stem for path in kit.SAMPLES.glob("*.yaml")))
def test_no_two_dropouts_of_a_model_share_a_site(tmp_path, monkeypatch, name):
    path = kit.write_run_file(tmp_path, kit.sample(kit.SAMPLES / f"{name}.yaml"), rows=40)
    task = read_rows(read_run_file(path)).task.with_tokenizer(tiny.VOCABULARY, TokenizerOptions())
    model = TextModel(BertEncoder(CONFIG), task.head(CONFIG, 0))
    heads = getattr(model.head, "heads", {"head": model.head})
    heads = [head for head in heads.values() if hasattr(head, "dropout")]
    sites = sites_of(model, monkeypatch)
    assert len(set(sites)) == len(sites) == 4 + len(heads), sites
    assert sites[4:] == [HEAD_SITE + number for number in range(len(heads))]


def test_the_masks_of_two_heads_differ():
    """Heads of the same weights answer alike without dropout, and differently with it; the first as it does
    alone.
    """

    def head():
        return ClassificationHead(3, pooling="cls", dropout=0.5, seed=1)

    encoder = BertEncoder(CONFIG)
    both = TextModel(encoder, HeadGroup({"a": head(), "b": head()}))
    still = both(TOKENS)
    np.testing.assert_array_equal(still["a/logits"], still["b/logits"])
    dropped = both(TOKENS, training=True, noise=Noise(3, 7))
    assert np.abs(dropped["a/logits"] - dropped["b/logits"]).max() > 0.01
    alone = TextModel(encoder, head())(TOKENS, training=True, noise=Noise(3, 7))
    np.testing.assert_array_equal(dropped["a/logits"], alone["logits"])


def test_each_dropout_of_a_head_has_its_own_site(monkeypatch):
    class Part(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dropout = Dropout(0.1, 5)

        def call(self, x, noise=None):
            return self.dropout(x, noise=noise)

    class TwoDropouts(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = [Dropout(0.1, 5), Part()]

        def call(self, encoded, attention_mask, noise=None):
            return {"x": self.parts[1](self.parts[0](encoded["pooled_output"], noise=noise), noise=noise)}

    sites = sites_of(
        TextModel(BertEncoder(CONFIG), HeadGroup({"a": TwoDropouts(), "b": TaggingHead(2)})), monkeypatch
    )
    assert sites[4:] == [HEAD_SITE, HEAD_SITE + 1, HEAD_SITE + 2]


# Heads that share the word embeddings.


@keras.saving.register_keras_serializable(package="tests")
class TiedHead(Head):
    """Scores every word of the vocabulary for every token, with the encoder's own embeddings."""

    binds_embeddings = True
    uses_pooler = False
    merges = {"logits": "tokens"}  # noqa: RUF012

    def build(self, shapes):
        self.bias = self.add_weight(shape=(self.embedding_matrix.shape[0],), initializer="zeros", name="bias")

    def call(self, encoded, attention_mask):
        scores = ops.matmul(encoded["sequence_output"], ops.transpose(self.embedding_matrix))
        return {"logits": scores + self.bias}


def tied_model(group=False):
    head = HeadGroup({"words": TiedHead(), "mood": ClassificationHead(2)}) if group else TiedHead()
    return TextModel(BertEncoder(CONFIG), head)


@pytest.mark.parametrize("group", [False, True])
def test_a_tied_head_scores_words_with_their_embeddings(group):
    model, name = tied_model(group), "words/logits" if group else "logits"
    states = np.asarray(model.encoder(TOKENS)["sequence_output"])
    expected = states @ model.encoder.tensors()["embeddings/word"].T
    np.testing.assert_allclose(model(TOKENS)[name], expected, atol=1e-5)
    paths = [variable.path for variable in model.trainable_variables]
    assert paths.count("encoder/embeddings/word") == 1
    assert [path for path in paths if "words" in path or path == "head/bias"] == (
        ["head/words/bias"] if group else ["head/bias"]
    )


def test_the_gradient_of_tied_embeddings_is_the_sum_of_both_uses():
    """Against differences in float64: of a word that is read (4), and of one that is only scored (10)."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        model = tied_model()
    finally:
        keras.config.set_dtype_policy(before)
    word = model.encoder.embeddings.word
    factor = np.random.default_rng(0).normal(size=(2, 5, CONFIG.vocab_size))

    def loss(training=None):
        return tf.reduce_sum(tf.tanh(model(TOKENS, training=training, **noise(training))["logits"]) * factor)

    def noise(training):
        return {"noise": Noise(0, 0)} if training else {}

    for training in (False, True):  # without dropout, and with masks that stay the same
        with tf.GradientTape() as tape:
            value = loss(training)
        gradient = tf.convert_to_tensor(tape.gradient(value, word.value)).numpy()
        start, step = word.numpy(), 1e-5
        for row, column in ((4, 0), (4, 3), (10, 2), (0, 5)):
            values = []
            for sign in (1, -1):
                moved = start.copy()
                moved[row, column] += sign * step
                word.assign(moved)
                values.append(float(loss(training)))
            word.assign(start)
            difference = (values[0] - values[1]) / (2 * step)
            assert abs(difference) > 1e-3
            np.testing.assert_allclose(
                gradient[row, column], difference, rtol=1e-6, err_msg=f"{row} {column}"
            )


@pytest.mark.parametrize("group", [False, True])
def test_tied_embeddings_are_saved_once(tmp_path, group):
    model = tied_model(group)
    model.encoder.embeddings.word.assign_add(tf.ones((11, 6)))
    expected = model(TOKENS)
    model.save(tmp_path / "model.keras")
    stored = []
    with zipfile.ZipFile(tmp_path / "model.keras") as archive, archive.open("model.weights.h5") as weights:
        h5py.File(weights).visititems(
            lambda _, item: stored.append(item.shape) if hasattr(item, "shape") else None
        )
    assert stored.count((CONFIG.vocab_size, CONFIG.hidden_size)) == 1
    assert sum(int(np.prod(shape)) for shape in stored) == model.count_params()
    for other in (keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        other.set_weights(model.get_weights())
        for name, tensor in other(TOKENS).items():
            np.testing.assert_array_equal(tensor, expected[name])
        other.encoder.embeddings.word.assign_add(tf.ones((11, 6)))  # its own, which its head follows
        states = np.asarray(other.encoder(TOKENS)["sequence_output"])
        got = other(TOKENS)["words/logits" if group else "logits"]
        np.testing.assert_allclose(
            got, states @ other.encoder.embeddings.word.numpy().T, rtol=1e-5, atol=1e-4
        )
    for name, tensor in model(TOKENS).items():
        np.testing.assert_array_equal(tensor, expected[name])


def test_a_tied_model_is_exported_with_one_matrix(tmp_path):
    model = tied_model()
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    served = exported.serve({name: tf.constant(a) for name, a in TOKENS.items()})
    np.testing.assert_allclose(served["logits"], model(TOKENS)["logits"], atol=1e-5)
    shapes = [
        shape for _, shape in tf.train.list_variables(str(tmp_path / "exported" / "variables" / "variables"))
    ]
    # Keras stores every variable twice there; this one no more often than the others.
    assert shapes.count([CONFIG.vocab_size, CONFIG.hidden_size]) == shapes.count([9, CONFIG.hidden_size])


def test_a_head_is_bound_to_one_encoder():
    model = tied_model()
    TextModel(model.encoder, model.head)
    with pytest.raises(UserError, match="the head head is bound to the word embeddings of another encoder"):
        TextModel(BertEncoder(CONFIG), model.head)
    with pytest.raises(
        UserError, match="the head head is not bound to word embeddings; set binds_embeddings"
    ):
        TiedHead().build({"sequence_output": (None, None, 6)})
