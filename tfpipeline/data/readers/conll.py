"""CoNLL: one token per line, with its columns; an empty line ends a sentence, as in CoNLL-2003.

If a line has tabs, they separate its columns; otherwise runs of spaces do. A record is a sentence. Its
columns are named by their numbers from 0; the last one is also ``-1``. A cell is the JSON list of the values
of the sentence's tokens. ``tokens`` is another name for column 0, and ``text`` is its cells joined by spaces.
Lines with ``-DOCSTART-`` between documents are left out.

The format has no comments, but many files do (GermEval 2014, Universal Dependencies, CoNLL-2012), and "#" may
also be a token. A line that starts with "#" is a comment if it comes before its sentence's first token and
either has a different number of columns from the file's tokens, or is one of ``# key = value``, ``# newpar``,
``# newdoc``, or ``#`` and an address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tfpipeline.console import plural, say
from tfpipeline.data.lines import read_lines
from tfpipeline.data.records import Reading, Record, Structure, require, shortened
from tfpipeline.errors import UserError

Sentence = list[tuple[int, list[str]]]  # the line and the cells of each token

_DOCUMENT = "-DOCSTART-"
_BLANKS = re.compile(" +")  # not str.split(): a token may hold a no-break space
_COMMENT = re.compile(r"#\s+(?:new(?:par|doc)\b|[\w.:-]+\s+=\s|[a-z]+://)")
_KNOWN = 10_000  # the most tags of a file; a column with more distinct cells holds no tags


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield a file's sentences; see :mod:`tfpipeline.data.readers`.

    A record has the line of its first token.
    """
    hashes = _Hashes(path, reading.file.encoding)
    sentences_of_file = sentences(path, reading.file.encoding, hashes.is_comment)
    yield from records(path, reading, sentences_of_file, token=0, names=(), check=hashes.check)
    hashes.tell()


def records(
    path: Path,
    reading: Reading,
    file_sentences: Iterator[Sentence],
    *,
    token: int,
    names: Sequence[str],
    check: Callable[[Sentence], None],
) -> Iterator[Record]:
    """The records of a file's sentences.

    Args:
        path: the file.
        reading: options for reading it.
        file_sentences: the sentences of the file.
        token: the column of the tokens.
        names: further names of the columns, starting with the first.
        check: raises an error for a sentence that cannot be read.
    Raises:
        UserError: there is no sentence, or a required column is missing.
    """
    empty = True
    for sentence in file_sentences:
        empty = False
        try:
            check(sentence)
        except UserError as error:
            reading.bad_row(error)
            continue
        line = sentence[0][0]
        of_tokens = zip(*(cells for _, cells in sentence))
        listed = [Structure(json.dumps(cells, ensure_ascii=False)) for cells in of_tokens]
        columns: dict[str, str] = {str(number): cell for number, cell in enumerate(listed)}
        columns.update(zip(names, listed))
        columns["-1"] = listed[-1]
        columns["tokens"] = listed[token]
        columns["text"] = " ".join(cells[token] for _, cells in sentence)
        require(reading.required, columns, f"{path}:{line}")
        yield Record(columns, str(path), line)
    if empty:
        raise UserError(
            f"{path}:1: the file is empty; expected one token per line and an empty line after each sentence"
        )


def sentences(path: Path, encoding: str, left_out: Callable[[int, str, bool], bool]) -> Iterator[Sentence]:
    """The sentences of a file.

    Args:
        path: the file.
        encoding: its text encoding.
        left_out: decides which lines are not tokens. For a line that starts with "#" it receives the line
            number, the text, and whether its sentence has begun.
    """
    tokens: Sentence = []
    for line, text in enumerate(read_lines(path, encoding), 1):
        if text.startswith("#") and left_out(line, text, bool(tokens)):
            continue
        cells = _cells(text)
        if cells and cells[0] != _DOCUMENT:
            tokens.append((line, cells))
        elif tokens:
            yield tokens
            tokens = []
    if tokens:
        yield tokens


class _Hashes:
    """Distinguishes a file's comments from its tokens, and reports the decisions."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._path = path
        self._line, self._width = _first_token(path, encoding)
        self._comments, self._first = 0, ""
        self._tags: set[str] = set()
        self._unsure: list[tuple[int, str, str]] = []  # tokens that may be comments: line, text, tag

    def is_comment(self, line: int, text: str, within: bool) -> bool:
        """Whether a line that starts with "#" is a comment; ``within`` a sentence there are none."""
        if within:
            return False
        cells = _cells(text)
        text = text.strip()
        if len(cells) == self._width and not _COMMENT.match(text):
            if cells[0] == "#" and self._width > 1:
                self._unsure.append((line, text, cells[-1]))
            return False
        self._comments += 1
        self._first = self._first or f'line {line} ("{shortened(text)}")'
        return True

    def check(self, sentence: Sentence) -> None:
        """Raise an error for a token with a different number of columns."""
        for line, cells in sentence:
            if len(cells) != self._width:
                comment = ", or remove the line if it is a comment" if cells[0].startswith("#") else ""
                raise UserError(
                    f"{self._path}:{line}: {len(cells)} columns where the file's first token, in line "
                    f"{self._line}, has {self._width}; give every token that many, and put an empty line "
                    f"between sentences{comment}"
                )
            if cells[0] != "#" and len(self._tags) < _KNOWN:
                self._tags.add(cells[-1])

    def tell(self) -> None:
        """Report the number of comments, and tokens with a tag that no other token has."""
        if self._comments:
            lines = "1 line that begins" if self._comments == 1 else f"{self._comments} lines that begin"
            verb, what = ("was", "a comment") if self._comments == 1 else ("were", "comments")
            say(f'{self._path}: {lines} with "#" {verb} read as {what}, the first is {self._first}')
        odd = [one for one in self._unsure if one[2] not in self._tags]
        if odd and len(self._tags) < _KNOWN:
            line, text, _ = odd[0]
            lines = plural(
                len(odd), '1 line that begins with "#" has', f'{len(odd)} lines that begin with "#" have'
            )
            read = plural(len(odd), "is read as a token", "are read as tokens")
            first = plural(len(odd), "in line", "the first in line")
            them = plural(len(odd), "it if it is a comment", "them if they are comments")
            say(
                f"warning: {self._path}: {lines} {self._width} columns and {read}, with tags that no other "
                f'token has, {first} {line} ("{shortened(text)}"); remove {them}'
            )


def _first_token(path: Path, encoding: str) -> tuple[int, int]:
    """The line of the first line that is certainly a token, and its number of columns."""
    first = (0, 0)
    for line, text in enumerate(read_lines(path, encoding), 1):
        cells = _cells(text)
        if not cells or cells[0] == _DOCUMENT:
            continue
        first = first if first[0] and text.startswith("#") else (line, len(cells))
        if not text.startswith("#"):
            break
    return first


def _cells(text: str) -> list[str]:
    """The cells of a line; empty for a blank line."""
    text = text.rstrip("\r\n")
    if not text.strip(" \t"):
        return []
    return text.split("\t") if "\t" in text else _BLANKS.split(text.strip(" "))
