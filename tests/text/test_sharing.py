"""One tokenizer for all who ask for the same one."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tests import tiny
from tfpipeline.text import AddedToken, TokenizerOptions
from tfpipeline.text.sharing import shared_tokenizer

TEXTS = ["The food <x>", "badly"]


def test_the_same_is_built_once_and_another_is_another():
    options = TokenizerOptions(special_tokens=("very",))
    first = shared_tokenizer(tiny.VOCABULARY, options)
    assert shared_tokenizer(tuple(tiny.VOCABULARY), dataclasses.replace(options)) is first
    assert (first.vocabulary, first.options) == (tuple(tiny.VOCABULARY), options)
    for vocabulary, other in (
        ([*tiny.VOCABULARY, "<x>"], options),
        (tiny.VOCABULARY, TokenizerOptions(special_tokens=("very",), lowercase=False)),
        ([*tiny.VOCABULARY, "<x>"], TokenizerOptions(added_tokens=(AddedToken("<x>"),))),
    ):
        found = shared_tokenizer(vocabulary, other)
        assert found is not first
        assert (found.vocabulary, found.options) == (tuple(vocabulary), other)


def test_it_outlives_the_graph_that_asked_first():
    options = TokenizerOptions(special_tokens=("film",))

    @tf.function
    def first_asked():
        return shared_tokenizer(tiny.VOCABULARY, options)(tf.constant(TEXTS), max_length=8)["input_ids"]

    assert (
        first_asked().numpy().tolist()
        == shared_tokenizer(tiny.VOCABULARY, options)(TEXTS, max_length=8)["input_ids"].numpy().tolist()
    )
