"""Added tokens are found where transformers' fast tokenizer finds them, whatever their options."""

from __future__ import annotations

import dataclasses
import random

import pytest

from tests.text.conftest import SPECIAL
from tfpipeline.errors import UserError
from tfpipeline.text import AddedToken, TokenizerOptions, WordPieceTokenizer, markers, normalizer
from tfpipeline.text.markers import longest_of

WORDS = ["a", "b", "##a", "##b", "x", "##x", "foo", "##foo", "bar", "##bar", "-", "<", ">", "e", "##e", "é", "##é", "_", "中", "1", "##1", "É", "A", "##A", ".", "(", ")", "。", "B", "X", "##B", "##X"]  # fmt: skip
SETS = {
    "raw": [
        AddedToken("<E>"),
        AddedToken("<E>x"),
        AddedToken("x b", special=False),
        AddedToken("É"),
        AddedToken("foobar"),
    ],
    "normalized": [
        AddedToken("<E>", normalized=True, special=False),
        AddedToken("foo", normalized=True),
        AddedToken("fooBAR", normalized=True),
        AddedToken("中a", normalized=True),
        AddedToken("É-", normalized=True),
        AddedToken("b x", normalized=True),
        AddedToken("[MASK]", normalized=True),
    ],
    "single words": [
        AddedToken("foo", single_word=True),
        AddedToken("foobar", single_word=True),
        AddedToken("bar"),
        AddedToken("É", normalized=True, single_word=True),
        AddedToken("ab", normalized=True, single_word=True),
        AddedToken("(", normalized=True, single_word=True),
    ],
    "mixed": [
        AddedToken("foo", lstrip=True, rstrip=True),
        AddedToken("bar", normalized=True, lstrip=True),
        AddedToken("a", single_word=True, rstrip=True),
        AddedToken("b", normalized=True, single_word=True),
        AddedToken("<e>", normalized=True),
        AddedToken("[SEP]", lstrip=True, normalized=True),
    ],
    "blanks": [AddedToken(" x", normalized=True), AddedToken("a ", special=False), AddedToken(" 中", normalized=True)],
}  # fmt: skip
FRAGMENTS = [
    *"abxABX-<>e_1.()", "foo", "bar", "FOO", "fooBAR", "Foobar", "<E>", "<e>", "<É>", "<e\u0301>", "é", "É", "e\u0301", "\u0301", "\u0327", "中", "中a", "中A",
    "[MASK]", "[mask]", "[SEP]", "[sep]", " ", " ", " ", "  ", "\t", "\n", "\u3000", "\u200b", "\u200d", "\x00", "。", "\ue000", "\U000f0001", "Ⅷ", "ⓐ", "😀", "\u20e3", "x b", "b x",
]  # fmt: skip


def texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(FRAGMENTS, k=rng.randint(1, 12))) for _ in range(count)]


@pytest.fixture(scope="module", params=SETS)
def added(request):
    return SETS[request.param]


