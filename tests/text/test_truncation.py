"""What becomes of long texts: by hand, and against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests import tiny
from tfpipeline.text import Truncation, WordPieceTokenizer
from tfpipeline.text.tokenizer import longest_first

WORDS = [word for word in tiny.VOCABULARY[5:] if word.isalpha()]  # each is one token


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(tiny.VOCABULARY)


def rows(encoded):
    """The tokens of each row, and what was left out of it."""
    found = []
    for ids, mask, types in zip(
        *(encoded[name].numpy() for name in ("input_ids", "attention_mask", "token_type_ids"))
    ):
        assert mask.tolist() == sorted(mask, reverse=True)
        tokens = [tiny.VOCABULARY[token] for token in ids[mask > 0]]
        firsts = tokens.index("[SEP]") + 1
        assert types[: len(tokens)].tolist() == [0] * firsts + [1] * (len(tokens) - firsts)
        found.append(" ".join(tokens))
    return found, encoded["cut"].numpy().tolist()


LONG = "the a is was food film very so and good"  # 10 tokens


def test_head_and_tail_by_hand(tokenizer):
    cut = Truncation(8, "head_tail", tail=0.5)
    encoded = tokenizer([LONG, "bad film", ""], truncation=cut, count=True)
    assert rows(encoded) == (
        ["[CLS] the a is so and good [SEP]", "[CLS] bad film [SEP]", "[CLS] [SEP]"],
        [4, 0, 0],
    )
    # Of 5 tokens that a pair keeps, 2 and 3; of these, the last 1 (1.5 rounds to 2, 1.0 to 1) and 2.
    encoded = tokenizer([LONG, "bad", LONG], [LONG, LONG, "bad"], truncation=cut, count=True)
    assert rows(encoded) == (
        [
            "[CLS] the good [SEP] the and good [SEP]",
            "[CLS] bad [SEP] the a and good [SEP]",
            "[CLS] the a and good [SEP] bad [SEP]",
        ],
        [15, 6, 6],
    )


def test_windows_by_hand(tokenizer):
    # 2 windows of 6 with [CLS] and [SEP]: 4 tokens of text, then 3 more as one is shared.
    cut = Truncation(6, "windows", overlap=0, max_windows=2)
    assert rows(tokenizer([LONG, "bad film"], truncation=cut, count=True)) == (
        ["[CLS] the a is was food film very so [SEP]", "[CLS] bad film [SEP]"],
        [2, 0],
    )
    assert cut.longest(pair=False) == 10
    # Windows of 9, 3 tokens of the first text at most: 2 windows with 3 tokens of the second, 1 shared.
    cut = Truncation(9, "windows", overlap=1, max_windows=2)
    encoded = tokenizer([LONG, "bad", LONG, LONG], [LONG, LONG, "bad film", ""], truncation=cut, count=True)
    assert rows(encoded) == (
        [
            "[CLS] the a is [SEP] the a is was food [SEP]",
            "[CLS] bad [SEP] the a is was food film very so and [SEP]",
            "[CLS] the a is was [SEP] bad film [SEP]",
            "[CLS] the a is was food film [SEP] [SEP]",
        ],
        [7 + 5, 1, 6, 4],
    )


texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=40), min_size=1, max_size=9)


@given(firsts=texts, seconds=texts, pair=st.booleans(), length=st.integers(5, 30), tail=st.floats(0.01, 1))
def test_head_and_tail_equal_plain_python(tokenizer, firsts, seconds, pair, length, tail):
    both = list(zip(firsts, seconds))
    if pair:
        firsts, seconds = ([row[part] for row in both] for part in (0, 1))
        kept = longest_first(
            *(np.array([len(text) for text in part]) for part in (firsts, seconds)), length - 3
        )
        parts = [(firsts, kept[0].numpy()), (seconds, kept[1].numpy())]
    else:
        parts = [(firsts, np.minimum([len(text) for text in firsts], length - 2))]

    def shorten(text, keep):
        end = round(keep * tail)
        return [*text[: keep - end], *text[len(text) - end :]]

    want = []
    for index in range(len(parts[0][0])):
        row = ["[CLS]"]
        for part, keep in parts:
            row += [*shorten(part[index], int(keep[index])), "[SEP]"]
        want.append(" ".join(row))
    strings = [[" ".join(text) for text in part] for part, _ in parts]
    encoded = tokenizer(*strings, truncation=Truncation(length, "head_tail", tail=tail), count=True)
    found, cut = rows(encoded)
    assert found == want
    left = sum(np.array([len(text) for text in part]) - keep for part, keep in parts)
    assert cut == left.tolist()


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=9),
    st.integers(5, 30),
    st.integers(0, 13),
    st.integers(1, 5),
)
def test_windows_hold_what_is_kept_and_no_more_fits(tokenizer, lengths, max_length, overlap, most):
    overlap = min(overlap, (max_length - 3) // 2 - 1)
    cut = Truncation(max_length, "windows", overlap=overlap, max_windows=most)
    single = tokenizer(["the " * first for first, _ in lengths], truncation=cut, count=True)
    held = max_length - 2 + (most - 1) * (max_length - 2 - overlap)
    assert single["cut"].numpy().tolist() == [max(0, first - held) for first, _ in lengths]
    pairs = ["the " * first for first, _ in lengths], ["bad " * second for _, second in lengths]
    encoded = tokenizer(*pairs, truncation=cut, count=True)
    found, left_out = rows(encoded)
    half = (max_length - 3) // 2
    for (first, second), row, left in zip(lengths, found, left_out):
        kept, read = row.count("the"), row.count("bad")
        assert kept + read + left == first + second
        if first + second <= max_length - 3:
            assert left == 0
        elif second <= max_length - 3 - half:  # one window
            assert (kept, read) == (max_length - 3 - second, second)
        else:
            room = max_length - 3 - min(first, half)
            assert kept == min(first, half)
            assert read == min(second, room + (most - 1) * (room - overlap))
        assert kept + read + 3 <= cut.longest(pair=True)


def test_the_head_is_what_it_was(tokenizer):
    strings = [LONG, "bad", "", LONG[5:]]
    for second in (None, strings[::-1]):
        want = tokenizer(strings, second, 8)
        assert list(want) == ["input_ids", "token_type_ids", "attention_mask"]
        for policy in (Truncation(8), Truncation(8, "windows", overlap=0, max_windows=1)):
            found = tokenizer(strings, second, truncation=policy)
            assert list(found) == list(want)
            for name in want if policy.long == "head" or second is None else ():
                np.testing.assert_array_equal(found[name], want[name])


def test_compiled_as_eager_and_one_trace_for_all_policies():
    tokenizer = WordPieceTokenizer(tiny.VOCABULARY)
    policies = [
        Truncation(8),
        Truncation(8, "head_tail"),
        Truncation(10, "head_tail", tail=0.3),
        Truncation(9, "windows", overlap=1),
        Truncation(11, "windows", overlap=2, max_windows=3),
    ]
    for policy in policies:
        for second in (None, [LONG[4:], ""]):
            eager = tokenizer([LONG, "good"], second, truncation=policy, count=True)
            compiled = tf.function(
                lambda *texts, policy=policy: tokenizer(*texts, truncation=policy, count=True)
            )
            found = compiled(*map(tf.constant, [[LONG, "good"], second] if second else [[LONG, "good"]]))
            for name in eager:
                np.testing.assert_array_equal(found[name], eager[name])
    for name in ("_encode", "_encode_pair", "_encode_long_pair"):
        graph = vars(WordPieceTokenizer)[name].bound(tokenizer, offsets=False)
        assert graph.experimental_get_tracing_count() == 1


def test_windows_that_get_nowhere_are_refused():
    with pytest.raises(
        ValueError, match=r"overlap is 5, but windows of 13 tokens \(max_length\) may share less than 5"
    ):
        Truncation(13, "windows", overlap=5)
    assert Truncation(13, "windows", overlap=4).step(2 + 5) == 1
    Truncation(13, "head", overlap=5)  # not used


def test_options_that_are_not_used_change_no_identity():
    assert Truncation(64).identity() == Truncation(64, tail=0.5, pool="max").identity() == 64
    assert Truncation(64, "head_tail").identity() == Truncation(64, "head_tail", overlap=3).identity()
    different = [
        Truncation(64),
        Truncation(64, "head_tail"),
        Truncation(64, "head_tail", tail=0.5),
        Truncation(64, "windows", overlap=8),
        Truncation(64, "windows", overlap=9),
        Truncation(64, "windows", overlap=8, max_windows=2),
        Truncation(64, "windows", overlap=8, pool="max"),
    ]
    assert len({str(policy.identity()) for policy in different}) == len(different)


def test_what_is_said_of_rows_that_are_cut():
    assert Truncation(64).note(0, 841) is None
    assert Truncation(64).note(12, 841) == (
        "12 of 841 rows have more tokens than text.max_length (64) holds: cut to the head"
    )
    assert (
        Truncation(64, "head_tail")
        .note(12, 841)
        .endswith("cut to the head and the tail (0.75 of what is kept)")
    )
    assert (
        Truncation(64, "windows", overlap=8)
        .note(1, 2, pair=True)
        .endswith(
            "windows of text.max_length (64) hold: what lies behind them is cut, and of their first texts what lies behind "
            "30 tokens"
        )
    )
    assert Truncation(64, "windows", overlap=8).note(1, 2, "training rows") == (
        "1 of 2 training rows have more tokens than text.max_windows (8) windows of text.max_length (64) hold: "
        "what lies behind them is cut"
    )


@pytest.mark.parametrize(
    ("most", "windows"), [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 4]), (5, [2, 4, 5]), (8, [2, 4, 8])]
)
def test_widths_hold_two_four_eight_windows(most, windows):
    cut = Truncation(20, "windows", overlap=3, max_windows=most)
    assert cut.widths(pair=False) == [20 + (count - 1) * 15 for count in windows]
    assert cut.widths(pair=True) == [20 + (count - 1) * 14 for count in windows]
    assert Truncation(20).widths(pair=False) == []
