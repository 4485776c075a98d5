"""Places in texts: what is cut out is what Python cuts out, in each unit."""

from __future__ import annotations

import random

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.test_exactness import FRAGMENTS
from tfpipeline.text import WordPieceTokenizer
from tfpipeline.text.code_points import CodePoints


def check(texts, starts, ends):
    found = CodePoints(tf.constant(texts, tf.string, [len(texts)]))
    spans = [tf.reshape(tf.constant(places, tf.int32), [len(texts), 3]) for places in (starts, ends)]
    cut = found.cut(*spans).numpy()
    utf8 = [found.convert(places, "utf8").numpy() for places in spans]
    utf16 = [found.convert(places, "utf16").numpy() for places in spans]
    assert found.convert(spans[0], "code_points") is spans[0]
    for row, text in enumerate(texts):
        for column, (start, end) in enumerate(zip(*(places[row].numpy() for places in spans))):
            want = text[start:end]
            assert cut[row, column].decode() == want
            assert text.encode()[utf8[0][row, column] : utf8[1][row, column]].decode() == want
            units = text.encode("utf-16-le")
            assert units[2 * utf16[0][row, column] : 2 * utf16[1][row, column]].decode("utf-16-le") == want


@settings(max_examples=100)
@given(
    st.lists(
        st.lists(st.one_of(st.text(max_size=6), st.sampled_from(FRAGMENTS)), max_size=5).map("".join),
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_what_is_cut_out_is_what_python_cuts_out(texts, rng):
    spans = [[sorted(rng.randint(0, len(text)) for _ in range(2)) for _ in range(3)] for text in texts]
    check(
        texts,
        [[start for start, _ in row] for row in spans],
        [[end for _, end in row] for row in spans],
    )


def test_bytes_that_are_not_utf8_count_as_python_counts_them():
    rng = random.Random(0)
    fragments = [fragment.encode() for fragment in FRAGMENTS]
    raw = [
        b"\xff",
        b"a\xffb",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe4\xb8",
        b"\xe4\xb8[MASK]",
        b"",
    ]
    for _ in range(500):
        whole = b"".join(rng.choices(fragments, k=4))
        cut = rng.randrange(len(whole) + 1)
        raw.append(whole[:cut] + rng.randbytes(rng.randint(0, 3)) + whole[cut + rng.randint(0, 2) :])
    found = CodePoints(tf.constant(raw))
    ends = tf.constant([len(text.decode("utf-8", "replace")) for text in raw])
    assert found.cut(tf.zeros_like(ends), ends).numpy().tolist() == raw
    assert found.convert(ends, "utf8").numpy().tolist() == [len(text) for text in raw]
    middle = ends // 2
    halves = zip(found.cut(tf.zeros_like(ends), middle).numpy(), found.cut(middle, ends).numpy())
    for text, half, (left, right) in zip(raw, middle.numpy(), halves):
        assert left + right == text
        assert left.decode("utf-8", "replace") == text.decode("utf-8", "replace")[:half]


def test_no_place_stays_none():
    found = CodePoints(tf.constant(["aé", ""]))
    places = tf.constant([[-1, 2], [-1, 0]])
    for unit, last in (("code_points", 2), ("utf8", 3), ("utf16", 2)):
        assert found.convert(places, unit).numpy().tolist() == [[-1, last], [-1, 0]]
    assert found.cut(tf.constant([-1, -1]), tf.constant([-1, -1])).numpy().tolist() == [b"", b""]
    assert CodePoints(tf.zeros([0], tf.string)).cut(*[tf.zeros([0, 3], tf.int32)] * 2).shape == (0, 3)


def test_a_character_keeps_its_marks():
    texts = ["cafe\u0301s", "e\u0301\u0316", "\u0301a", "❤\ufe0f!", ""]
    found = CodePoints(tf.constant(texts))
    places = tf.constant([[4, 5, 0], [1, 2, 3], [0, 1, 2], [1, 2, 9], [0, 0, -1]])
    want = [[5, 5, 0], [3, 3, 3], [0, 1, 2], [2, 2, 3], [0, 0, -1]]
    assert found.whole(places).numpy().tolist() == want


def test_a_long_text_is_not_copied_for_each_place():
    """Were it, this would take tens of gigabytes."""
    places = tf.range(20_000)[tf.newaxis]
    cut = CodePoints(tf.constant(["é" * 1_000_000])).cut(places, places + 1)
    assert set(cut.numpy()[0].tolist()) == {"é".encode()}


def test_one_long_text_among_many_takes_memory_for_itself_alone():
    """A matrix of texts by the longest one would have ten gigabytes."""
    texts = tf.constant(["é" * 1_000_000, *["è"] * 9_999])
    found = CodePoints(texts)
    assert found.convert(tf.constant([1_000_000, *[1] * 9_999]), "utf8").numpy().tolist()[:2] == [
        2_000_000,
        2,
    ]


def test_offsets_of_one_long_text_among_many(english):
    texts = ["naïve " * 100_000, *["naïve"] * 3_000]
    found = WordPieceTokenizer(english)(texts, max_length=5, offsets=True)["offsets"].numpy()
    assert found[0, 1:4].tolist() == [[0, 5], [6, 11], [12, 17]]
    assert (found[1:, 1] == [0, 5]).all()


def test_pieces_by_hand():
    text = "ab. (c)\u0301é中 \u200b1x"
    offsets = [[[0, 0], [0, 2], [2, 3], [4, 5], [6, 7], [8, 9], [9, 10], [12, 13], [13, 14], [0, 0]]]
    # A letter is left out before ")", none before "é", and 1 before nothing.
    found = CodePoints(tf.constant([text])).pieces(tf.constant(offsets, tf.int32))
    assert found.numpy().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]