@pytest.mark.parametrize(
    ("lowercase", "many"), [(True, False), (False, False), (True, True)], ids=["uncased", "cased", "many"]
)
def test_ids_are_those_of_the_fast_tokenizer(added, lowercase, many, monkeypatch):
    """So many that they are looked for by a table, or few; in the vocabulary, or (if many) outside of it."""
    if many:
        monkeypatch.setattr(markers, "MOST_PATTERN", 0)
        monkeypatch.setattr(normalizer, "MOST_PATTERN", 0)
    import tokenizers
    from transformers import BertTokenizerFast

    new = [token.content for token in added if token.content not in [*SPECIAL, *WORDS]]
    vocabulary = [*SPECIAL, *WORDS, *new]
    reference = BertTokenizerFast(
        vocab={token: i for i, token in enumerate([*SPECIAL, *WORDS] if many else vocabulary)},
        do_lower_case=lowercase,
    )
    for token in added:
        flags = ("normalized", "single_word", "lstrip", "rstrip", "special")
        reference.add_tokens(
            [tokenizers.AddedToken(token.content, **{flag: getattr(token, flag) for flag in flags})]
        )
    tokens = tuple(
        dataclasses.replace(token, in_vocabulary=not (many and token.content in new)) for token in added
    )
    ours = WordPieceTokenizer(vocabulary, TokenizerOptions(lowercase=lowercase, added_tokens=tokens))
    some = [*FRAGMENTS, *texts(800, seed=len(added)), "ab foo bar x b 1"]
    got = ours.tokenize(some).to_list()
    want = reference(some, add_special_tokens=False, return_offsets_mapping=True)
    different = [(text, g, w) for text, g, w in zip(some, got, want["input_ids"]) if g != w]
    assert not different, f"{len(different)} of {len(some)} texts differ, the first: {different[0]!r}"
    # All tokens were found, in many texts.
    assert all(any(vocabulary.index(token.content) in row for row in got) for token in added[-1:])

    strips = any(token.lstrip or token.rstrip or " " in token.content for token in added)
    offsets = ours(some, max_length=1000, offsets=True)["offsets"].numpy()
    for row, (text, places) in enumerate(zip(some, want["offset_mapping"])):
        for number, (first, last) in enumerate(places, 1):
            mine = tuple(offsets[row, number].tolist())
            if strips:  # theirs hold the white space as well
                assert first <= mine[0] <= mine[1] <= last, (text, places)
                mine = (first, last)
            assert mine == (first, last), (text, places)


@pytest.mark.parametrize("seed", range(3))
def test_the_longest_of_many_texts(seed):
    import re

    rng = random.Random(seed)
    words = {"".join(rng.choices("abc-", k=rng.randint(1, 6))) for _ in range(60)}
    text = "".join(rng.choices("abc-d", k=500))
    pattern = longest_of(words).replace("\\x{2d}", "-")
    plain = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    assert re.findall(f"(?={pattern})?(.)", text) == re.findall(f"(?={plain})?(.)", text)
    assert [m.group() for m in re.finditer(pattern, text)] == [m.group() for m in re.finditer(plain, text)]


def test_a_token_of_which_nothing_is_left_is_refused():
    options = TokenizerOptions(added_tokens=(AddedToken("\u200b", normalized=True),))
    with pytest.raises(UserError, match="nothing is left of the added token"):
        WordPieceTokenizer([*SPECIAL, "\u200b"], options)


def test_two_tokens_that_become_the_same_are_refused():
    """transformers' tokenizer itself takes either, another in each process."""
    same = (AddedToken("<e>", normalized=True), AddedToken("<E>", normalized=True))
    vocabulary = [*SPECIAL, "<e>", "<E>"]
    with pytest.raises(UserError, match='"<e>" and "<E>" become the same when they are normalised'):
        WordPieceTokenizer(vocabulary, TokenizerOptions(added_tokens=same))
    cased = WordPieceTokenizer(vocabulary, TokenizerOptions(added_tokens=same, lowercase=False))
    assert cased.tokenize(["<e><E>"]).to_list() == [[5, 6]]


@pytest.mark.parametrize("many", [False, True])
def test_compiled_and_saved_as_eagerly(many, tmp_path, monkeypatch):
    import tensorflow as tf

    if many:
        monkeypatch.setattr(markers, "MOST_PATTERN", 0)
    added = (AddedToken("foo", normalized=True, single_word=True), AddedToken("<E>"))
    ours = WordPieceTokenizer([*SPECIAL, *WORDS, "<E>"], TokenizerOptions(added_tokens=added))
    some = texts(200, seed=1)
    model = tf.Module()
    model.tokenizer = ours
    model.serve = tf.function(
        lambda text: ours(text, max_length=50),
        input_signature=[tf.TensorSpec([None], tf.string, name="text")],
    )
    tf.saved_model.save(model, tmp_path, signatures=model.serve)
    loaded = tf.saved_model.load(tmp_path).signatures["serving_default"](text=tf.constant(some))
    compiled = model.serve(tf.constant(some))
    for name, tensor in ours(some, max_length=50).items():
        assert (tensor.numpy() == compiled[name].numpy()).all()
        assert (tensor.numpy() == loaded[name].numpy()).all()
