"""VADER tweets and film review snippets as one train.csv and one test.csv: each row has the label of its own
task.

The rows are those of :mod:`examples.vader_tweets` and :mod:`examples.vader_movie`, in both parts; the cell of
the other task is empty.

    python -m examples.multitask.prepare FOLDER
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from examples.preparing import command, write_splits
from examples.vader_movie import prepare as vader_movie
from examples.vader_tweets import prepare as vader_tweets


@dataclass(frozen=True)
class Row:
    """One text with one of two labels.

    Attributes:
        text: the text.
        tweet: "negative", "neutral" or "positive"; empty for a film review snippet.
        movie: "negative" or "positive"; empty for a tweet.
    """

    text: str
    tweet: str = ""
    movie: str = ""


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    parts = zip(vader_tweets.rows(), vader_movie.rows(), strict=True)
    train, test = (
        [Row(row.text, tweet=row.label) for row in tweets] + [Row(row.text, movie=row.label) for row in movie]
        for tweets, movie in parts
    )
    return train, test


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, tweet, movie) into ``folder`` unless both are
    there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "tweet": "tweet", "movie": "movie"}, rows)


if __name__ == "__main__":
    command("examples.multitask.prepare", prepare)
