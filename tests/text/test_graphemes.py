"""Characters as readers see them, for NumPy and in the graph, beside another implementation of UAX #29."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.characters import edges, end_of, first_of
from tfpipeline.text.code_points import CodePoints
from tfpipeline.text.graphemes import GraphemeClass, character_starts, grapheme_edges

SURROGATES = range(0xD800, 0xE000)


def of_each_class():
    """The first and the last code point of every run of a class."""
    starts, kinds = (array.tolist() for array in grapheme_edges())
    found = {kind: [] for kind in GraphemeClass}
    for start, end, kind in zip(starts, [*starts[1:], 0x110000], kinds):
        found[GraphemeClass(kind)] += [chr(one) for one in {start, end - 1} if one not in SURROGATES]
    return found


CLASSES = of_each_class()
TEXTS = st.lists(
    st.sampled_from(GraphemeClass).flatmap(lambda kind: st.sampled_from(CLASSES[kind])), max_size=9
).map("".join)


def same(text):
    assert np.flatnonzero(character_starts(text)).tolist() == edges(text), ascii(text)


@pytest.mark.parametrize("kind", GraphemeClass, ids=lambda kind: kind.name)
def test_each_class_beside_all_others(kind):
    """Every run of code points of one class, with this class before and behind."""
    mark = CLASSES[kind][-1]
    every = [one for others in CLASSES.values() for one in others]
    same("".join(f"{mark}{one}{mark}\n" for one in every))


def test_every_code_point_with_a_mark():
    """What a letter is joined by: itself and the mark behind it."""
    same("".join(f"a{chr(point)}\u0301" for point in range(0x300, 0x30000) if point not in SURROGATES))


@settings(max_examples=400)
@given(TEXTS)
def test_texts(text):
    same(text)


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("#\ufe0f\u20e3a", ["#\ufe0f\u20e3", "a"]),
        ("a\u1df6b\u1df7c\U00016fe4", ["a\u1df6", "b\u1df7", "c\U00016fe4"]),
        ("cafe\u0301 \u0301a", ["c", "a", "f", "e\u0301", " ", "\u0301", "a"]),
        ("🇩🇪🇫🇷🇮", ["🇩🇪", "🇫🇷", "🇮"]),
        ("👩\u200d👩\u200d👧👍🏽a\u200d👧", ["👩\u200d👩\u200d👧", "👍🏽", "a\u200d", "👧"]),
        ("👩\u200d\u200d👧", ["👩\u200d\u200d", "👧"]),
        ("\u1112\u1161\u11ab한국", ["\u1112\u1161\u11ab", "한", "국"]),
        ("क्षिa", ["क्षि", "a"]),
        ("\u06001 \u0600 1", ["\u06001", " ", "\u0600", " ", "1"]),
        ("a\r\n\u0301b", ["a", "\r", "\n", "\u0301", "b"]),
        ("", []),
    ],
)
def test_by_hand(text, characters):
    starts = np.flatnonzero(character_starts(text)).tolist()
    assert [text[start:end] for start, end in zip(starts, starts[1:])] == characters


@settings(max_examples=100)
@given(st.lists(TEXTS, max_size=5))
def test_places_in_the_graph(texts):
    """No place leaves its text; what is outside of it is its edge, and none stays none."""
    places = np.tile(np.arange(-1, 12, dtype=np.int32), (len(texts), 1))
    found = CodePoints(tf.constant(texts, tf.string, [len(texts)]))
    first, whole = found.first(tf.constant(places)).numpy(), found.whole(tf.constant(places)).numpy()
    assert first.shape == whole.shape == places.shape
    for row, text in enumerate(texts):
        inside = [min(place, len(text)) for place in range(12)]
        assert first[row].tolist() == [-1, *(first_of(text, place) for place in inside)]
        assert whole[row].tolist() == [-1, *(end_of(text, place) for place in inside)]
