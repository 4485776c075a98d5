"""Cuts documents into rows that fill the model, at the ends of sentences; and makes rows of two texts.

A document is one row of the data file, or the rows of one group (``data.group``) that follow each other:
these are packed together. Its sentences are joined as long as they fit into a row. A sentence that is longer
than a row is cut before a word, and a longer word before a token.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfpipeline.data import Example
from tfpipeline.tasks import _dividing
from tfpipeline.tasks._dividing import RowTokens

NEXT, OTHER = "next", "other"  # labels of next_sentence: the second text follows the first, or is another's
ORDERED, SWAPPED = "ordered", "swapped"  # of sentence_order
# Ends of sentences: marks with white space behind them, Chinese marks, ends of lines.
_SENTENCE_END = re.compile(r"""[.!?]['")\]’”]*(?=\s)|[。!?！？…]+[’”」』）]*|\n""")
_REMEMBERED = 256  # documents from which the second text of a row may come
_SEED = 0
NO_TOKEN, SPECIAL_ONLY, TOO_SHORT = "without a token", "of special tokens only", "of a single sentence"


@dataclass(frozen=True)
class Sentence:
    """A sentence, or a part of one that is too long: ``example.text[start:end]``, and how many tokens it
    has.
    """

    example: Example
    start: int
    end: int
    tokens: int


def cut(examples: Iterable[Example], tokens: RowTokens, special: Collection[str] = ()) -> Iterator[Example]:
    """Rows of one text each, as full as whole sentences fill them.

    Args:
        examples: the rows of the data file.
        tokens: their tokens.
        special: special tokens; there is nothing to mask in a text that has no others.
    """
    room = tokens.room()
    for document in documents(examples, tokens, room, special):
        row: list[Sentence] = []
        for sentence in document:
            if row and _tokens(row) + sentence.tokens > room:
                yield _row(row)
                row = []
            row.append(sentence)
        yield _row(row)


def cut_pairs(
    examples: Iterable[Example], tokens: RowTokens, special: Collection[str] = (), *, ordered: bool
) -> Iterator[Example]:
    """Rows of two texts each, with a label; no sentence is in two rows, but for second texts from elsewhere.

    Half of the rows are as in the document. The others have the second text of another document read before
    (``next_sentence``), or their texts swapped (``sentence_order``).

    Args:
        examples, tokens, special: as for :func:`cut`.
        ordered: whether the order is to be found, not whether the second text is the next one.
    """
    room, random = tokens.room(pair=True), np.random.default_rng(_SEED)
    others: deque[list[Sentence]] = deque(maxlen=_REMEMBERED)
    for document in documents(examples, tokens, room // 2, special):
        rest = deque(document)
        while rest:
            row = _take(rest, room)
            change = random.random() < 0.5
            if not ordered and others and (change or len(row) == 1):
                first = _take(deque(row), room - room // 2)
                rest.extendleft(reversed(row[len(first) :]))
                yield _pair(first, _elsewhere(others, room - _tokens(first), random), OTHER)
            elif len(row) == 1:
                tokens.leave_out(TOO_SHORT, row[0].tokens)
            else:
                middle = int(random.integers(1, len(row)))
                first, second = row[:middle], row[middle:]
                if ordered and change:
                    yield _pair(second, first, SWAPPED)
                else:
                    yield _pair(first, second, ORDERED if ordered else NEXT)
        others.append(document)


def documents(
    examples: Iterable[Example], tokens: RowTokens, most: int, special: Collection[str] = ()
) -> Iterator[list[Sentence]]:
    """The sentences of each document, of at most ``most`` tokens each. Texts with nothing to mask are left
    out.
    """
    document: list[Sentence] = []
    for example, (found,) in tokens.of(examples, lambda example: [example.text]):
        if document and not _belong_together(document[-1].example, example):
            yield document
            document = []
        if not len(found):
            tokens.leave_out(NO_TOKEN)
        elif all(example.text[start:end] in special for start, end in found[:, :2]):
            tokens.leave_out(SPECIAL_ONLY, len(found))
        else:
            document += sentences_of(example, found, most)
    if document:
        yield document


def sentences_of(example: Example, tokens: np.ndarray, most: int) -> Iterator[Sentence]:
    """The sentences of a row's text in order; all its tokens are in one of them.

    Args:
        example: the row.
        tokens: int32 [N, 3], see :meth:`RowTokens.of`.
        most: the most tokens of a sentence; a longer one is cut before a word, or else before a token.
    """
    starts, ends = tokens[:, _dividing.START], tokens[:, _dividing.END]
    words = np.flatnonzero(tokens[:, _dividing.BEGINS_WORD])
    stops = [match.end() for match in _SENTENCE_END.finditer(example.text)]
    edges = np.unique(np.append(np.searchsorted(starts, stops), len(tokens)))
    first = 0
    for edge in edges.tolist():
        while first < edge:
            last = edge
            if edge - first > most:
                word = words[np.searchsorted(words, first + most, side="right") - 1] if len(words) else 0
                last = int(word) if word > first else first + most
            yield Sentence(example, int(starts[first]), int(ends[last - 1]), last - first)
            first = last


def _belong_together(one: Example, two: Example) -> bool:
    return one.group is not None and one.group == two.group and one.weight == two.weight


def _tokens(sentences: Sequence[Sentence]) -> int:
    return sum(sentence.tokens for sentence in sentences)


def _take(sentences: deque[Sentence], room: int) -> list[Sentence]:
    """Take the first sentences, as many as fit, but at least one."""
    taken = [sentences.popleft()]
    used = taken[0].tokens
    while sentences and used + sentences[0].tokens <= room:
        used += sentences[0].tokens
        taken.append(sentences.popleft())
    return taken


def _elsewhere(others: Sequence[list[Sentence]], room: int, random: np.random.Generator) -> list[Sentence]:
    """Sentences that follow each other, from a random place of a random document."""
    document = others[int(random.integers(len(others)))]
    return _take(deque(document[int(random.integers(len(document))) :]), room)


def _text(sentences: Sequence[Sentence]) -> str:
    """The text of sentences: as in the file, a line for each row of it."""
    lines: list[tuple[Example, int, int]] = []
    for sentence in sentences:
        if lines and lines[-1][0] is sentence.example:
            lines[-1] = (sentence.example, lines[-1][1], sentence.end)
        else:
            lines.append((sentence.example, sentence.start, sentence.end))
    return "\n".join(example.text[start:end] for example, start, end in lines)


def _row(sentences: Sequence[Sentence], second: str | None = None, label: str | None = None) -> Example:
    """A row of the run; it names the place in the data file where its text begins."""
    of = sentences[0].example
    return Example(
        text=_text(sentences),
        text_pair=second,
        label=label,
        weight=of.weight,
        group=of.group,
        file=of.file,
        line=of.line,
        place=of.place,
    )


def _pair(first: Sequence[Sentence], second: Sequence[Sentence], label: str) -> Example:
    return _row(first, _text(second), label)
