"""Headlines as train.csv and test.csv: satire or news, a fixed split, no text in both.

28,614 headlines, from a newspaper or from a satirical one (Misra and Arora 2023, arXiv:2212.06035). Split as
:mod:`examples.splits` says: 5,000 to train, 5,762 to test.

    python -m examples.headlines.prepare FOLDER
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from examples.packaged import headlines
from examples.preparing import command, write_splits
from examples.splits import Row, at_most, split

TRAINING_ROWS = 5_000
LABELS = {"0": "news", "1": "satire"}


def read(path: Path) -> Iterator[Row]:
    """The rows of the file, in its order."""
    for line in path.read_text("utf-8").split("\n"):
        if line.strip():
            sample = json.loads(line)
            yield Row(sample["input"][-1]["content"], LABELS[sample["ideal"]])


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    train, test = split(read(headlines()))
    return at_most(train, TRAINING_ROWS), test


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, label) into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "label": "label"}, rows)


if __name__ == "__main__":
    command("examples.headlines.prepare", prepare)
