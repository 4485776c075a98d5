"""CoNLL-U, the format of Universal Dependencies: one word per line, with ten columns separated by tabs.

A record is a sentence, read as :mod:`~tfpipeline.data.readers.conll` reads one; columns are called by their
names in lower case (``form``, ``upos``) and by their numbers. ``text`` is the forms joined by spaces.
Comments, lines for multiword tokens (``1-2``) and lines for empty nodes (``8.1``) are left out.
Format: https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfpipeline.data.readers import conll
from tfpipeline.data.records import Reading, Record
from tfpipeline.errors import UserError

NAMES = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_FORM = NAMES.index("form")


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield a file's sentences; see :mod:`tfpipeline.data.readers`.

    A record has the line of its first word.
    """

    def check(sentence: conll.Sentence) -> None:
        for line, cells in sentence:
            if len(cells) != len(NAMES):
                raise UserError(
                    f"{path}:{line}: {len(cells)} columns; a word of CoNLL-U has ten, separated by tabs "
                    "(.conll files may have others)"
                )

    sentences = _sentences(path, reading.file.encoding)
    yield from conll.records(path, reading, sentences, token=_FORM, names=NAMES, check=check)


def _sentences(path: Path, encoding: str) -> Iterator[conll.Sentence]:
    """The sentences of a file, without lines that are not words; malformed lines are kept."""
    for sentence in conll.sentences(path, encoding, lambda line, text, within: True):
        words = [
            (line, cells) for line, cells in sentence if cells[0].isdecimal() or len(cells) != len(NAMES)
        ]
        if words:
            yield words
