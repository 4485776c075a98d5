from __future__ import annotations

import errno
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import Example, TokenCache, cache
from tfpipeline.errors import UserError


class Encoder:
    """A tokenizer with a known answer: a token a character, 1 before and 2 after each text."""

    def __init__(self):
        self.calls = []

    def __call__(self, texts, text_pair, max_length):
        self.calls.append(len(texts))
        rows = []
        for index, text in enumerate(texts):
            row = [(1, 0), *((ord(character), 0) for character in text), (2, 0)]
            if text_pair is not None:
                row += [*((ord(character), 1) for character in text_pair[index]), (2, 1)]
            rows.append(row[:max_length])
        width = max(map(len, rows))
        batch = {name: np.full((len(rows), width), 9, np.int32) for name in ("input_ids", "token_type_ids")}
        batch["attention_mask"] = np.zeros((len(rows), width), np.int32)
        for index, row in enumerate(rows):
            batch["input_ids"][index, : len(row)] = [token for token, _ in row]
            batch["token_type_ids"][index, : len(row)] = [kind for _, kind in row]
            batch["attention_mask"][index, : len(row)] = 1
        return batch


def build(directory, examples, encode=None, max_length=20, fingerprint="v"):
    return TokenCache.build(
        directory, examples, encode=encode or Encoder(), max_length=max_length, fingerprint=fingerprint
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=13), paired=st.booleans())
def test_batches_hold_what_was_encoded(tmp_path_factory, pairs, paired):
    examples = [Example(text, pair if paired else None) for text, pair in pairs]
    tokens = build(tmp_path_factory.getbasetemp() / "cache", examples)
    assert len(tokens) == len(examples)
    rows = np.arange(len(examples))[::-1]
    batch = tokens.batch(rows, pad_to_multiple=7)
    assert batch["input_ids"].shape[1] in (7, 14, 20)
    for position, row in enumerate(rows):
        example = examples[row]
        alone = Encoder()([example.text], None if example.text_pair is None else [example.text_pair], 20)
        length = tokens.lengths[row]
        assert length == alone["attention_mask"].sum()
        for name, want in alone.items():
            assert batch[name].dtype == np.int32
            assert batch[name][position, :length].tolist() == want[0, :length].tolist()
            assert not batch[name][position, length:].any()


def test_widths_and_sizes(tmp_path):
    tokens = build(tmp_path / "cache", [Example("abc"), Example("abcdefgh"), Example("x" * 100)])
    assert tokens.lengths.tolist() == [5, 10, 20]
    assert tokens.batch(np.array([0]))["input_ids"].shape == (1, 8)
    assert tokens.batch(np.array([0]), pad_to_multiple=1)["input_ids"].shape == (1, 5)
    assert tokens.batch(np.array([0, 2]))["input_ids"].shape == (2, 20)  # never beyond max_length
    assert tokens.batch(np.array([], np.int64))["input_ids"].shape == (0, 0)
    batch = tokens.batch(np.array([1]), width=13, size=3)
    assert batch["attention_mask"].sum(-1).tolist() == [10, 0, 0]
    assert batch["input_ids"].shape == (3, 13)
    with pytest.raises(ValueError, match="do not fit"):
        tokens.batch(np.array([1]), width=9)
    with pytest.raises(ValueError, match="do not fit"):
        tokens.batch(np.array([1, 0]), size=1)


def test_built_once_and_again_when_anything_changes(tmp_path):
    examples = [Example("ab"), Example("c")]
    encode = Encoder()
    for _ in range(2):
        build(tmp_path / "cache", examples, encode)
    assert encode.calls == [2]
    changes = [
        {"examples": [Example("ab"), Example("d")]},
        {"examples": [Example("a"), Example("bc")]},
        {"examples": [Example("ab", ""), Example("c", "")]},
        {"examples": examples[::-1]},
        {"max_length": 19},
        {"fingerprint": "w"},
    ]
    for count, change in enumerate(changes, 2):
        build(tmp_path / "cache", **{"examples": examples, "encode": encode, **change})
        assert len(encode.calls) == count


@pytest.mark.parametrize("name", ["tokens.int32", "types.uint8", "rows.int64", "cache.json"])
def test_a_damaged_cache_is_made_again(tmp_path, name):
    examples, encode = [Example("ab"), Example("c")], Encoder()
    want = build(tmp_path / "cache", examples, encode).batch(np.arange(2))
    (tmp_path / "cache" / name).write_bytes((tmp_path / "cache" / name).read_bytes()[:-1])
    with pytest.raises(UserError, match="not a complete token cache"):
        TokenCache(tmp_path / "cache")
    again = build(tmp_path / "cache", examples, encode).batch(np.arange(2))
    assert encode.calls == [2, 2]
    assert all((again[part] == want[part]).all() for part in want)


def test_nothing_is_left_of_a_build_that_fails(tmp_path):
    def full(texts, text_pair, max_length):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left on device; free some space"):
        build(tmp_path / "cache", [Example("a")], full)
    assert list(tmp_path.iterdir()) == []


def test_no_rows(tmp_path):
    tokens = build(tmp_path / "cache", [])
    assert len(tokens) == 0
    assert tokens.lengths.tolist() == []


def test_texts_are_encoded_in_large_batches_of_like_length(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ENCODE_ROWS", 4)
    monkeypatch.setattr(cache, "ENCODE_CHARACTERS", 100)
    seen = []

    class Watched(Encoder):
        def __call__(self, texts, text_pair, max_length):
            seen.append([len(text) for text in texts])
            return super().__call__(texts, text_pair, max_length)

    tokens = build(
        tmp_path / "cache", [Example("x" * length) for length in (60, 1, 200, 3, 50, 2, 5, 4)], Watched()
    )
    assert seen == [[1, 2, 3, 4], [5, 50], [60], [200]]
    assert tokens.lengths.tolist() == [20, 3, 20, 5, 20, 4, 7, 6]


def test_it_counts_the_rows_that_were_cut(tmp_path):
    examples = [Example("x" * length) for length in (1, 30, 18, 19, 25)]
    assert build(tmp_path / "silent", examples).cut == 0  # the tokenizer does not say

    class Counting(Encoder):
        def __call__(self, texts, text_pair, max_length):
            left_out = np.array([max(0, len(text) + 2 - max_length) for text in texts], np.int32)
            return {**super().__call__(texts, text_pair, max_length), "cut": left_out}

    encode = Counting()
    for _ in range(2):  # counted when it is built, known when it is there
        tokens = build(tmp_path / "cache", examples, encode)
        assert tokens.cut == 3
        assert sorted(tokens.batch(np.arange(2))) == ["attention_mask", "input_ids", "token_type_ids"]
    assert encode.calls == [5]


def test_a_cache_of_an_earlier_format_is_made_again(tmp_path):
    examples, encode = [Example("ab")], Encoder()
    build(tmp_path / "cache", examples, encode)
    path = tmp_path / "cache" / "cache.json"
    card = json.loads(path.read_text("utf-8"))
    path.write_text(
        json.dumps({**{name: card[name] for name in card if name != "cut"}, "format": 1}), "utf-8"
    )
    build(tmp_path / "cache", examples, encode)
    assert encode.calls == [1, 1]
