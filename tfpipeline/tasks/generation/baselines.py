"""Texts without a trained model, to compare with: the copied source, its first sentences, the answer of the
most similar training row.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfpipeline.console import progress

if TYPE_CHECKING:
    from tfpipeline.data import Example

COPY, NEAREST = "the source, copied", "the answer of the nearest training row"
# A sentence ends at a stop before white space, at a stop of Chinese or Japanese, or with its line; quotation
# marks and brackets that close belong to it.
_SENTENCE = re.compile(r"\S.*?(?:[.!?…][\"'”’»)\]]*(?=\s|$)|[。！？][”’」』）]*|(?=\n)|$)", re.DOTALL)
_BLOCK = 256  # sources
_CELLS = 1 << 25  # similarities at once


def lead(count: int) -> str:
    """The name of the baseline of the first sentences."""
    return f"the first {count} sentences of the source" if count > 1 else "the first sentence of the source"


def first_sentences(text: str, count: int) -> str:
    """The first sentences of a text, as they stand there; all of it if it has no more."""
    sentences = itertools.islice(_SENTENCE.finditer(text), count)
    return text[: max((sentence.end() for sentence in sentences), default=0)].strip()


def has_more_sentences(text: str, count: int) -> bool:
    """Whether a text has more than ``count`` sentences."""
    return len(first_sentences(text, count)) < len(text.strip())


def nearest_answers(train: Sequence[Example], sources: Sequence[str]) -> list[str] | None:
    """The target of the training row whose source is most similar, by the cosine of TF-IDF.

    Of equally similar rows, the first counts.

    Args:
        train: the training rows; ``text_pair`` is the target.
        sources: N texts.
    Returns:
        N texts, empty for a source without a word of the training rows; None if that is every one.
    """
    import numpy as np

    from tfpipeline.metrics.lexical import TFIDF, Lexical

    known, answers = [], []
    for example in train:
        known.append(example.text)
        answers.append(example.text_pair or "")
    if not known:
        return None
    lexical, found = Lexical(TFIDF, known, sources), [""] * len(sources)
    block = max(1, min(_BLOCK, _CELLS // len(known)))
    similar = False
    with progress("nearest training rows", len(sources)) as bar:
        for start in range(0, len(sources), block):
            rows = np.arange(start, min(start + block, len(sources)))
            scores = lexical.scores(rows)
            best = scores.argmax(axis=1)
            for row, number in zip(rows.tolist(), best.tolist()):
                if scores[row - start, number] > 0:
                    found[row], similar = answers[number], True
            bar.advance(len(rows))
    return found if similar else None
