"""What becomes of long texts: by hand, and against plain Python."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests import tiny
from tfpipeline.text import Truncation, WordPieceTokenizer
from tfpipeline.text.packing import longest_first

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


@pytest.mark.parametrize(
    ("long", "kept"),
    [
        (Truncation(12, text_limits=(4, 3)), "[CLS] the a is was [SEP]"),
        (Truncation(12, "head_tail", tail=0.5, text_limits=(4, 3)), "[CLS] the a and good [SEP]"),
        (Truncation(12, "head_tail", tail=1.0, text_limits=(4, 3)), "[CLS] very so and good [SEP]"),
    ],
    ids=["head", "head_tail", "tail"],
)
def test_a_source_and_a_target_have_limits_of_their_own(tokenizer, long, kept):
    """A source loses what ``long`` says and a target its end; what one leaves, the other does not get."""
    encoded = tokenizer([LONG, "bad", LONG, "bad"], ["x", LONG, LONG, ""], truncation=long, count=True)
    assert rows(encoded) == (
        [
            f"{kept} x [SEP]",
            "[CLS] bad [SEP] the a is [SEP]",
            f"{kept} the a is [SEP]",
            "[CLS] bad [SEP] [SEP]",
        ],
        [6, 7, 13, 0],
    )
    assert encoded["cut_pair"].numpy().tolist() == [0, 7, 7, 0]
    assert rows(tokenizer([LONG, "bad"], truncation=long, count=True))[0] == [kept, "[CLS] bad [SEP]"]
    assert (long.longest(pair=True), long.longest(pair=False), long.text_tokens(pair=True)) == (10, 6, 7)
    assert Truncation.from_config(json.loads(json.dumps(long.get_config()))) == long


def test_many_truncated_targets_are_a_warning():
    cut = Truncation(12, text_limits=(4, 3))
    assert cut.note(0, 100, "training rows", cut_texts=(0, 0)) is None
    assert cut.note(3, 100, "training rows", cut_texts=(3, 1)) == (
        "of 100 training rows, 3 sources have more than 4 tokens (max_source_length) and lost their end and "
        "1 target has more than 3 tokens (max_target_length) and lost its end"
    )
    dialogues = Truncation(12, "head_tail", tail=1.0, text_limits=(4, 3))
    assert dialogues.note(2, 100, cut_texts=(1, 2)) == (
        "warning: of 100 rows, 1 source has more than 4 tokens (max_source_length) and lost its start and "
        "2 targets have more than 3 tokens (max_target_length) and lost their end; raise "
        "task.max_target_length, or the model learns to break off"
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


def test_a_bounded_first_text_by_hand(tokenizer):
    # Windows of 9, 1 token of the first text: 2 windows with 5 tokens of the second, 3 shared.
    cut = Truncation(9, "windows", overlap=3, max_windows=2, max_first_text=1)
    encoded = tokenizer(
        [LONG, "bad", "a is", LONG], [LONG, LONG, "bad film so", ""], truncation=cut, count=True
    )
    assert rows(encoded) == (
        [
            "[CLS] the [SEP] the a is was food film very [SEP]",
            "[CLS] bad [SEP] the a is was food film very [SEP]",
            "[CLS] a is [SEP] bad film so [SEP]",  # one window: there the first text is not bounded
            "[CLS] the a is was food film [SEP] [SEP]",
        ],
        [9 + 3, 3, 0, 4],
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
    st.none() | st.integers(1, 13),
)
def test_windows_hold_what_is_kept_and_no_more_fits(tokenizer, lengths, max_length, overlap, most, bound):
    half = (max_length - 3) // 2
    bound = bound if bound is None else min(bound, half)
    first_most = half if bound is None else bound
    overlap = min(overlap, max_length - 3 - first_most - 1)
    cut = Truncation(max_length, "windows", overlap=overlap, max_windows=most, max_first_text=bound)
    single = tokenizer(["the " * first for first, _ in lengths], truncation=cut, count=True)
    held = max_length - 2 + (most - 1) * (max_length - 2 - overlap)
    assert single["cut"].numpy().tolist() == [max(0, first - held) for first, _ in lengths]
    pairs = ["the " * first for first, _ in lengths], ["bad " * second for _, second in lengths]
    encoded = tokenizer(*pairs, truncation=cut, count=True)
    found, left_out = rows(encoded)
    for (first, second), row, left in zip(lengths, found, left_out):
        kept, read = row.count("the"), row.count("bad")
        assert kept + read + left == first + second
        if first + second <= max_length - 3:
            assert left == 0
        elif second <= max_length - 3 - first_most:  # one window
            assert (kept, read) == (max_length - 3 - second, second)
        else:
            room = max_length - 3 - min(first, first_most)
            assert kept == min(first, first_most)
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
        Truncation(10, "head_tail", tail=0.3),
        Truncation(9, "windows", overlap=1),
        Truncation(11, "windows", overlap=4, max_windows=3, max_first_text=1),
    ]
    pair = [LONG[4:], ""]
    for policy, seconds in zip(policies, [[None], [None, pair], [None, pair], [pair]]):
        for second in seconds:
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
    def refused(pair, *options, **more):
        with pytest.raises(ValueError) as caught:
            Truncation(*options, **more).check(pair)
        return str(caught.value)

    assert refused(True, 13, "windows", overlap=5) == (
        "overlap is 5, but windows of 13 tokens (max_length) may share less than 5 behind a first text of 5; "
        "lower overlap, set max_first_text or raise max_length"
    )
    assert refused(True, 13, "windows", overlap=8, max_first_text=2) == (
        "overlap is 8, but windows of 13 tokens (max_length) may share less than 8 behind a first text of 2; "
        "lower overlap or max_first_text, or raise max_length"
    )
    assert refused(False, 13, "windows", overlap=11) == (
        "overlap is 11, but windows of 13 tokens (max_length) may share less than 11; lower overlap or raise max_length"
    )
    assert refused(True, 13, "windows", overlap=0, max_first_text=6) == (
        "max_first_text is 6, but of windows of 13 tokens (max_length) a first text may take 5 at most, half of what "
        "fits; lower max_first_text or raise max_length"
    )
    with pytest.raises(ValueError, match="overlap is 5"):
        WordPieceTokenizer(tiny.VOCABULARY)(["a"], ["b"], truncation=Truncation(13, "windows", overlap=5))


def test_the_largest_overlaps_are_taken():
    """One more is refused above; what is not used is not looked at."""
    for pair, prefix, options in (
        (True, 2 + 5, {"overlap": 4}),
        (True, 2 + 2, {"overlap": 7, "max_first_text": 2}),
        (False, 1, {"overlap": 10}),
        (False, 1, {"overlap": 10, "max_first_text": 6}),
    ):
        cut = Truncation(13, "windows", **options)
        cut.check(pair)
        assert cut.prefix(pair)[1] == prefix
        assert cut.step(prefix) == 1
    Truncation(13, "head", overlap=50, max_first_text=50).check(pair=True)


def test_options_that_are_not_used_change_no_identity():
    assert Truncation(64).identity() == Truncation(64, tail=0.5, pool="max").identity() == 64
    assert Truncation(64, "head_tail").identity() == Truncation(64, "head_tail", overlap=3).identity()
    assert Truncation(64, max_first_text=9).identity() == 64
    # As it was before a first text could be bounded: what was exported stays the same model.
    assert Truncation(64, "windows", overlap=8).identity() == {
        "max_length": 64, "long": "windows", "overlap": 8, "max_windows": 8, "pool": "mean"
    }  # fmt: skip
    different = [
        Truncation(64),
        Truncation(64, "head_tail"),
        Truncation(64, "head_tail", tail=0.5),
        Truncation(64, "windows", overlap=8),
        Truncation(64, "windows", overlap=9),
        Truncation(64, "windows", overlap=8, max_windows=2),
        Truncation(64, "windows", overlap=8, pool="max"),
        Truncation(64, "windows", overlap=8, max_first_text=9),
        Truncation(64, "windows", overlap=8, max_first_text=10),
        Truncation(64, text_limits=(50, 11)),
        Truncation(64, text_limits=(51, 10)),
        Truncation(64, "head_tail", text_limits=(51, 10)),
    ]
    assert len({str(policy.identity()) for policy in different}) == len(different)


def test_what_is_said_of_rows_that_are_cut():
    assert Truncation(64).note(0, 841) is None
    assert Truncation(64).note(12, 841) == (
        "12 of 841 rows exceed text.max_length (64) and were truncated (text.long: head)"
    )
    assert (
        Truncation(64, "head_tail")
        .note(12, 841)
        .endswith("(text.long: head_tail, 0.75 of the tokens from the end)")
    )
    assert (
        Truncation(64, "windows", overlap=8)
        .note(1, 2, pair=True)
        .endswith(
            "exceeds 8 windows (text.max_windows) of text.max_length (64) and was truncated (text.long: windows; first texts "
            "keep at most 30 tokens)"
        )
    )
    bounded = Truncation(64, "windows", overlap=8, max_first_text=9)
    assert bounded.note(1, 2, pair=True).endswith("; first texts keep at most 9 tokens)")
    assert Truncation(64, "windows", overlap=8).note(1, 2, "training rows") == (
        "1 of 2 training rows exceeds 8 windows (text.max_windows) of text.max_length (64) and was truncated "
        "(text.long: windows)"
    )


@pytest.mark.parametrize(
    ("most", "windows"), [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 4]), (5, [2, 4, 5]), (8, [2, 4, 8])]
)
def test_widths_hold_two_four_eight_windows(most, windows):
    cut = Truncation(20, "windows", overlap=3, max_windows=most)
    assert cut.widths(pair=False) == [20 + (count - 1) * 15 for count in windows]
    assert cut.widths(pair=True) == [20 + (count - 1) * 14 for count in windows]
    assert Truncation(20).widths(pair=False) == []


# Where tokens come from.

PARTS = {"[CLS]", "[SEP]", "[PAD]"}
SPELLED = [*WORDS, "badly", "Goodlyly", "VERY", "bádly", ",", "!", "qqq", "[MASK]"]
GAPS = [" ", "  ", "\t\u3000 "]


def in_python(text):
    """(token, start, end, begins a word) of a text's tokens, by the rules and the vocabulary alone."""
    found = []
    for match in re.finditer(r"\[MASK\]|[^\W_]+|[^\w\s]", text):
        start, (word, last) = match.start(), (match.group(), match.end())
        if word != "[MASK]":
            word = word.lower().replace("á", "a")
        stem = word
        while stem.endswith("ly") and stem not in tiny.VOCABULARY:
            stem = stem[:-2]
        if stem not in tiny.VOCABULARY:
            found.append(("[UNK]", start, last, 1))
            continue
        found.append((stem, start, start + len(stem), 1))
        for place in range(start + len(stem), last, 2):
            found.append(("##ly", place, place + 2, 0))
    return found


