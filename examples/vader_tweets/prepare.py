"""VADER tweets as train.csv and test.csv: three classes, a fixed split, no text in both.

People rated 4,200 tweets from -4 to 4 (Hutto and Gilbert, ICWSM 2014). A mean of 0.5 or more is positive, of -0.5
or less negative, else neutral. Texts that differ only in case, white space or HTML escapes count as one; texts
whose copies disagree are left out. A text is in the test set when the first 32 bits of its sha1 are divisible by 5,
so the split depends on nothing but the texts: 3,299 to train, 841 to test.

    python -m examples.vader_tweets.prepare FOLDER
"""

from __future__ import annotations

import csv
import hashlib
import html
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from examples.packaged import vader
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file

THRESHOLD = 0.5


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
        return " ".join(self.text.lower().split())


def label_of(rating: float) -> str:
    """The class of a mean rating from -4 to 4."""
    return "positive" if rating >= THRESHOLD else "negative" if rating <= -THRESHOLD else "neutral"


def read(path: Path) -> Iterator[Row]:
    """The rows of a ``*_GroundTruth.txt`` file, in its order."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Not csv, not str.splitlines: the texts hold quotes and stray separators such as U+0085.
        for line in file.read().split("\n"):
            if line.strip():
                identifier, rating, text = line.rstrip("\r").split("\t")
                yield Row(identifier, label_of(float(rating)), " ".join(html.unescape(text).split()))


def split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """(train, test): copies and contradictions removed, then by hash of the text."""
    copies: dict[str, list[Row]] = {}
    for row in rows:
        copies.setdefault(row.key, []).append(row)
    train: list[Row] = []
    test: list[Row] = []
    for key, same in copies.items():
        if len({row.label for row in same}) == 1:
            digest = int(hashlib.sha1(key.encode()).hexdigest()[:8], 16)
            (test if digest % 5 == 0 else train).append(same[0])
    return train, test


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, label, id) into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    paths = Path(folder, "train.csv"), Path(folder, "test.csv")
    if all(path.is_file() for path in paths):
        return paths
    for path, rows in zip(paths, split(read(vader("tweets"))), strict=True):
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "label", "id"])
            writer.writerows([row.text, row.label, row.id] for row in rows)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.vader_tweets.prepare FOLDER")
    try:
        print(*prepare(sys.argv[1]), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
