"""Equal to transformers' fast BERT tokenizer, whatever the text."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.conftest import OPTIONS, SPECIAL, reference_ids, reference_tokenizer
from tfpipeline.text import TokenizerOptions, WordPieceTokenizer

# Special tokens that overlap, one with an accent and capitals, one of two words.
CUSTOM = ("<é>", "<é>x", "Ab", "bC", "two words", "[[MASK]]", "$")

FRAGMENTS = [
    # letters, case, decomposed and composed, letters that change length or depend on their place
    *"aAbzZ09", "é", "e\u0301", "É", "E\u0301", "İ", "ı", "ß", "ẞ", "Σ", "ς", "ΑΣ", "ǅ", "ŉ", "ﬁ", "Å", "K", "Ω", "Ⅷ", "ⓐ", "ａ",
    # combining marks: any order, on nothing, across starters, such as survive stripping
    "\u0301", "\u0316", "\u0345", "\u0334", "\u034f", "\u0344", "\u0f73", "\u0f71", "\u0f74", "\u3099", "\u302e", "\u302f",
    "\u1b44", "\ua953", "\u08d4", "\U0001d165", "\U0001d16d", "\U0001d15e", "\U0001d1bb", "\U000116b6", "\U0001e944", "\u20dd", "\u0903",
    # punctuation, also where decomposition makes it
    *"!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "…", "—", "«", "。", "¿", "\u037e", "\u1fef", "≠", "≮", "¨", "´", "`", "٪", "｡",
    # white space and what only looks like it
    " ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u0085", "\x0b", "\x0c", "\x1c", "\x1f",
    # what cleaning drops
    "\x00", "\x01", "\x7f", "\x9f", "\u00ad", "\u200b", "\u200c", "\u200d", "\u200e", "\u202e", "\u2060", "\ufeff", "\ufffd", "\ufffe", "\uffff",
    "\ue000", "\U000f0000", "\U000f0001", "\U000f0002", "\U000f0003", "\U000f0008", "\U0010ffff", "\U000e0041", "\ufdd0", "\u0378",
    # scripts
    "中", "国", "中国", "㐀", "\U00020000", "\U0002a6d6", "\uf900", "\U0002f800", "々", "〇", "カ", "ガ", "ｶﾞ", "한", "국", "\u1112\u1161\u11ab", "ᄀ",
    "ש", "שׁ", "العربية", "ﷺ", "हिन्दी", "ไทย", "தமிழ்", "ខ្មែរ", "ᏸ", "Ꭰ", "ა", "Ა", "𐐀", "𐐨", "𝔸",
    # emoji
    "😀", "👩‍👩‍👧", "👍🏽", "🇩🇪", "❤️", "1️⃣",
    # special tokens, whole, cut and next to one another
    *SPECIAL, "[mask]", "[MASK", "MASK]", "[ MASK ]", "[MA\u200bSK]", "[MA\U000f0000SK]", "[M\u0301ASK]", "##", "##a", "#",
    *CUSTOM, "<É>", "<e\u0301>", "ab", "AbC", "two  words", "[[MASK]",
    # words, and words at the limit of 100 characters
    "the", "The", "unaffable", "tokenization", "naïve", "NAÏVE", "don't", "U.S.A.", "http://a.b/c?d=e_f", "#hashtag", "@you",
    "x" * 99, "x" * 100, "x" * 101, "é" * 100, "é" * 101, "e\u0301" * 100, "中" * 101, "\u0301" * 150, "ab" * 50, "the" * 34, "😀" * 100, "\U0001d400" * 101,
]  # fmt: skip


def adversarial(count, seed):
    """Fragments in random order, some of them run together; each fragment alone and between letters first."""
    rng = random.Random(seed)
    texts = [
        text
        for fragment in FRAGMENTS
        for text in (fragment, f"a{fragment}b", f"{fragment}{fragment} A{fragment}")
    ]
    while len(texts) < count:
        texts.append(rng.choice(["", "", " "]).join(rng.choices(FRAGMENTS, k=rng.randint(2, 12))))
    return texts


def assert_equal(tokenizer, reference, texts):
    """Ids, and where each token comes from."""
    got = tokenizer.tokenize(texts).to_list()
    want = reference_ids(reference, texts)
    assert len(got) == len(want)
    different = [(text, g, w) for text, g, w in zip(texts, got, want) if g != w]
    assert not different, f"{len(different)} of {len(texts)} texts differ, the first: {different[0]!r}"
    if not texts:
        return
    encoded = tokenizer(texts, max_length=1_000_000, offsets=True)
    offsets, starts = encoded["offsets"].numpy(), encoded["word_starts"].numpy()
    assert offsets.shape == (*encoded["input_ids"].shape, 2)
    reference = reference(texts, return_offsets_mapping=True)
    for row, text in enumerate(texts):
        want = reference["offset_mapping"][row]
        got = [tuple(pair) for pair in offsets[row, : len(want)].tolist()]
        assert got == want, f"{text!r}: {got} for {want}"
        assert not offsets[row, len(want) :].any()
        words = reference.encodings[row].word_ids
        begins = [word is not None and word != words[i - 1] for i, word in enumerate(words)]
        assert starts[row, : len(want)].tolist() == begins, text
        assert not starts[row, len(want) :].any()


# Ideographs, Hangul syllables, private use and unassigned planes: thousands of neighbours that are treated
# alike. First and last + 1.
ALIKE = [
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xAC00, 0xD7A4),
    (0xE000, 0xF900),
    (0x17000, 0x18D00),
    (0x20000, 0x2F800),
    (0x2FA20, 0xE0000),
    (0xE0200, 0x110000),
]


def chosen(point, step):
    """All of the others, and of those alike every so many and the first and last few of a range."""
    for first, end in ALIKE:
        if first <= point < end:
            return point % step == 0 or point < first + 8 or point >= end - 8
    return True


@functools.cache
def all_chosen(step):
    """The code points to compare."""
    return [point for point in range(0x110000) if not 0xD800 <= point < 0xE000 and chosen(point, step)]


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_code_point(characters, options, step):
    """All that have neighbours of another kind, of the others every 61st; in ``make soak`` all."""
    tokenizer = WordPieceTokenizer(characters, options)
    reference = reference_tokenizer(characters, options)
    points = all_chosen(step)
    assert len(points) == {61: 94_585, 1: 1_112_064}[step]
    # Many to a text, as a call costs more than a word; a letter stands on both sides of each.
    texts = [" ".join(f"a{chr(point)}b" for point in points[i : i + 256]) for i in range(0, len(points), 256)]
    for i in range(0, len(texts), 1024):
        assert_equal(tokenizer, reference, texts[i : i + 1024])


@pytest.fixture(scope="module", params=[*OPTIONS, "custom special tokens"])
def pair(request, english):
    """A tokenizer and its reference; a vocabulary that knows the fragments' characters as well."""
    options = OPTIONS.get(request.param) or TokenizerOptions(special_tokens=CUSTOM)
    known = set(english)
    letters = dict.fromkeys(
        c for fragment in FRAGMENTS for c in (*fragment, *fragment.lower(), *fragment.upper())
    )
    extra = [t for c in letters for t in (c, "##" + c) if t not in known and c not in ("x", " ")]
    custom = [token for token in CUSTOM if token not in known and token not in extra]
    vocabulary = (*english, *extra, *custom)
    return WordPieceTokenizer(vocabulary, options), reference_tokenizer(vocabulary, options)


