"""Verses of the King James Version, each with the same verse in Basic English, as train.csv, validation.csv
and test.csv; and corpus.csv, all verses in Basic English, in which each is to be found.

The translations are 350 years apart. Books are split, not verses: no verse of a test book is trained on. Of
the test books 2,000 verses are queries; the corpus has the verses of all books.

Some verses of the packaged text in Basic English are numbered after another edition, and say so in their text
(``43:2``). They are documents, but no queries, because the verse of the same number is another one.

    python -m examples.matching_verses.prepare FOLDER
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.packaged import verses
from examples.preparing import command
from examples.splits import digest, fold
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file

TRAINING_ROWS, VALIDATION_ROWS, TEST_ROWS = 8_000, 500, 2_000
PARTS = 5  # of the books, by hash: one to test on, one to validate on, three to train on

_NUMBER = re.compile(r"\s*[0-9]+\.\s*")
_OTHER_NUMBER = re.compile(r"\\\\([0-9]+):([0-9]+)\\\\")
_QUOTES = '"""'


@dataclass(frozen=True)
class Verse:
    """A verse in both translations.

    Attributes:
        id: book, chapter and verse, as in ``1001001``.
        old: the King James Version.
        basic: Basic English.
    """

    id: str
    old: str
    basic: str

    @property
    def book(self) -> str:
        """The number of its book, from 1 to 66."""
        return self.id[:-6]


def read(path: Path) -> dict[int, str]:
    """The text of each verse in a module of the packages; the module is parsed, not imported.

    It calls a class with a name, one string of all verses, and two dicts: verse -> start and end in the
    string, as the string is written in the module, with its backslashes doubled.

    Raises:
        UserError: the module is not of this form.
    """
    source = path.read_text("utf-8")
    calls = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    try:
        (call,) = calls
        assert isinstance(call, ast.Call)
        starts, ends = map(ast.literal_eval, call.args[2:4])
        text = source[source.index(_QUOTES) + len(_QUOTES) :]  # as it is written
        return {verse: text[start : ends[verse]] for verse, start in starts.items()}
    except (AssertionError, IndexError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not the module of verses that is expected: {error}") from error


def pairs(old: Mapping[int, str], basic: Mapping[int, str]) -> tuple[list[Verse], list[Verse]]:
    """The verses of both translations, without their numbers.

    Returns:
        Those that correspond, and all.
    """
    claimed = {}
    for verse, text in basic.items():
        if found := _OTHER_NUMBER.search(text):
            claimed[verse // 10**6 * 10**6 + int(found[1]) * 1000 + int(found[2])] = verse
    renumbered = {*claimed, *claimed.values()}
    every, matching = [], []
    for verse in old:
        texts = [_clean(translation.get(verse, "")) for translation in (old, basic)]
        if all(any(map(str.isalpha, text)) for text in texts):
            every.append(Verse(str(verse), *texts))
            if verse not in renumbered:
                matching.append(every[-1])
    return matching, every


def _clean(text: str) -> str:
    return " ".join(_OTHER_NUMBER.sub(" ", _NUMBER.sub("", text, count=1)).replace("\\", " ").split())


def split(
    matching: Iterable[Verse], training_rows: int = TRAINING_ROWS
) -> tuple[list[Verse], list[Verse], list[Verse]]:
    """(train, validation, test), from different books; in each, the first verses by hash of the text.

    Some verses occur in several books. They are left out of a part if an earlier one has them: test,
    validation, train.
    """
    parts: list[list[Verse]] = [[] for _ in range(PARTS)]
    for verse in matching:
        parts[int(digest(verse.book)[:8], 16) % PARTS].append(verse)
    test, validation, *train = parts
    seen: set[str] = set()

    def first(some: Iterable[Verse], count: int) -> list[Verse]:
        fresh = [verse for verse in some if not {fold(verse.old), fold(verse.basic)} & seen]
        chosen = sorted(fresh, key=lambda verse: digest(fold(verse.old)))[:count]
        seen.update(fold(text) for verse in chosen for text in (verse.old, verse.basic))
        return chosen

    tested, validated = first(test, TEST_ROWS), first(validation, VALIDATION_ROWS)
    return first((verse for part in train for verse in part), training_rows), validated, tested


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv``, ``validation.csv`` and ``test.csv`` (columns id, old, basic) and ``corpus.csv``
    (columns id, text) into ``folder`` unless they are all there.

    Returns:
        The paths of train.csv and test.csv.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    paths = [Path(folder, f"{name}.csv") for name in ("train", "validation", "test", "corpus")]
    if not all(path.is_file() for path in paths):
        matching, every = pairs(*(read(verses(name)) for name in ("kjv", "bbe")))
        for path, part in zip(paths, split(matching)):
            write(path, ("id", "old", "basic"), ((verse.id, verse.old, verse.basic) for verse in part))
        write(paths[-1], ("id", "text"), ((verse.id, verse.basic) for verse in every))
    return paths[0], paths[2]


def write(path: Path, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a CSV file."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


if __name__ == "__main__":
    command("examples.matching_verses.prepare", prepare)