def kept_of(tokens, keep, tail):
    """What is kept of a text: its head, and of head_tail its tail, which begins with a word."""
    end = round(keep * tail) if keep < len(tokens) else 0
    head, rest = tokens[: keep - end], tokens[len(tokens) - end :]
    return head + ([(*rest[0][:3], 1), *rest[1:]] if rest else [])


def row_of(parts):
    """(token, type, start, end, begins a word) of [CLS], of each text and its [SEP]."""
    row = [("[CLS]", 0, 0, 0, 0)]
    for number, part in enumerate(parts):
        row += [(token, number, *place) for token, *place in part]
        row.append(("[SEP]", number, 0, 0, 0))
    return row


def found_rows(encoded):
    """The same of each row of a batch; what is padding is zero everywhere."""
    arrays = {name: tensor.numpy() for name, tensor in encoded.items()}
    size, width = arrays["input_ids"].shape
    assert arrays["offsets"].shape == (size, width, 2)
    assert arrays["word_starts"].shape == (size, width)
    assert {arrays[name].dtype for name in arrays} == {np.dtype(np.int32)}
    found = []
    for row in range(size):
        real = arrays["attention_mask"][row] > 0
        for name in ("token_type_ids", "offsets", "word_starts"):
            assert not arrays[name][row][~real].any(), name
        columns = (arrays["input_ids"], arrays["token_type_ids"], arrays["offsets"], arrays["word_starts"])
        found.append(
            [
                (tiny.VOCABULARY[token], kind, *place, begins)
                for token, kind, place, begins in zip(*(column[row][real].tolist() for column in columns))
            ]
        )
    return found


