"""VADER tweets as train.csv and test.csv: three classes, a fixed split, no text in both.

People rated 4,200 tweets from -4 to 4 (Hutto and Gilbert, ICWSM 2014). A mean of 0.5 or more is positive, of
-0.5 or less negative, else neutral. Texts that differ only in case, white space or HTML escapes count as one;
texts whose copies disagree are left out. A text is in the test set when the first 32 bits of its sha1 are
divisible by 5, so the split depends on nothing but the texts: 3,299 to train, 841 to test.

    python -m examples.vader_tweets.prepare FOLDER
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from examples import ratings
from examples.preparing import command, write_splits
from examples.splits import fold, split


@dataclass(frozen=True)
class Row:
    """One rated text.

    Attributes:
        id: as in the source.
        label: "negative", "neutral" or "positive".
        text: HTML escapes resolved, white space folded; its case is kept.
    """

    id: str
    label: str
    text: str

    @property
    def key(self) -> str:
        """What makes two texts the same."""
        return fold(self.text)


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    return split(Row(rated.id, rated.label, rated.text) for rated in ratings.read("tweets"))


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, label, id) into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "label": "label", "id": "id"}, rows)


if __name__ == "__main__":
    command("examples.vader_tweets.prepare", prepare)
