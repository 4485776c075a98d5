from __future__ import annotations

import errno
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpipeline.data import Example, TokenCache, cache, sequences
from tfpipeline.errors import UserError


class Encoder:
    """A tokenizer with a known answer: a token a character, 1 before and 2 after each text; both texts of a
    pair are one sequence.
    """

    def __init__(self):
        self.calls = []

    def __call__(self, texts, max_length):
        texts, text_pair = texts["text"], texts.get("text_pair")
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


def build(directory, examples, encode=None, max_length=20, fingerprint="v", special=0):
    return TokenCache.build(
        directory,
        examples,
        encode=encode or Encoder(),
        max_length=max_length,
        fingerprint=fingerprint,
        special=special,
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
        alone = Encoder()({name: [text] for name, text in example.texts.items()}, 20)
        length = tokens.lengths[row]
        assert length == alone["attention_mask"].sum()
        for name, want in alone.items():
            assert batch[name].dtype == np.int32
            assert batch[name][position, :length].tolist() == want[0, :length].tolist()
            assert not batch[name][position, length:].any()


def test_rows_are_tokenised_piece_by_piece(tmp_path, monkeypatch):
    """Pieces change nothing of what is read; each row is seen once, whether the cache is made, used or
    replaced.
    """
    examples = [Example(text) for text in ("abc", "d", "efgh", "", "ij", "klmno", "pq")]
    whole = build(tmp_path / "whole", examples).batch(np.arange(7))
    monkeypatch.setattr(cache, "PIECE_ROWS", 3)
    for encode, calls in ((Encoder(), [3, 3, 1]), (Encoder(), [])):
        seen = []
        tokens = TokenCache.build(
            tmp_path / "pieces", examples, encode=encode, max_length=20, fingerprint="v", see=seen.append
        )
        assert [example for piece in seen for example in piece] == examples
        assert [len(piece) for piece in seen] == [3, 3, 1]
        assert encode.calls == calls
        for name, values in tokens.batch(np.arange(7)).items():
            assert values.tolist() == whole[name].tolist()
    seen, again = [], Encoder()
    TokenCache.build(
        tmp_path / "pieces", examples, encode=again, max_length=20, fingerprint="w", see=seen.append
    )
    assert [example for piece in seen for example in piece] == examples
    assert again.calls == [3, 3, 1]
    monkeypatch.setattr(cache, "PIECE_CHARACTERS", 4)
    long = Encoder()
    build(tmp_path / "long", examples, long)
    assert long.calls == [2, 1, 3, 1]


def test_a_cache_that_another_process_made_meanwhile_is_used(tmp_path):
    """Two evaluations of one run at once."""
    examples, quick, slow = [Example("abc"), Example("de")], Encoder(), Encoder()

    def encode(*arguments):
        build(tmp_path / "cache", examples, quick)
        (tmp_path / "cache" / "theirs").touch()
        return slow(*arguments)

    tokens = build(tmp_path / "cache", examples, encode)
    assert (len(tokens), quick.calls, slow.calls) == (2, [2], [2])
    assert (tmp_path / "cache" / "theirs").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


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


@pytest.mark.parametrize("name", ["text/tokens.int32", "text/types.uint8", "text/rows.int64", "cache.json"])
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
    def full(texts, max_length):
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
        def __call__(self, texts, max_length):
            seen.append([len(text) for text in texts["text"]])
            return super().__call__(texts, max_length)

    tokens = build(
        tmp_path / "cache", [Example("x" * length) for length in (60, 1, 200, 3, 50, 2, 5, 4)], Watched()
    )
    assert seen == [[1, 2, 3, 4], [5, 50], [60], [200]]
    assert tokens.lengths.tolist() == [20, 3, 20, 5, 20, 4, 7, 6]


def test_it_counts_the_rows_that_were_cut(tmp_path):
    examples = [Example("x" * length) for length in (1, 30, 18, 19, 25)]
    assert build(tmp_path / "silent", examples).cut == 0  # the tokenizer does not say

    class Counting(Encoder):
        def __call__(self, texts, max_length):
            left_out = np.array([max(0, len(text) + 2 - max_length) for text in texts["text"]], np.int32)
            unknown = np.array([len(text) // 10 for text in texts["text"]], np.int32)
            encoded = super().__call__(texts, max_length)
            return {**encoded, "cut": left_out, "unknown": unknown}

    encode = Counting()
    for _ in range(2):  # counted when it is built, known when it is there
        tokens = build(tmp_path / "cache", examples, encode, special=2)
        assert (tokens.cut, tokens.unknown) == (3, 0 + 3 + 1 + 1 + 2)
        assert tokens.text_tokens == tokens.lengths.sum() - 2 * len(examples)
        assert sorted(tokens.batch(np.arange(2))) == ["attention_mask", "input_ids", "token_type_ids"]
    assert encode.calls == [5]


@pytest.mark.parametrize("of_format", [3, 4])
def test_a_cache_of_an_earlier_format_is_made_again(tmp_path, of_format):
    examples, encode = [Example("ab")], Encoder()
    build(tmp_path / "cache", examples, encode)
    path = tmp_path / "cache" / "cache.json"
    card = json.loads(path.read_text("utf-8"))
    own = card.pop("sequences")["text"]  # whose files lay in the cache's own folder
    lacks = {3: {"unknown", "text_tokens"}, 4: set()}[of_format]
    old = {**card, **{name: own[name] for name in own if name not in lacks}, "format": of_format}
    for file in (tmp_path / "cache" / "text").iterdir():
        file.rename(tmp_path / "cache" / file.name)
    (tmp_path / "cache" / "text").rmdir()
    (tmp_path / "cache" / "of an earlier version").touch()
    path.write_text(json.dumps(old), "utf-8")
    with pytest.raises(UserError, match="not a complete token cache"):
        TokenCache(tmp_path / "cache")
    tokens = build(tmp_path / "cache", examples, encode)
    assert encode.calls == [1, 1]
    assert tokens.batch(np.arange(1))["input_ids"][0, :4].tolist() == [1, ord("a"), ord("b"), 2]
    assert not (tmp_path / "cache" / "of an earlier version").exists()
    build(tmp_path / "cache", examples, encode)
    assert encode.calls == [1, 1]


# Further columns: what the tokenizer says besides, and targets of single tokens.


class Offsets(Encoder):
    """With [B, T, 2] of each token, -9 where there is none."""

    def __call__(self, texts, max_length):
        batch = super().__call__(texts, max_length)
        real = batch["attention_mask"] > 0
        place = np.cumsum(real, axis=1) - 1
        offsets = np.stack([place, place + batch["input_ids"]], axis=-1)
        return {**batch, "offsets": np.where(real[..., None], offsets, -9).astype(np.int32)}


def tags(examples, encoded):
    """Two columns with a slash in their names, as parts of several tasks have: [B, T] and [B, T, 2]; -7 where
    no token is.
    """
    real = encoded["attention_mask"] > 0
    label = np.array([int(example.label or 0) for example in examples])[:, None]
    tag = np.where(real, encoded["input_ids"] * 1000 + label, -7)
    return {"one/tags": tag, "two/tags": np.stack([tag, -tag], axis=-1)}


def build_columns(directory, examples, encode=None, align=tags, **changes):
    options = {"max_length": 20, "fingerprint": "v", **changes}
    return TokenCache.build(directory, examples, encode=encode or Offsets(), align=align, **options)


def check_columns(batch, rows, examples):
    size, width = batch["input_ids"].shape
    assert batch["offsets"].shape == batch["two/tags"].shape == (size, width, 2)
    assert batch["one/tags"].shape == (size, width)
    for position, row in enumerate(rows):
        example = examples[row]
        alone = Offsets()({name: [text] for name, text in example.texts.items()}, 20)
        for name, want in {**alone, **tags([example], alone)}.items():
            length = want.shape[1]
            assert batch[name].dtype == np.int32
            np.testing.assert_array_equal(batch[name][position, :length], want[0], err_msg=name)
            assert not batch[name][position, length:].any(), name
    for array in batch.values():
        assert not array[len(rows) :].any()


@given(
    rows=st.lists(st.tuples(texts, texts, st.integers(0, 9)), min_size=1, max_size=13),
    paired=st.booleans(),
    random=st.randoms(use_true_random=False),
    size=st.integers(0, 3),
    width=st.integers(20, 25),
)
def test_further_columns_in_any_order(tmp_path_factory, rows, paired, random, size, width):
    examples = [Example(text, pair if paired else None, str(label)) for text, pair, label in rows]
    folder = tmp_path_factory.getbasetemp() / "columns"
    for tokens in (build_columns(folder, examples), TokenCache(folder)):
        order = random.sample(range(len(examples)), len(examples))
        order += random.choices(order, k=2)  # a row may be asked for twice
        numbers = np.array(order)
        check_columns(tokens.batch(numbers), order, examples)
        check_columns(tokens.batch(numbers, pad_to_multiple=7), order, examples)
        wide = tokens.batch(numbers, width=width, size=len(order) + size)
        assert wide["two/tags"].shape == (len(order) + size, width, 2)
        check_columns(wide, order, examples)
        for number in order:
            check_columns(tokens.batch(np.array([number])), [number], examples)


def test_further_columns_of_many_batches(tmp_path, monkeypatch):
    """Encoded by length in several batches, and read beyond where the mapped pages are given back."""
    monkeypatch.setattr(cache, "ENCODE_ROWS", 4)
    monkeypatch.setattr(sequences, "_RELEASE_ROWS", 5)
    random = np.random.default_rng(0)
    examples = [
        Example("x" * int(length), None, str(index % 10))
        for index, length in enumerate(random.integers(0, 30, 23))
    ]
    tokens = build_columns(tmp_path / "cache", examples)
    for _ in range(3):
        order = random.permutation(23)
        for part in np.array_split(order, 6):
            check_columns(tokens.batch(part), part.tolist(), examples)
    assert sorted(tokens.batch(np.array([], np.int64))) == sorted(tokens.batch(np.arange(2)))
    assert tokens.batch(np.array([], np.int64), width=3, size=2)["two/tags"].shape == (2, 3, 2)


@pytest.mark.parametrize(
    "names",
    [
        ("tokens", "types"),
        ("rows", "cache"),
        ("a/b", "a.b"),
        ("A", "a"),
        ("../x", "x" * 300),
        ("column0", "é\n"),
    ],
)
def test_columns_may_be_called_anything(tmp_path, names):
    """As other columns, or as files that are there already: no name decides where a column is."""

    def align(examples, encoded):
        return {name: encoded["input_ids"] + number for number, name in enumerate(names, 1)}

    examples = [Example("abc"), Example("d")]
    for _ in range(2):
        tokens = build_columns(tmp_path / "cache", examples, Encoder(), align)
        batch = tokens.batch(np.arange(2))
        real = batch["attention_mask"]
        for number, name in enumerate(names, 1):
            np.testing.assert_array_equal(batch[name], (batch["input_ids"] + number) * real)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_targets_are_made_again_when_they_may_be_others(tmp_path):
    examples = [Example("ab", None, "1"), Example("c", None, "2")]
    encode = Offsets()
    for _ in range(2):
        build_columns(tmp_path / "cache", examples, encode)
    assert encode.calls == [2]
    changes = [
        {"examples": [Example("ab", None, "1"), Example("c", None, "3")]},
        {"examples": [Example("ab", None, "1"), Example("c")]},
        {"examples": [examples[0], Example("c", None, "2", columns={"more": "x"})]},
        {"examples": [examples[0], Example("c", None, "2", columns={"more": "y"})]},
        {"examples": [examples[0], Example("c", None, "2", columns={"less": "y"})]},
        {"examples": [examples[0], Example("c", None, "2", weight=2.0)]},
        {"examples": [examples[0], Example("c", None, "2", group="g")]},
        {"fingerprint": "w"},
        {"max_length": 19},
        {"align": None},
    ]
    for count, change in enumerate(changes, 2):
        tokens = build_columns(tmp_path / "cache", **{"examples": examples, "encode": encode, **change})
        assert len(encode.calls) == count, change
        own = change.get("examples", examples)
        if "align" not in change:
            check_columns(tokens.batch(np.arange(2)), [0, 1], own)
    # Where a row came from changes nothing of it.
    same = [Example("ab", None, "1", file="x", line=3), Example("c", None, "2", file="y")]
    build_columns(tmp_path / "again", examples, encode)
    build_columns(tmp_path / "again", same, encode)
    assert len(encode.calls) == len(changes) + 2


def test_without_targets_labels_change_nothing(tmp_path):
    encode = Offsets()
    for example in (
        Example("ab", None, "1"),
        Example("ab", None, "2"),
        Example("ab", None, "2", weight=3.0, group="g", columns={"more": "x"}),
    ):
        tokens = build_columns(tmp_path / "cache", [example], encode, None)
        assert sorted(tokens.batch(np.arange(1))) == [
            "attention_mask",
            "input_ids",
            "offsets",
            "token_type_ids",
        ]
    assert encode.calls == [1]


def test_a_damaged_column_is_made_again(tmp_path):
    examples, encode = [Example("ab", None, "1"), Example("c", None, "2")], Offsets()
    build_columns(tmp_path / "cache", examples, encode)
    columns = sorted((tmp_path / "cache" / "text").glob("column*"))
    assert len(columns) == 3
    for count, path in enumerate([path for path in columns for _ in range(3)]):
        data = path.read_bytes()
        if count % 3 == 0:
            path.write_bytes(data[:-1])
        elif count % 3 == 1:
            path.write_bytes(data + b"\0\0\0\0")
        else:
            path.unlink()
        with pytest.raises(UserError, match="not a complete token cache"):
            TokenCache(tmp_path / "cache")
        check_columns(
            build_columns(tmp_path / "cache", examples, encode).batch(np.arange(2)), [0, 1], examples
        )
        assert len(encode.calls) == count + 2


@pytest.mark.parametrize(
    "columns",
    [
        None,
        [],
        ["offsets"],
        3,
        {"offsets": 2},
        {"offsets": "2"},
        {"offsets": [2], "more": [[]]},
        {"offsets": [3]},
    ],
)
def test_a_description_that_is_none_is_made_again(tmp_path, columns):
    examples, encode = [Example("ab", None, "1")], Offsets()
    build_columns(tmp_path / "cache", examples, encode, None)
    path = tmp_path / "cache" / "cache.json"
    card = json.loads(path.read_text("utf-8"))
    card["sequences"]["text"]["columns"] = columns
    path.write_text(json.dumps(card), "utf-8")
    build_columns(tmp_path / "cache", examples, encode, None)
    assert encode.calls == [1, 1]


def test_no_rows_no_columns(tmp_path):
    for _ in range(2):
        tokens = build_columns(tmp_path / "cache", [])
        assert len(tokens) == 0
        assert tokens.batch(np.array([], np.int64))["input_ids"].shape == (0, 0)


def test_targets_that_are_no_integers_are_a_mistake(tmp_path):
    def soft(examples, encoded):
        return {"tags": encoded["input_ids"] / 2}

    with pytest.raises(TypeError, match="the column tags of the tokens holds float64, not integers"):
        build_columns(tmp_path / "cache", [Example("ab")], align=soft)
    assert list(tmp_path.iterdir()) == []