def places(encoded, row=0):
    """A row's tokens as "token start-end", a word's beginning marked by *; special ones without."""
    return " ".join(
        token if token in PARTS else f"{'*' * begins}{token} {start}-{end}"
        for token, _, start, end, begins in found_rows(encoded)[row]
    )


def test_places_by_hand(tokenizer):
    text = "A badly good,film"  # a bad ##ly good , film
    whole = "*a 0-1 *bad 2-5 ##ly 5-7 *good 8-12 *, 12-13 *film 13-17"

    def cut(*texts, **options):
        return places(tokenizer(*([text] for text in texts), truncation=Truncation(**options), offsets=True))

    assert cut(text, max_length=8) == f"[CLS] {whole} [SEP]"
    assert cut(text, max_length=4) == "[CLS] *a 0-1 *bad 2-5 [SEP]"
    assert cut(text, max_length=3) == "[CLS] *a 0-1 [SEP]"
    # Behind what is left out the rest of a word begins one; its places are those of the whole text.
    tail = {"long": "head_tail", "tail": 1.0}
    assert cut(text, max_length=6, **tail) == "[CLS] *##ly 5-7 *good 8-12 *, 12-13 *film 13-17 [SEP]"
    assert cut("badlyly", max_length=4, long="head_tail", tail=0.5) == "[CLS] *bad 0-3 *##ly 5-7 [SEP]"
    assert cut("badlyly", max_length=4, **tail) == "[CLS] *##ly 3-5 ##ly 5-7 [SEP]"
    assert cut("badlyly", max_length=3, **tail) == "[CLS] *##ly 5-7 [SEP]"
    assert cut("badlyly", max_length=5, **tail) == "[CLS] *bad 0-3 ##ly 3-5 ##ly 5-7 [SEP]"  # not cut
    # 1 of 2 and 2 of 3 tokens: each text counts its own places.
    assert (
        cut("badlyly", text, max_length=8, long="head_tail", tail=0.5)
        == "[CLS] *bad 0-3 *##ly 5-7 [SEP] *a 0-1 *, 12-13 *film 13-17 [SEP]"
    )
    assert cut(text, "badly", max_length=3) == "[CLS] [SEP] [SEP]"
    assert cut("", text, max_length=4, **tail) == "[CLS] [SEP] *film 13-17 [SEP]"
    assert cut(f"{text} so", max_length=5, long="windows", overlap=0, max_windows=2) == f"[CLS] {whole} [SEP]"


