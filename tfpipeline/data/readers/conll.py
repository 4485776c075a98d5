"""CoNLL: a token a line, with its columns; an empty line ends a sentence, as in CoNLL-2003.

A tab parts the columns of a line that holds one, else runs of blanks do. A record is a sentence. Its columns are called
by their numbers from 0, and the last one ``-1`` as well; a cell is the JSON list of what the sentence's tokens have
there. ``tokens`` is column 0 once more, and ``text`` is its cells joined by blanks. The lines ``-DOCSTART-`` between documents are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tfpipeline.data.records import Record, Structure, read_lines, require
from tfpipeline.errors import UserError

Sentence = list[tuple[int, list[str]]]  # of each token its line and its cells

_DOCUMENT = "-DOCSTART-"
_BLANKS = re.compile(" +")  # not str.split(): a token may hold a no-break space


def read(path: Path, required: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the sentences of a CoNLL file; see :mod:`tfpipeline.data.readers`. A record's line is its first token's."""
    return records(path, required, _of_one_width(path), token=0, names=())


def records(
    path: Path, required: Sequence[str], found: Iterator[Sentence], *, token: int, names: Sequence[str]
) -> Iterator[Record]:
    """The records of a file's sentences.

    Args:
        path: the file.
        required: columns that every record must have.
        found: its sentences.
        token: the column of the tokens themselves.
        names: further names of the columns, from the first one on.
    Raises:
        UserError: no sentence, or a required column is not there.
    """
    empty = True
    for sentence in found:
        empty = False
        line = sentence[0][0]
        of_tokens = zip(*(cells for _, cells in sentence))
        listed = [Structure(json.dumps(cells, ensure_ascii=False)) for cells in of_tokens]
        columns: dict[str, str] = {str(number): cell for number, cell in enumerate(listed)}
        columns.update(zip(names, listed))
        columns["-1"] = listed[-1]
        columns["tokens"] = listed[token]
        columns["text"] = " ".join(cells[token] for _, cells in sentence)
        require(required, columns, f"{path}:{line}")
        yield Record(columns, str(path), line)
    if empty:
        raise UserError(
            f"{path}:1: the file is empty; expected a token a line and an empty line after each sentence"
        )


def sentences(path: Path, left_out: Callable[[str], bool] = lambda line: False) -> Iterator[Sentence]:
    """The sentences of a file.

    Args:
        path: the file.
        left_out: says which lines are no tokens.
    """
    tokens: Sentence = []
    for line, text in enumerate(read_lines(path), 1):
        if left_out(text):
            continue
        cells = _cells(text)
        if cells and cells[0] != _DOCUMENT:
            tokens.append((line, cells))
        elif tokens:
            yield tokens
            tokens = []
    if tokens:
        yield tokens


def _of_one_width(path: Path) -> Iterator[Sentence]:
    first = width = 0
    for sentence in sentences(path):
        if not first:
            first, width = sentence[0][0], len(sentence[0][1])
        for line, cells in sentence:
            if len(cells) != width:
                raise UserError(
                    f"{path}:{line}: {len(cells)} columns where the file's first token, in line {first}, has {width}; give each "
                    "token as many, and put an empty line between sentences"
                )
        yield sentence


def _cells(text: str) -> list[str]:
    """The cells of a line, none of a blank one."""
    text = text.rstrip("\r\n")
    if not text.strip(" \t"):
        return []
    return text.split("\t") if "\t" in text else _BLANKS.split(text.strip(" "))
