"""Rows whose texts are encoded separately: two sequences of their own lengths in one cache."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_cache import Offsets
from tfpipeline.data import Example, TokenCache, epoch_batches
from tfpipeline.errors import UserError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


class Counting(Offsets):
    def __call__(self, texts, text_pair, max_length):
        assert text_pair is None  # each text by itself
        encoded = super().__call__(texts, text_pair, max_length)
        cut = np.array([max(0, len(text) + 2 - max_length) for text in texts])
        return {**encoded, "cut": cut, "unknown": np.array([text.count("?") for text in texts])}


def align(examples, encoded):
    """A target of each token of either text, and one with a slash in its name."""
    first, second = encoded["input_ids"], encoded["text_pair/input_ids"]
    assert len(first) == len(second) == len(examples)
    return {"tags": first * 2, "head/tags": first * 3, "text_pair/tags": second * 5}


def build(directory, examples, encode=None, **changes):
    options = {"max_length": 20, "fingerprint": "v", "special": 2, "encoding": "separate", **changes}
    return TokenCache.build(directory, examples, encode=encode or Counting(), **options)


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
        alone = Offsets()([rows[number][part] for number in numbers], None, 20)
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


def test_the_encoding_is_part_of_what_a_cache_was_made_from(tmp_path):
    examples, encode = [Example("ab", "c")], Offsets()
    for encoding, names in (("separate", ["text", "text_pair"]), ("joint", ["text"])) * 2:
        cache = build(tmp_path / "cache", examples, encode, encoding=encoding)
        assert list(cache.sequences) == names
    assert encode.calls == [1, 1, 1, 1, 1, 1]
    build(tmp_path / "cache", examples, encode, encoding="joint")
    assert len(encode.calls) == 6
    # Rows of one text have one sequence either way.
    assert list(build(tmp_path / "single", [Example("ab")], encode).sequences) == ["text"]
    assert list(build(tmp_path / "none", [], encode).sequences) == ["text"]


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
