"""BoolQ as train.csv and test.csv: a question and a passage, yes or no; the original's development rows are
the test.

Questions that people typed into a search engine (Clark et al. 2019, arXiv:1905.10044). The packaged file of
all rows holds the development rows too: they are taken out, and so is what shares its passage with one of
them. Of what is left 2,000 rows are for training; 3,270 for the test.

    python -m examples.boolq.prepare FOLDER
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.packaged import boolq
from examples.preparing import command, write_splits
from examples.splits import Row, at_most, fold, unique

TRAINING_ROWS = 2_000


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, in its order."""
    for line in path.read_text("utf-8").split("\n"):
        if line.strip():
            yield json.loads(line)


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    folder = boolq()
    # The other file has passages after their title already.
    test = unique(
        row_of(one["question"], f"{one['title']} -- {one['passage']}", one["answer"] == "True")
        for one in read(folder / "dev.jsonl")
    )
    labelled = (one for one in read(folder / "combined.jsonl") if "label" in one)
    train = unique(row_of(one["question"], one["passage"], one["label"]) for one in labelled)
    questions = {fold(row.text) for row in test}
    passages = {fold(row.text_pair or "") for row in test}
    train = [
        row for row in train if fold(row.text) not in questions and fold(row.text_pair or "") not in passages
    ]
    return at_most(train, TRAINING_ROWS), test


def row_of(question: str, passage: str, answer: bool) -> Row:
    """White space folded."""
    return Row(" ".join(question.split()), "yes" if answer else "no", " ".join(passage.split()))


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns question, passage, label) into ``folder`` unless both are
    there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_splits(folder, {"question": "text", "passage": "text_pair", "label": "label"}, rows)


if __name__ == "__main__":
    command("examples.boolq.prepare", prepare)
