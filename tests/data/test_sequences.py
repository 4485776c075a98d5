"""Rows whose texts are encoded separately: sequences of their own lengths in one cache."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_cache import Offsets
from tfpipeline.data import Example, TokenCache, epoch_batches
from tfpipeline.data.text_names import joined, of_text, texts_of
from tfpipeline.errors import UserError
from tfpipeline.models.inputs import INPUTS, by_text

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


class Separate(Offsets):
    """Encodes each text by itself, and counts."""

    def __call__(self, texts, max_length):
        encoded = {}
        for name, rows in texts.items():
            own = super().__call__({"text": rows}, max_length)
            own["cut"] = np.array([max(0, len(text) + 2 - max_length) for text in rows])
            own["unknown"] = np.array([text.count("?") for text in rows])
            encoded |= of_text(name, own)
        return encoded


def align(examples, encoded):
    """A target of each token of either text, and one with a slash in its name."""
    first, second = encoded["input_ids"], encoded["text_pair/input_ids"]
    assert len(first) == len(second) == len(examples)
    return {"tags": first * 2, "head/tags": first * 3, "text_pair/tags": second * 5}


def build(directory, examples, encode=None, **changes):
    options = {"max_length": 20, "fingerprint": "v", "special": 2, **changes}
    return TokenCache.build(directory, examples, encode=encode or Separate(), **options)


@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=9), order=st.randoms(use_true_random=False)
)
def test_each_text_is_a_sequence_of_its_own(tmp_path_factory, rows, order):
    folder = tmp_path_factory.getbasetemp() / "separate"
    build(folder, [Example(*pair) for pair in rows], align=align)
    cache = TokenCache(folder)
    numbers = np.array(order.choices(range(len(rows)), k=5))
    batch = cache.batch(numbers, pad_to_multiple=1)
    for part, prefix in enumerate(("", "text_pair/")):
        alone = Offsets()({"text": [rows[number][part] for number in numbers]}, 20)
        real = alone["attention_mask"][..., None] > 0
        for name in ("input_ids", "token_type_ids", "attention_mask", "offsets"):
            want = np.where(real if alone[name].ndim == 3 else real[..., 0], alone[name], 0)
            np.testing.assert_array_equal(batch[prefix + name], want, err_msg=prefix + name)
    np.testing.assert_array_equal(batch["tags"], batch["input_ids"] * 2)
    np.testing.assert_array_equal(batch["head/tags"], batch["input_ids"] * 3)
    np.testing.assert_array_equal(batch["text_pair/tags"], batch["text_pair/input_ids"] * 5)
    assert len(batch) == 2 * 4 + 3


def test_counts_and_widths_by_hand(tmp_path):
    examples = [Example("abc", "x" * 30), Example("?" * 9, ""), Example("x" * 40, "?" * 19), Example("", "a")]
    cache = build(tmp_path / "cache", examples)
    first, second = (cache.sequences[name].lengths.tolist() for name in ("text", "text_pair"))
    assert (first, second) == ([5, 11, 20, 2], [20, 2, 20, 3])
    assert cache.lengths.tolist() == [20, 11, 20, 3]  # the longer one of each row
    assert (cache.cut, cache.unknown) == (2, 9 + 19)  # rows, not texts
    assert cache.text_tokens == sum(first) + sum(second) - 2 * 2 * 4
    assert cache.count(np.array([0, 1])) == 5 + 20 + 11 + 2

    def shape(*rows, **options):
        batch = cache.batch(np.array(rows), **options)
        return batch["input_ids"].shape, batch["text_pair/input_ids"].shape

    assert shape(1, 3) == ((2, 16), (2, 8))
    assert shape(0, 3) == ((2, 8), (2, 20))
    assert shape(1, 3, width=13, size=3) == ((3, 13), (3, 13))
    assert shape(1, 3, width={"text": 12, "text_pair": 4}) == ((2, 12), (2, 4))
    assert cache.widths(np.array([0, 3]), lambda longest: longest + 1) == {"text": 6, "text_pair": 21}
    with pytest.raises(ValueError, match="2 rows of up to 3 tokens do not fit into"):
        cache.batch(np.array([1, 3]), width={"text": 12, "text_pair": 2})


def test_tokens_are_counted_over_both_sequences(tmp_path, monkeypatch):
    monkeypatch.setattr("tfpipeline.data.sequences._COUNTED_TOKENS", 3)
    cache = build(tmp_path / "cache", [Example("aab", "b"), Example("a", "")])
    counts = cache.token_counts(200)
    assert {chr(token): count for token, count in enumerate(counts) if count and token > 9} == {
        "a": 3,
        "b": 2,
    }
    assert counts[:3].tolist() == [0, 4, 4]  # one before and one after each text


def test_any_number_of_texts_is_encoded(tmp_path):
    """A row without a further text has an empty one there; texts that are not asked for are left out."""
    examples = [
        Example("a", "bc", further_texts={"negative_2": "defg", "negative_10": "h", "other": "x" * 30}),
        Example("ijk", "l", further_texts={"negative_10": "mn"}),
    ]
    further, encode = ("negative_2", "negative_10"), Separate()
    cache = build(tmp_path / "cache", examples, encode, further_texts=further)
    assert list(cache.sequences) == ["text", "text_pair", "negative_2", "negative_10"]
    assert {name: own.lengths.tolist() for name, own in cache.sequences.items()} == {
        "text": [3, 5],
        "text_pair": [4, 3],
        "negative_2": [6, 2],
        "negative_10": [3, 4],
    }
    assert cache.lengths.tolist() == [6, 5]
    batch = cache.batch(np.array([1, 0]), pad_to_multiple=1)
    assert batch["negative_2/input_ids"].tolist() == [[1, 2, 0, 0, 0, 0], [1, *map(ord, "defg"), 2]]
    assert list(by_text(batch)) == list(cache.sequences)
    assert {tuple(sorted(own)) for own in by_text(batch).values()} == {tuple(sorted((*INPUTS, "offsets")))}
    # Which texts are encoded, and what they are, is part of what the cache was made of.
    calls = len(encode.calls)
    build(tmp_path / "cache", examples, encode, further_texts=further)
    assert len(encode.calls) == calls
    changed = [examples[0], dataclasses.replace(examples[1], further_texts={"negative_10": "mN"})]
    for rows, names in ((examples, further[1:]), (examples, further), (changed, further)):
        build(tmp_path / "cache", rows, encode, further_texts=names)
        assert len(encode.calls) > calls
        calls = len(encode.calls)
    assert list(build(tmp_path / "single", [Example("ab")], encode).sequences) == ["text"]
    assert list(build(tmp_path / "none", [], encode).sequences) == ["text"]


def test_names_of_texts_and_of_their_tensors():
    tensors = {"negative_1/input_ids": 1, "input_ids": 2, "text_pair/head/tags": 3, "text_pair/input_ids": 4}
    assert texts_of(tensors) == ["text", "text_pair", "negative_1"]
    parts = by_text({**tensors, "head/tags": 5, "negative/tags": 6})
    assert parts == {
        "text": {"input_ids": 2, "head/tags": 5, "negative/tags": 6},
        "text_pair": {"head/tags": 3, "input_ids": 4},
        "negative_1": {"input_ids": 1},
    }
    assert joined(parts) == {**tensors, "head/tags": 5, "negative/tags": 6}
    assert texts_of(dict(reversed(tensors.items()))) == texts_of(tensors)


@pytest.mark.parametrize("damage", ["file", "card", "name"])
def test_a_damaged_second_sequence_is_made_again(tmp_path, damage):
    examples = [Example("ab", "c"), Example("d", "ef")]
    want = build(tmp_path / "cache", examples).batch(np.arange(2))
    path = tmp_path / "cache" / "cache.json"
    card = json.loads(path.read_text("utf-8"))
    if damage == "file":
        (tmp_path / "cache" / "text_pair" / "tokens.int32").unlink()
    elif damage == "card":
        card["sequences"]["text_pair"]["tokens"] += 1
    else:
        card["sequences"]["other"] = card["sequences"].pop("text_pair")
    path.write_text(json.dumps(card), "utf-8")
    with pytest.raises(UserError, match="not a complete token cache"):
        TokenCache(tmp_path / "cache")
    again = build(tmp_path / "cache", examples).batch(np.arange(2))
    assert sorted(again) == sorted(want)
    assert all((again[name] == want[name]).all() for name in want)


def test_the_longest_sequence_orders_with_less_padding_than_the_sum(tmp_path):
    """Two texts of independent log-normal lengths: tokens fed for each real one."""
    lengths = np.clip(np.random.default_rng(0).lognormal(3.5, 0.6, (2, 20_000)).astype(int), 3, 128)

    def fed(by):
        widths = [-(-lengths[:, batch].max(1) // 8) * 8 * len(batch) for batch in epoch_batches(by, 32)]
        return np.sum(widths) / lengths.sum()

    assert fed(lengths.max(0)) < 1.46
    assert fed(lengths.sum(0)) > 1.7
