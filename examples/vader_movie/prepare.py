"""VADER film review snippets as train.csv and test.csv: two classes, a fixed split, no text in both.

People rated 10,605 sentences of film reviews from -4 to 4 (Hutto and Gilbert, ICWSM 2014). A mean of 0.5 or
more is positive, of -0.5 or less negative; what lies between is left out. Split as :mod:`examples.splits`
says: 8,008 to train, 2,062 to test.

    python -m examples.vader_movie.prepare FOLDER
"""

from __future__ import annotations

from pathlib import Path

from examples import ratings
from examples.preparing import command, write_splits
from examples.splits import Row, split


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    rated = ratings.read("movie")
    return split(Row(one.text, one.label) for one in rated if one.label != "neutral")


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, label) into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "label": "label"}, rows)


if __name__ == "__main__":
    command("examples.vader_movie.prepare", prepare)
