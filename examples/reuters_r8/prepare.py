"""Reuters R8 as train.csv and test.csv: eight topics, the official split.

News wires of 1987 that stand under one topic, and one of the eight most frequent (Reuters-21578, ModApte
split): 5,485 to train, 2,189 to test. They are used as they are, as everyone reports scores on them.

    python -m examples.reuters_r8.prepare FOLDER
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from examples.packaged import reuters_r8
from examples.preparing import command, write_splits
from examples.splits import Row

HEADER_LINES = 3


def read(path: Path) -> Iterator[Row]:
    """The rows of a file, in its order."""
    for line in path.read_text("utf-8").split("\n")[HEADER_LINES:]:
        if line.strip():
            topic, text = line.split("\t")
            yield Row(text.strip(), topic)


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    folder = reuters_r8()
    return list(read(folder / "train.tab")), list(read(folder / "test.tab"))


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns text, label) into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"text": "text", "label": "label"}, rows)


if __name__ == "__main__":
    command("examples.reuters_r8.prepare", prepare)
