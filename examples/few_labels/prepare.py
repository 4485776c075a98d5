"""A few film review snippets of each class as train.csv, and 500 test rows of the task as test.csv.

The rows are those of :mod:`examples.vader_movie`; another seed draws other ones, and of one seed the few are
among the many.

    python -m examples.few_labels.prepare FOLDER        # 32 texts a class
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from examples.preparing import command, write_splits
from examples.splits import Row, at_most, digest
from examples.vader_movie import prepare as vader_movie

TEST_ROWS = 500  # enough for differences of four points, and the recipe has 27 runs


def draw(rows: Iterable[Row], per_class: int, seed: int) -> list[Row]:
    """``per_class`` rows of each label, mixed: the first ones by the hash of seed and text."""
    left: dict[str, int] = {}
    found = []
    for row in sorted(rows, key=lambda row: digest(f"{seed} {row.key}")):
        if left.setdefault(row.label, per_class):
            left[row.label] -= 1
            found.append(row)
    return found


def rows(per_class: int, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    train, test = vader_movie.rows()
    return draw(train, per_class, seed), at_most(test, TEST_ROWS)


def prepare(folder: str | Path, per_class: int = 32, seed: int = 0) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, label) into ``folder`` unless both are there.

    Args:
        folder: made if need be; one for each ``per_class`` and ``seed``.
        per_class: training rows of each class.
        seed: another one draws other rows.
    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "label": "label"}, partial(rows, per_class, seed))


if __name__ == "__main__":
    command("examples.few_labels.prepare", prepare)
