"""Token ids to natural text: by hand, against a walk over words, and back to the same tokens."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf

from tests.text.conftest import SPECIAL
from tfpipeline.text import TokenizerOptions, build_tokenizer
from tfpipeline.text.detokenizer import Detokenizer, detokenize

TEXTS = [
    ("hello , world !", "hello, world!"),
    ("un ##aff ##able", "unaffable"),
    ("it ' s the dog ' s , don ' t", "it's the dog's, don't"),
    ("we ' ll see what they ' ve said", "we'll see what they've said"),
    ("the dogs ' tails", "the dogs' tails"),
    ("o ' brien and l ' eau", "o'brien and l'eau"),
    ("he said ' it ' s fine ' and left", "he said 'it's fine' and left"),
    ('she said " no " and " yes " .', 'she said "no" and "yes".'),
    ('a " single one', 'a " single one'),
    ("3 . 5 of 1 , 000 , 000 , 000 at 10 : 30", "3.5 of 1,000,000,000 at 10:30"),
    ("in 1990 , 3 people and in 2000 , 300", "in 1990, 3 people and in 2000, 300"),
    ("1 . 2 . 3 . 4 . 5", "1.2.3.4.5"),
    ("the u . s . and e . g . others", "the u.s. and e.g. others"),
    ("plan b . i think", "plan b. i think"),
    ("( see [ 1 ] and { x } )", "(see [1] and {x})"),
    ("a well - known user @ host / path _ name", "a well-known user@host/path_name"),
    ("2024 - 05 - 01 and 3 / 4 / 2020", "2024-05-01 and 3/4/2020"),
    ("- 5 + 7 = 2", "-5 + 7 = 2"),
    ("50 % of $ 20 , £ 5 , € 3", "50% of $20, £5, €3"),
    ("# tag and wait . . .", "#tag and wait..."),
    ("1990 – 2000 – or so", "1990–2000 – or so"),
    ("“ good ” and ‘ bad ’ , it ’ s", "“good” and ‘bad’, it’s"),
    ("你 好 ， 世 界 ！", "你好，世界！"),
    ("你 好 , python 3 . 5 吗 ?", "你好, python 3.5吗?"),
    ("第 2 行 （ 共 10 行 ）", "第2行（共10行）"),
    ("a [UNK] b", "a [UNK] b"),
    ("", ""),
    ("##s at first", "s at first"),
]


@pytest.mark.parametrize(("tokens", "text"), TEXTS, ids=[str(number) for number in range(len(TEXTS))])
def test_texts_by_hand(tokens, text):
    assert detokenize(tokens.split()) == text


def test_the_graph_makes_the_same_texts():
    vocabulary = list(dict.fromkeys([*SPECIAL, *(token for tokens, _ in TEXTS for token in tokens.split())]))
    ids = [[vocabulary.index(token) for token in tokens.split()] for tokens, _ in TEXTS]
    lengths = np.array(list(map(len, ids)), np.int32)
    # What is behind a text's end does not matter.
    padded = np.array([[*row, *[7] * (lengths.max() - len(row))] for row in ids], np.int32)
    detokenizer = Detokenizer(vocabulary, TokenizerOptions())
    function = tf.function(detokenizer, autograph=False)
    found = function(tf.constant(padded), tf.constant(lengths)).numpy()
    assert [text.decode() for text in found] == [text for _, text in TEXTS]
    shape = [len(TEXTS) // 2, 2, -1]
    found = function(padded.reshape(shape), lengths.reshape(shape[:2])).numpy()  # candidates of sources
    assert [text.decode() for text in found.reshape(-1)] == [text for _, text in TEXTS]


def test_chinese_words_keep_their_blanks_if_the_tokenizer_does_not_split_them():
    assert detokenize(["你好", "世界", "。"], chinese=False) == "你好 世界。"
    words = Detokenizer([*SPECIAL, "你好"], TokenizerOptions(tokenize_chinese_chars=False))
    assert words(tf.constant([[5, 5]]), tf.constant([2])).numpy().tolist() == ["你好 你好".encode()]


# A walk over words, which knows for each of them whether a blank follows.
CHINESE, FULL = "你好世界", "，。！？（）"
ENDINGS = {"s", "t", "d", "m", "re", "ve", "ll"}
PUNCTUATION = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def is_word(character):
    return character not in PUNCTUATION and character != " "


def walked(words):
    count = len(words)
    blank = [True] * count  # behind each word; the last one's is of no meaning

    def at(number):
        return words[number] if 0 <= number < count else ""

    def joined(*numbers):
        for number in numbers:
            blank[number] = False

    for i in range(count - 1):
        if at(i)[-1] in CHINESE + FULL or at(i + 1)[0] in CHINESE + FULL:
            joined(i)
    for i in range(count - 2):
        one, mark, other = at(i), at(i + 1), at(i + 2)
        both = blank[i] and blank[i + 1]
        digits = one[-1].isdigit() and other[0].isdigit()
        groups = one.isdigit() and other.isdigit() and len(one) <= 3 and len(other) == 3
        if both and ((digits and mark in (".", ":")) or (groups and mark == ",")):
            joined(i, i + 1)
    i = 0
    while i < count - 3:
        one, other = at(i), at(i + 2)
        letters = (
            len(one) == len(other) == 1 and one.isalpha() and other.isalpha() and (one + other).isascii()
        )
        if letters and at(i + 1) == at(i + 3) == "." and (i == 0 or blank[i - 1]) and all(blank[i : i + 3]):
            joined(i, i + 1, i + 2)
            i += 3
        i += 1
    for i in range(count - 2):
        mark, other = at(i + 1), at(i + 2)
        if mark in ("'", "’") and blank[i] and blank[i + 1] and is_word(at(i)[-1]):
            if other in ENDINGS and (i + 2 == count - 1 or blank[i + 2]):
                joined(i, i + 1)
            alone = i == 0 or blank[i - 1]
            if len(at(i)) == 1 and at(i) in "bcdfghjklmnpqrstvwxyzo" and alone and is_word(other[0]):
                joined(i, i + 1)
    for mark in ("'", '"'):
        if mark == '"':
            for i in range(1, count):  # the plural's apostrophe
                if at(i) == "'" and blank[i - 1] and at(i - 1)[-1] == "s" and (i == count - 1 or blank[i]):
                    joined(i - 1)
        free = [
            i for i in range(count)
            if at(i) == mark and (i == 0 or blank[i - 1]) and (i == count - 1 or blank[i])
        ]  # fmt: skip
        while len(free) > 1:
            first, last, *free = free
            if last > first + 1:
                joined(first, last - 1)
            else:
                free = [last, *free]
    for i in range(count - 1):
        one, other = at(i), at(i + 1)
        if one in ("“", "‘", "(", "[", "{") or other in ("”", "’", ")", "]", "}"):
            joined(i)
    for i in range(count - 2):
        words_around = is_word(at(i)[-1]) and is_word(at(i + 2)[0])
        if at(i + 1) in ("-", "/", "_", "@") and blank[i] and blank[i + 1] and words_around:
            joined(i, i + 1)
        if at(i + 1) == "–" and at(i)[-1].isdigit() and at(i + 2)[0].isdigit():
            joined(i, i + 1)
    for i in range(count - 1):
        one, other = at(i), at(i + 1)
        starts = i == 0 or blank[i - 1]
        if (one in ("$", "£", "€") and other[0].isdigit()) or other in (
            ".",
            ",",
            "!",
            "?",
            ";",
            ":",
            "%",
            "…",
        ):
            joined(i)
        if (one == "#" and starts and is_word(other[0])) or (one == "-" and i == 0 and other[0].isdigit()):
            joined(i)
    return "".join(
        word + " " * (space and number < count - 1) for number, (word, space) in enumerate(zip(words, blank))
    )


POOL = [
    *"aabss", "the", "dogs", "well", "known", "s", "t", "re", "l", "o", "3", "5", "12", "000", "300", "1990",
    *"..,,!?;:%'\"()[]-/_@#$£–“”’", "…", *CHINESE[:2], "，", "（", "+", "&",
]  # fmt: skip


def test_random_texts_equal_a_walk_over_words():
    random_ = random.Random(0)
    rows = [random_.choices(POOL, k=random_.randint(1, 9)) for _ in range(4000)]
    detokenizer = Detokenizer([*SPECIAL, *dict.fromkeys(POOL)], TokenizerOptions())
    ids = {token: number for number, token in enumerate([*SPECIAL, *dict.fromkeys(POOL)])}
    padded = np.zeros((len(rows), 9), np.int32)
    for row, words in enumerate(rows):
        padded[row, : len(words)] = [ids[word] for word in words]
    found = detokenizer(padded, np.array(list(map(len, rows)), np.int32)).numpy()
    for words, text in zip(rows, found):
        assert text.decode() == detokenize(words)
        assert text.decode() == walked(words), words


def test_texts_become_the_same_tokens_again(english):
    """Real words, numbers and marks of MiniLM's vocabulary, in random order."""
    options = TokenizerOptions()
    tokenizer = build_tokenizer(english, options)
    random_ = random.Random(0)
    whole = [token for token in english if not token.startswith(("##", "["))]
    marks = [token for token in whole if token in PUNCTUATION]
    words = [
        " ".join(random_.choice(marks if random_.random() < 0.4 else whole) for _ in range(12))
        for _ in range(400)
    ]
    tokens = tokenizer.tokenize(words)
    texts = Detokenizer(english, options)(tokens.to_tensor(), tokens.row_lengths())
    assert tokenizer.tokenize(texts).to_list() == tokens.to_list()
    assert sum(text.decode() != row for text, row in zip(texts.numpy(), words)) > 300
