"""Rows that become several rows, or none: what a task needs to divide them, with the tokenizer at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.text import Tokenizer, Truncation

TextsOf = Callable[["Example"], Sequence[str]]

_PIECE_CHARACTERS = 8_000_000  # rows in memory at a time
_BATCH_CHARACTERS = 4_000_000  # of a call of the tokenizer, with padding
_NO_LIMIT = 2**30

# The columns of a text's tokens.
START, END, BEGINS_WORD = range(3)


class RowTokens:
    """Tokens of texts for :meth:`tfpipeline.tasks.Task.divide`, which may be longer than the model reads.

    Args:
        tokenizer: the run's tokenizer.
        truncation: the run's, which has the length of a row.

    Attributes:
        left_out: reason -> the number of tokens that the task left out for it, as :meth:`leave_out` counts.
        texts_left_out: the same for texts.
    """

    def __init__(self, tokenizer: Tokenizer, truncation: Truncation) -> None:
        self._tokenizer, self._truncation = tokenizer, truncation
        self.left_out: Counter[str] = Counter()
        self.texts_left_out: Counter[str] = Counter()

    def room(self, *, pair: bool = False) -> int:
        """The most tokens that the texts of a row may have, special tokens not counted.

        Args:
            pair: whether the row has two texts.
        """
        return self._truncation.text_tokens(pair)

    def leave_out(self, why: str, tokens: int = 0) -> None:
        """Count a text, or a part of one, that no row has.

        Args:
            why: completes the sentence "3 texts WHY are left out", such as "without a token".
            tokens: its number of tokens.
        """
        self.texts_left_out[why] += 1
        self.left_out[why] += tokens

    def of(self, examples: Iterable[Example], texts: TextsOf) -> Iterator[tuple[Example, list[np.ndarray]]]:
        """Rows with the tokens of their texts, in order. The texts are tokenized in large batches.

        Args:
            examples: any number of rows; each is read once.
            texts: the texts of a row to tokenize, any number of them.
        Returns:
            Each row, with an int32 [N, 3] for each of its texts: the first code point of each token, one past
            its last, and 1 where the token begins a word. Nothing is truncated, and there are no special
            tokens around the text.
        """
        piece: list[tuple[Example, Sequence[str]]] = []
        characters = 0
        for example in examples:
            own = texts(example)
            piece.append((example, own))
            characters += sum(map(len, own)) + 1
            if characters >= _PIECE_CHARACTERS:
                yield from self._tokenized(piece)
                piece, characters = [], 0
        yield from self._tokenized(piece)

    def _tokenized(
        self, piece: Sequence[tuple[Example, Sequence[str]]]
    ) -> Iterator[tuple[Example, list[np.ndarray]]]:
        texts = [text for _, own in piece for text in own]
        tokens: list[np.ndarray] = [np.zeros((0, 3), np.int32)] * len(texts)
        for batch in _batches(texts):
            for number, found in zip(batch, self._encode([texts[number] for number in batch])):
                tokens[number] = found
        first = 0
        for example, own in piece:
            yield example, tokens[first : first + len(own)]
            first += len(own)

    def _encode(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        encoded = self._tokenizer(texts, None, _NO_LIMIT, offsets=True)
        template = self._tokenizer.template
        before, after = len(template.before), len(template.after)
        lengths = np.asarray(encoded["attention_mask"]).sum(1)
        columns = np.concatenate(
            [np.asarray(encoded["offsets"]), np.asarray(encoded["word_starts"])[..., None]], axis=2
        )
        for row, length in enumerate(lengths.tolist()):
            yield columns[row, before : length - after].copy()


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Numbers of texts of similar lengths, which take little memory when they are padded."""
    batch: list[int] = []
    for number in sorted(range(len(texts)), key=lambda number: len(texts[number])):
        if batch and (len(batch) + 1) * len(texts[number]) > _BATCH_CHARACTERS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