def test_adversarial_strings(pair):
    texts = adversarial(1200, seed=3)
    assert len(set(texts)) >= 1000
    assert_equal(*pair, texts)


def test_combining_marks_in_every_order(pair):
    """Marks that survive stripping change places, but never across a starter, be it stripped itself."""
    rng = random.Random(6)
    marks = [
        "\U0001d165",
        "\U0001d16d",
        "\u302e",
        "\u1b44",
        "\u08d4",
        "\u0316",
        "\u034f",
        "\u0344",
        "\u200d",
        "\u0f73",
        "\U0001d15e",
        "a",
    ]
    assert_equal(*pair, ["".join(rng.choices(marks, k=rng.randint(2, 7))) for _ in range(600)])


def test_adversarial_strings_alone(pair):
    """A text's ids do not depend on what else is in its batch."""
    tokenizer, reference = pair
    for text in adversarial(len(FRAGMENTS) * 3 + 40, seed=4)[::17]:
        assert_equal(tokenizer, reference, [text])


@settings(max_examples=50)
@given(
    texts=st.lists(
        st.lists(st.one_of(st.text(max_size=8), st.sampled_from(FRAGMENTS)), max_size=6).map("".join),
        max_size=5,
    )
)
def test_made_up_strings(pair, texts):
    assert_equal(*pair, texts)


def test_invalid_utf8_becomes_replacement_characters(pair):
    tokenizer, reference = pair
    rng = random.Random(5)
    fragments = [fragment.encode() for fragment in FRAGMENTS]
    raw = [
        b"\xff",
        b"a\xffb",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe4\xb8",
        b"\xe4\xb8[MASK]",
        b"[MA\xffSK]",
        b"\xf3\xb0\x80[SEP]",
    ]
    for _ in range(600):
        whole = b"".join(rng.choices(fragments, k=5))
        cut = rng.randrange(len(whole) + 1)
        raw.append(whole[:cut] + rng.randbytes(rng.randint(0, 3)) + whole[cut + rng.randint(0, 2) :])
    got = tokenizer.tokenize(raw).to_list()
    want = reference_ids(reference, [text.decode("utf-8", "replace") for text in raw])
    assert [(r, g, w) for r, g, w in zip(raw, got, want) if g != w] == []


def test_the_comparison_has_teeth(english):
    """The strings above tell the options apart, so a wrong one could not pass."""
    texts = adversarial(1500, seed=3)
    answers = [WordPieceTokenizer(english, options).tokenize(texts).to_list() for options in OPTIONS.values()]
    for i, answer in enumerate(answers):
        for other in answers[:i]:
            assert sum(a != b for a, b in zip(answer, other)) > 50
