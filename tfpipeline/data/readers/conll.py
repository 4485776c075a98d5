"""CoNLL: a token a line, with its columns; an empty line ends a sentence, as in CoNLL-2003.

A tab parts the columns of a line that holds one, else runs of blanks do. A record is a sentence. Its columns are called
by their numbers from 0, and the last one ``-1`` as well; a cell is the JSON list of what the sentence's tokens have
there. ``text`` is column 0 joined by blanks. The lines ``-DOCSTART-`` between documents are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfpipeline.data.records import Record, read_lines, require
from tfpipeline.errors import UserError

_DOCUMENT = "-DOCSTART-"
_BLANKS = re.compile(" +")  # not str.split(): a token may hold a no-break space


def read(path: Path, required: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the sentences of a CoNLL file; see :mod:`tfpipeline.data.readers`. A record's line is its first token's."""
    empty = True
    for line, tokens in _sentences(path):
        empty = False
        columns = {
            str(number): json.dumps(cells, ensure_ascii=False) for number, cells in enumerate(zip(*tokens))
        }
        columns["-1"] = columns[str(len(columns) - 1)]
        columns["text"] = " ".join(cells[0] for cells in tokens)
        require(required, columns, f"{path}:{line}")
        yield Record(columns, str(path), line)
    if empty:
        raise UserError(
            f"{path}:1: the file is empty; expected a token a line and an empty line after each sentence"
        )


def _sentences(path: Path) -> Iterator[tuple[int, list[list[str]]]]:
    """Each sentence's first line, and the cells of its tokens, as many for each."""
    first = 0
    tokens: list[list[str]] = []
    for line, text in enumerate(read_lines(path), 1):
        cells = _cells(text)
        if not cells or cells[0] == _DOCUMENT:
            if tokens:
                yield first, tokens
            tokens = []
            continue
        if not tokens:
            first = line
        elif len(cells) != len(tokens[0]):
            raise UserError(
                f"{path}:{line}: {len(cells)} columns where the sentence's first line, {first}, has {len(tokens[0])}; "
                "give each token as many, and put an empty line between sentences"
            )
        tokens.append(cells)
    if tokens:
        yield first, tokens


def _cells(text: str) -> list[str]:
    """The cells of a line, none of a blank one."""
    text = text.rstrip("\r\n")
    if not text.strip(" \t"):
        return []
    return text.split("\t") if "\t" in text else _BLANKS.split(text.strip(" "))
