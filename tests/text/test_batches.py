"""Padded batches: special tokens, truncation and padding as transformers does them, eager and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.text.conftest import reference_tokenizer
from tfpipeline.text import TokenizerOptions, WordPieceTokenizer

TEXTS = [
    "",
    "A short one.",
    "unaffable " * 9,
    "naïve 中国 [MASK] text",
    "x",
    "one two three four five six seven",
    "!?",
]
PAIRS = ["yes", "", "no " * 3, "it is " * 12, "", "seven six five four three two one", "[SEP]"]


@pytest.fixture(scope="module")
def tokenizer(english):
    return WordPieceTokenizer(english, TokenizerOptions())


@pytest.fixture(scope="module")
def reference(english):
    return reference_tokenizer(english, TokenizerOptions())


def check(got, want):
    assert set(got) == {"input_ids", "token_type_ids", "attention_mask"}
    for name, tensor in got.items():
        assert tensor.dtype == tf.int32
        np.testing.assert_array_equal(tensor, want[name], err_msg=name)


@pytest.mark.parametrize("max_length", [2, 3, 4, 7, 12, 13, 128])
def test_single_texts(tokenizer, reference, max_length):
    want = reference(TEXTS, truncation=True, max_length=max_length, padding=True, return_tensors="np")
    check(tokenizer(TEXTS, max_length=max_length), want)
    check(tf.function(lambda texts: tokenizer(texts, max_length=max_length))(tf.constant(TEXTS)), want)


@pytest.mark.parametrize("max_length", [3, 4, 5, 8, 11, 16, 17, 18, 128])
def test_pairs(tokenizer, reference, max_length):
    want = reference(TEXTS, PAIRS, truncation=True, max_length=max_length, padding=True, return_tensors="np")
    check(tokenizer(TEXTS, PAIRS, max_length), want)
    check(tf.function(lambda a, b: tokenizer(a, b, max_length))(tf.constant(TEXTS), tf.constant(PAIRS)), want)


def test_pairs_of_all_lengths(tokenizer, reference):
    lengths = [(a, b) for a in range(9) for b in range(9)]
    first, second = (["x " * pair[i] for pair in lengths] for i in (0, 1))
    for max_length in range(3, 20):
        want = reference(
            first, second, truncation=True, max_length=max_length, padding=True, return_tensors="np"
        )
        check(tokenizer(first, second, max_length), want)


def test_no_texts(tokenizer):
    assert tokenizer.tokenize(tf.constant([], tf.string)).to_list() == []
    assert all(value.shape == (0, 2) for value in tokenizer(tf.constant([], tf.string)).values())
    nothing = tf.constant([], tf.string)
    assert all(value.shape == (0, 3) for value in tokenizer(nothing, nothing).values())


def test_ragged_ids(tokenizer):
    ragged = tokenizer.tokenize(tf.constant(["hello world", "", "hello"]))
    assert ragged.dtype == tf.int32
    assert ragged.shape.as_list() == [3, None]
    assert ragged.to_list() == [[7592, 2088], [], [7592]]


def test_one_trace_serves_all_sizes(tokenizer, english):
    fresh = WordPieceTokenizer(english[:2000], TokenizerOptions())
    for size in (1, 2, 13):
        fresh(["a"] * size, max_length=size + 2)
        fresh(["a"] * size, max_length=size + 2, offsets=True)
        fresh.tokenize(["a"] * size)
    for name, offsets in (("_encode", False), ("_encode", True), ("_tokenize", False)):
        graph = vars(WordPieceTokenizer)[name].bound(fresh, offsets=offsets)
        assert graph.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(("pair", "max_length"), [(None, 1), (["b"], 2), (None, -1)])
def test_no_room_for_special_tokens(tokenizer, pair, max_length):
    with pytest.raises(ValueError, match=f"max_length is {max_length}; "):
        tokenizer(["a"], pair, max_length)


def test_max_length_is_an_integer(tokenizer):
    with pytest.raises(TypeError, match="float"):
        tokenizer(["a"], max_length=8.5)
    for three in (np.int64(3), tf.constant(3)):
        assert tokenizer(["a b c"], max_length=three)["input_ids"].numpy().tolist() == [[101, 1037, 102]]


def test_a_long_word_is_no_quadratic_work(tokenizer):
    """A megabyte without a space is one unknown word, not a million places to search from."""
    texts = ["a" * 1_000_000, "é" * 500_000, "b"]
    assert tokenizer.tokenize(texts).to_list() == [[100], [100], [1038]]
