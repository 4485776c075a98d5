"""VADER film review snippets with their ratings as train.csv and test.csv: a number from -4 to 4, a fixed
split.

The label is the mean of what about ten people gave a sentence of a film review (Hutto and Gilbert, ICWSM
2014). Split as :mod:`examples.splits` says: 5,000 to train, 2,172 to test.

    python -m examples.vader_rating.prepare FOLDER
"""

from __future__ import annotations

from pathlib import Path

from examples import ratings
from examples.preparing import command, write_splits
from examples.splits import Row, at_most, split

TRAINING_ROWS = 5_000


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    train, test = split(Row(one.text, one.rating) for one in ratings.read("movie"))
    return at_most(train, TRAINING_ROWS), test


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, rating) into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "rating": "label"}, rows)


if __name__ == "__main__":
    command("examples.vader_rating.prepare", prepare)
