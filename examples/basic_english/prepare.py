"""Verses of the King James Version, each with the same verse in Basic English, as train.csv, validation.csv
and test.csv (columns source, target).

The verses are those of :mod:`examples.matching_verses`: no verse of a test book is trained on. Here all
verses of the training books are used, and 1,000 of the test books.

    python -m examples.basic_english.prepare FOLDER
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from examples.matching_verses.prepare import Verse, pairs, read, split, write
from examples.packaged import verses
from examples.preparing import command

TEST_ROWS, VALIDATION_ROWS = 1_000, 200
COLUMNS = ("source", "target")


def rows() -> tuple[list[Verse], list[Verse], list[Verse]]:
    """(train, validation, test), each in the order of a hash: any number of the first ones is a fair sample.

    Raises:
        UserError: the texts cannot be fetched.
    """
    matching, every = pairs(*(read(verses(name)) for name in ("kjv", "bbe")))
    train, validation, test = split(matching, training_rows=len(every))
    return train, validation[:VALIDATION_ROWS], test[:TEST_ROWS]


def write_verses(path: Path, some: Iterable[Verse]) -> None:
    """Write verses as rows."""
    write(path, COLUMNS, ((verse.old, verse.basic) for verse in some))


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv``, ``validation.csv`` and ``test.csv`` into ``folder`` unless they are all there.

    Returns:
        The paths of train.csv and test.csv.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    paths = [Path(folder, f"{name}.csv") for name in ("train", "validation", "test")]
    if not all(path.is_file() for path in paths):
        for path, part in zip(paths, rows()):
            write_verses(path, part)
    return paths[0], paths[2]


if __name__ == "__main__":
    command("examples.basic_english.prepare", prepare)