spelled = st.lists(
    st.lists(st.tuples(st.sampled_from(SPELLED), st.sampled_from(GAPS)), max_size=12).map(
        lambda words: "".join(gap + word for word, gap in words)
    ),
    min_size=1,
    max_size=6,
)


@given(
    firsts=spelled,
    seconds=spelled,
    pair=st.booleans(),
    length=st.integers(3, 30),
    policy=st.sampled_from(["head", "head_tail", "windows"]),
    tail=st.floats(0.01, 1),
    overlap=st.integers(0, 13),
    most=st.integers(1, 5),
)
def test_places_equal_plain_python(tokenizer, firsts, seconds, pair, length, policy, tail, overlap, most):
    if policy == "windows":
        length = max(length, 5)
        overlap = min(overlap, (length - 3) // 2 - 1)
    cut = Truncation(length, policy, tail=tail, overlap=overlap, max_windows=most)
    both = list(zip(firsts, seconds))
    texts = [list(part) for part in zip(*both)] if pair else [firsts]
    encoded = tokenizer(*texts, truncation=cut, count=True, offsets=True)
    plain = tokenizer(*texts, truncation=cut, count=True)
    assert list(encoded) == [*plain, "offsets", "word_starts"]
    for name, want in plain.items():
        np.testing.assert_array_equal(encoded[name], want)
    left_out = encoded.pop("cut").numpy()
    parts = [[in_python(text) for text in part] for part in texts]
    sizes = [np.array([len(tokens) for tokens in part]) for part in parts]
    if policy == "windows":  # how much of each is another test's
        keep = [
            np.array(
                [
                    sum(kind == number and token != "[SEP]" for token, kind, *_ in row[1:])
                    for row in found_rows(encoded)
                ]
            )
            for number in range(len(parts))
        ]
    elif pair:
        keep = [kept.numpy() for kept in longest_first(*sizes, length - 3)]
    else:
        keep = [np.minimum(sizes[0], length - 2)]
    assert left_out.tolist() == (sum(sizes) - sum(keep)).tolist()
    share = tail if policy == "head_tail" else 0.0
    want = [
        row_of([kept_of(part[row], int(kept[row]), share) for part, kept in zip(parts, keep)])
        for row in range(len(texts[0]))
    ]
    assert found_rows(encoded) == want


@pytest.mark.parametrize("pair", [False, True])
def test_no_texts_have_no_places(tokenizer, pair):
    none = tf.constant([], tf.string)
    for cut in (Truncation(8), Truncation(8, "head_tail"), Truncation(8, "windows", overlap=0)):
        encoded = tokenizer(none, none if pair else None, truncation=cut, offsets=True)
        assert encoded["offsets"].shape == (0, 2 + pair, 2)
        assert encoded["word_starts"].shape == (0, 2 + pair)
    for strings in ([""], ["  ", ""], ["\u200b\u0000"]):
        encoded = tokenizer(strings, strings if pair else None, offsets=True)
        assert encoded["offsets"].shape == (len(strings), 2 + pair, 2)
        assert not np.any(encoded["offsets"])
        assert not np.any(encoded["word_starts"])


def test_places_in_a_graph_and_one_trace_for_all_policies():
    tokenizer = WordPieceTokenizer(tiny.VOCABULARY)
    policies = [
        Truncation(10, "head_tail", tail=0.3),
        Truncation(9, "windows", overlap=1),
    ]
    first, second = ["Badly bádlyly,good " * 4, "é", ""], ["film \u00a0 badly! " * 5, "", "goodly"]
    for policy in policies:
        for texts in ([first], [first, second]):
            eager = tokenizer(*texts, truncation=policy, offsets=True)
            compiled = tf.function(
                lambda *texts, policy=policy: tokenizer(*texts, truncation=policy, offsets=True),
                input_signature=[tf.TensorSpec([None], tf.string)] * len(texts),
            )
            found = compiled(*map(tf.constant, texts))
            assert list(found) == list(eager)
            for name in eager:
                np.testing.assert_array_equal(found[name], eager[name])
                assert found[name].dtype == tf.int32
            for tensor in compiled.get_concrete_function().structured_outputs.values():
                assert tensor.shape.rank in (2, 3)  # known before, for servers
    for name in ("_encode", "_encode_pair", "_encode_long_pair"):
        method = vars(WordPieceTokenizer)[name]
        assert method.bound(tokenizer, offsets=True).experimental_get_tracing_count() == 1
        assert method.bound(tokenizer, offsets=False).experimental_get_tracing_count() == 0
