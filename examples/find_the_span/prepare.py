"""Made-up passages as train.json and test.json in SQuAD's format, and a small BERT of random weights that
reads them.

A passage is a row of sentences of made-up words. Some hold a marker; what follows it, one to four words up to
the stop, is the answer to the question that names the marker. The passage has other markers with other
answers as well, the answer's own words without the marker, and for a fifth of the questions not the marker:
then there is no answer. Passages are of 2 to 26 sentences, and a third of them is longer than a window of 64
tokens. Between the words stand emoji, accents and other characters that are counted differently in code
points, UTF-16, bytes and tokens.

    python -m examples.find_the_span.prepare FOLDER
"""

from __future__ import annotations

import itertools
import math
import random
import string
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from examples.preparing import command
from examples.random_bert import random_checkpoint
from examples.squad import Question, write_parts
from tfpipeline.checkpoints import write as write_checkpoint
from tfpipeline.text import TokenizerOptions

TRAINING_ROWS, TEST_ROWS = 12_000, 1_000
SEED = 0
SENTENCES = 2, 26
SHARE_WITHOUT_ANSWER = 0.2
SHARE_NOISY = 0.3  # of the sentences
SHARE_DECORATED = 0.1  # of the words
STOP = "。"  # not of ASCII, whose punctuation does not count when answers are compared

SYLLABLES = ["".join(pair) for pair in itertools.product("bdgklmnprstvz", "aeiou")]
_PAIRS = random.Random(SEED).sample(list(itertools.product(SYLLABLES, SYLLABLES)), 162)
MARKERS = [f"{first}{second}x" for first, second in _PAIRS[:12]]
WORDS = [first + second for first, second in _PAIRS[12:]]
# A family and a flag are several code points, the combining accent is one of its own, the ligature and the
# dotted I become two characters when they are normalised, a syllable of Hangul three, and of the zero-width
# space nothing is left.
NOISE = [
    *(
        "😀",
        "👨‍👩‍👧",
        "🇩🇪",
        "𝔘𝔫𝔦",
        "日本",
        "ｆｕｌｌ",
        "１２",
        "한국",
        "ﬁ",
        "İzmir",
        "\u200b",
        "naïve",
        "Zu\u0308rich",
        "«»",
        "…",
    ),
]
ACCENTS = "\u0301\u0308\u0302"  # combining: acute, diaeresis, circumflex


def decorated(word: str, chance: random.Random) -> str:
    """The word, now and then in capitals or with an accent, which the tokenizer takes away and an offset
    counts.

    Never on its last letter: whether a combining accent there belongs to the answer is a matter of taste.
    """
    if chance.random() >= SHARE_DECORATED:
        return word
    kind = chance.choice(["capitals", "composed", "combining"])
    if kind == "capitals":
        return word.upper()
    accented = word[:2] + chance.choice(ACCENTS) + word[2:]  # behind the first syllable's vowel
    return unicodedata.normalize("NFC", accented) if kind == "composed" else accented


def question(chance: random.Random) -> Question:
    """A question and its passage."""
    fewest, most = map(math.log, SENTENCES)
    count = round(math.exp(chance.uniform(fewest, most)))  # as many short passages as long ones
    asked, *others = chance.sample(MARKERS, len(MARKERS))
    answer = [chance.choice(WORDS) for _ in range(chance.randint(1, 4))]
    sentences: list[tuple[str, list[str]]] = []  # marker, if any, and what follows it
    if chance.random() >= SHARE_WITHOUT_ANSWER:
        sentences.append((asked, answer))
    if len(sentences) < count and chance.random() < 0.5:
        sentences.append(("", answer))
    while len(sentences) < count:
        marker = others.pop() if others and chance.random() < 0.5 else ""
        sentences.append((marker, [chance.choice(WORDS) for _ in range(chance.randint(1, 4))]))
    chance.shuffle(sentences)
    text, places = "", []
    for marker, words in sentences:
        before = [decorated(chance.choice(WORDS), chance) for _ in range(chance.randint(0, 3))]
        if chance.random() < SHARE_NOISY:
            before.insert(chance.randint(0, len(before)), chance.choice(NOISE))
        if marker:
            before.append(decorated(marker, chance))
        text += "".join(f"{word} " for word in before)
        start = len(text)
        text += " ".join(decorated(word, chance) for word in words)
        if marker == asked:
            places.append((start, len(text)))
        text += f"{STOP} "
    return Question(decorated(asked, chance), text.rstrip(), tuple(places))


def questions(count: int, seed: int) -> Iterator[Question]:
    """So many questions, the same each time."""
    chance = random.Random(seed)
    for _ in range(count):
        yield question(chance)


def rows() -> tuple[list[Question], list[Question]]:
    """(train, test)."""
    return list(questions(TRAINING_ROWS, SEED)), list(questions(TEST_ROWS, SEED + 1))


def vocabulary(options: TokenizerOptions) -> tuple[str, ...]:
    """The special tokens, each word and marker as a token, the stop, and letters to spell what else there
    is.
    """
    letters = string.ascii_lowercase
    return (*options.all_special_tokens, STOP, *MARKERS, *WORDS, *letters, *(f"##{one}" for one in letters))


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.json``, ``test.json`` and ``checkpoint`` into ``folder`` unless all are there.

    Returns:
        The paths of the two files.
    Raises:
        UserError: the folder cannot be written.
    """
    paths = write_parts(folder, rows)
    if not Path(folder, "checkpoint").is_dir():
        options = TokenizerOptions()
        model = random_checkpoint(vocabulary(options), options, layers=3, heads=4, looks_around=True)
        write_checkpoint(model, Path(folder, "checkpoint"))
    return paths


if __name__ == "__main__":
    command("examples.find_the_span.prepare", prepare)
