"""Embeddings of texts, against the encoder called on each text alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.models import ClassificationHead, TextModel, Windows, embedding
from tfpipeline.models.heads import last_state
from tfpipeline.text import Truncation, WordPieceTokenizer

TEXTS = [text for text, _ in tiny.texts(9)] + ["", "the", "a " * 60]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("embed") / "checkpoint"))


@pytest.fixture(scope="module")
def model(checkpoint):
    """Its head does not read the pooler, and embeddings do not read the head."""
    tokenizer = WordPieceTokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
    return TextModel(checkpoint.encoder(), ClassificationHead(3), tokenizer=tokenizer)


def alone(model, text, pair=None, length=40):
    """One text's states [T, H] and pooled output [H]."""
    tokens = model.tokenizer([text], None if pair is None else [pair], max_length=length)
    encoded = model.encoder(tokens)
    return np.asarray(encoded["sequence_output"])[0], np.asarray(encoded["pooled_output"])[0]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "pooler"])
def test_each_texts_embedding_is_that_of_the_text_alone(model, monkeypatch, pooling):
    monkeypatch.setattr(embedding, "_PIECE", 5)  # pieces, batches and texts do not come out even
    found = model.embed(TEXTS, pooling=pooling, batch_size=3)
    assert found.shape == (12, 16)
    assert found.dtype == np.float32
    for row, text in zip(found, TEXTS):
        states, pooled = alone(model, text)
        want = {"mean": states.mean(axis=0), "cls": states[0], "last": states[-1], "pooler": pooled}[pooling]
        np.testing.assert_allclose(row, want, atol=2e-5)
    assert np.linalg.norm(found[0] - found[1]) > 0.1


def test_texts_are_sorted_by_length(model, monkeypatch):
    """No batch is wider than its longest text, and texts of one length share one."""
    widths = []
    original = embedding._compiled
    monkeypatch.setattr(
        embedding,
        "_compiled",
        lambda *how: lambda batch: widths.append(batch["input_ids"].shape) or original(*how)(batch),
    )
    model.embed(["a", "a a a", "a", "a a a a", "a a", "a"], batch_size=2)
    assert widths == [(2, 6), (2, 4), (2, 3)]


def test_normalized_pairs_and_cut_texts(model):
    found = model.embed(["the good film", "so"], ["a", "very bad"], normalize=True)
    for row, pair in zip(found, [("the good film", "a"), ("so", "very bad")]):
        mean = alone(model, *pair)[0].mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)
    want = alone(model, TEXTS[0], length=4)[0].mean(axis=0)
    np.testing.assert_allclose(model.embed(TEXTS[:1], max_length=4)[0], want, atol=2e-5)
    model.truncation = Truncation(4)
    try:
        np.testing.assert_allclose(model.embed(TEXTS[:1])[0], want, atol=2e-5)
    finally:
        model.truncation = None
    assert model.embed([]).shape == (0, 16)


def test_a_text_in_windows(model, checkpoint):
    """Every token counts once, from the window that has most around it."""
    cut = Truncation(8, "windows", overlap=2, max_windows=4)
    whole = TextModel(model.encoder, None, Windows(cut), model.tokenizer, cut)
    # ten tokens with [CLS] and [SEP]: two windows, of tokens 1 to 6 and 3 to 8
    text = "the good film is a very bad food"
    ids = model.tokenizer([text])["input_ids"].numpy()[0]
    windows = np.array([[*ids[:7], ids[-1]], [ids[0], *ids[3:]]])
    states = np.asarray(model.encoder({"input_ids": windows})["sequence_output"])
    # [CLS], 1 to 4 and [SEP] from the first window, 5 to 8 from the second, where 3 to 8 stand at 1 to 6.
    want = np.concatenate([states[0, :5], states[1, 3:7], states[0, 7:]])
    np.testing.assert_allclose(whole.embed([text])[0], want.mean(axis=0), atol=2e-5)
    np.testing.assert_allclose(whole.embed([text], pooling="cls")[0], states[0, 0], atol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["good food"], "texts is one string; embed takes a list of texts: ['good food']"),
        ([None], "texts is NoneType; embed takes a list of texts"),
        ([{"text": ["a"]}], "texts is dict; embed takes a list of texts, of a table one column"),
        (
            [["a", "b\ud800"]],
            "texts[1] holds the lone surrogate U+D800, which is no character; read the text with the right "
            "encoding",
        ),
        ([["good", None]], "texts[1] is None (NoneType), not a text"),
        ([["a"], ["b", "c"]], "embed got 1 texts and 2 in text_pair; each text needs one"),
        ([["a"], None, {"pooling": "max"}], "pooling is 'max'; known: mean, cls, last, pooler"),
        ([["a"], None, {"batch_size": 0}], "batch_size is 0; it must be a whole number of at least 1"),
        ([["a"], None, {"max_length": 1}], "max_length is 1; it must be a whole number of at least 2"),
        ([["a"], None, {"max_length": 41}], "max_length is 41, but the model has only 40 positions"),
    ],
)
def test_what_cannot_be(model, arguments, sentence):
    texts, pair, options = [*arguments, None, None][:3]
    with pytest.raises(UserError) as caught:
        model.embed(texts, pair, **(options or {}))
    assert str(caught.value) == sentence


def test_numbers_of_numpy(model):
    texts = ["good food", "a very bad film"]
    found = model.embed(texts, max_length=np.int32(4), batch_size=np.int64(1))
    np.testing.assert_array_equal(found, model.embed(texts, max_length=4, batch_size=1))


def test_models_that_cannot_embed(checkpoint, tmp_path):
    with pytest.raises(
        UserError, match=r"this model has no tokenizer; load it with tfpipeline.load, or give"
    ):
        TextModel(checkpoint.encoder()).embed(["a"])
    bare = checkpoints.load(tiny.write_checkpoint(tmp_path / "bare", pooler=False))
    tokenizer = WordPieceTokenizer(bare.vocabulary, bare.tokenizer)
    with pytest.raises(
        UserError, match="pooling is pooler, but the checkpoint has no pooler; choose mean, cls or last"
    ):
        TextModel(bare.encoder(), tokenizer=tokenizer).embed(["a"], pooling="pooler")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_last_state_by_hand(dtype):
    """Of three, two and no tokens; and what its gradient reaches."""
    states = tf.cast(np.arange(3 * 4 * 2).reshape(3, 4, 2), dtype)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.int32)
    with tf.GradientTape() as tape:
        tape.watch(states)
        last = last_state(states, mask)
    assert last.dtype == states.dtype
    np.testing.assert_array_equal(tf.cast(last, "float32"), [[4, 5], [10, 11], [16, 17]])
    gradient = tf.convert_to_tensor(tape.gradient(last, states))
    assert np.argwhere(tf.reduce_sum(tf.cast(gradient, "float32"), -1)).tolist() == [[0, 2], [1, 1], [2, 0]]
