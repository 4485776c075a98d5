"""Texts of JupyterLab's interface in English, each with its Chinese translations, as train.jsonl and
test.jsonl (columns source, target), and a small BERT of random weights whose vocabulary is made from both
sides.

A text that has several translations, in several extensions, is one row; its target is a list of them, the
most frequent one first. A fifth of the texts, by hash, is the test.

    python -m examples.interface_texts.prepare FOLDER
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from examples.packaged import interface_texts
from examples.preparing import command, write_parts
from examples.random_bert import is_ascii_alphanumeric, random_checkpoint
from examples.splits import fold, split
from tfpipeline.checkpoints import write as write_checkpoint
from tfpipeline.text import TokenizerOptions

CONTEXT = "\x04"  # stands between a text's context and the text
LEAST = 2  # times that a word occurs in the training rows, to be a token
MOST_CHARACTERS = 120  # of an English text; longer ones are help texts

_WORD = re.compile("[a-z]{2,}")


@dataclass(frozen=True)
class Row:
    """An English text and its translations.

    Attributes:
        source: the text.
        translations: different ones, at least one.
    """

    source: str
    translations: tuple[str, ...]
    label: str = ""

    @property
    def key(self) -> str:
        """What makes two rows the same."""
        return fold(self.source)

    @property
    def target(self) -> str | list[str]:
        """The translations, or the only one as a text."""
        return self.translations[0] if len(self.translations) == 1 else list(self.translations)


def read(folder: Path) -> list[Row]:
    """The texts of all files of a language pack; of plural forms the first."""
    found: dict[str, Counter[str]] = {}
    texts: dict[str, str] = {}
    for path in sorted(folder.glob("*.json")):
        for name, translations in json.loads(path.read_text("utf-8")).items():
            source = " ".join(name.rpartition(CONTEXT)[2].split())
            target = " ".join(translations[0].split()) if isinstance(translations, list) else ""
            if source and target and len(source) <= MOST_CHARACTERS:
                texts.setdefault(fold(source), source)
                found.setdefault(fold(source), Counter())[target] += 1
    return [Row(texts[key], tuple(one for one, _ in counts.most_common())) for key, counts in found.items()]


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    return split(read(interface_texts()))


def vocabulary(train: Iterable[Row], options: TokenizerOptions) -> tuple[str, ...]:
    """The special tokens, all characters of both sides that occur more than once, those of ASCII also within
    words, and the English words that occur more than once.
    """
    texts = [text.lower() for row in train for text in (row.source, *row.translations)]
    characters = Counter("".join(texts))
    words = Counter(word for text in texts for word in _WORD.findall(text))

    def frequent(counts: Counter[str]) -> Iterator[str]:
        return (one for one in sorted(counts) if counts[one] >= LEAST and not one.isspace())

    single = list(frequent(characters))
    inside = [f"##{one}" for one in single if is_ascii_alphanumeric(one)]
    return (*options.all_special_tokens, *single, *inside, *frequent(words))


def write(file: IO[str], some: Iterable[Row]) -> None:
    """Write rows as JSON lines, because a cell of a CSV file holds no list."""
    for row in some:
        file.write(json.dumps({"source": row.source, "target": row.target}, ensure_ascii=False) + "\n")


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.jsonl``, ``test.jsonl`` and ``checkpoint`` into ``folder`` unless all are there.

    Returns:
        The paths of the two files.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    paths = write_parts(folder, ".jsonl", rows, write)
    if not Path(folder, "checkpoint").is_dir():
        options = TokenizerOptions()
        tokens = vocabulary(rows()[0], options)
        model = random_checkpoint(tokens, options, layers=3, hidden=192, heads=4, looks_around=True)
        write_checkpoint(model, Path(folder, "checkpoint"))
    return paths


if __name__ == "__main__":
    command("examples.interface_texts.prepare", prepare)
