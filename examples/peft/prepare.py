"""1,500 training rows and at most 1,000 test rows of the tweets or of the film review snippets, as train.csv
and test.csv.

The rows are those of :mod:`examples.vader_tweets` and :mod:`examples.vader_movie`.

    python -m examples.peft.prepare FOLDER        # tweets
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from examples.preparing import command, write_splits
from examples.splits import at_most
from examples.vader_movie import prepare as vader_movie
from examples.vader_tweets import prepare as vader_tweets

SETS: Mapping[str, Callable[[], tuple[Any, Any]]] = {"tweets": vader_tweets.rows, "movie": vader_movie.rows}
TRAINING_ROWS, TEST_ROWS = 1500, 1000  # the recipe trains 30 times


def rows(name: str) -> tuple[list[Any], list[Any]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    train, test = SETS[name]()
    return at_most(train, TRAINING_ROWS), at_most(test, TEST_ROWS)


def prepare(folder: str | Path, name: str = "tweets") -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, label) into ``folder`` unless both are there.

    Args:
        folder: made if need be; one for each set.
        name: of the set, one of ``SETS``.
    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "label": "label"}, partial(rows, name))


if __name__ == "__main__":
    command("examples.peft.prepare", prepare)
