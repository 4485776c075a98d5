"""The words of a row, as numbers of its tokens: pieces of words (``##``), or Chinese words of a word list."""

from __future__ import annotations

import functools
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfpipeline.errors import UserError

# A text -> the first character of each of its words, in order.
Segmenter = Callable[[str], np.ndarray]


def word_numbers(
    offsets: np.ndarray,
    word_starts: np.ndarray,
    types: np.ndarray,
    *,
    whole_words: bool,
    texts: Sequence[tuple[str, str]] = (),
    segmenter: Segmenter | None = None,
) -> np.ndarray:
    """The number of each token's word in its row, from 1; 0 for special tokens around the texts and padding.

    B rows, T positions.

    Args:
        offsets: int32 [B, T, 2], of each token in its text.
        word_starts: int32 [B, T], 1 where a token begins a word of the tokenizer.
        types: int32 [B, T], the text of each token, 0 or 1.
        whole_words: whether the pieces of a word have one number; otherwise each token has its own.
        texts: B pairs of texts, the second perhaps empty; needed only with a segmenter.
        segmenter: finds words that consist of several words of the tokenizer.
    Returns:
        int32 [B, T].
    """
    real = offsets[..., 1] > offsets[..., 0]
    if not whole_words:
        begins = real
    elif segmenter is None:
        begins = real & (word_starts > 0)
    else:
        begins = np.zeros(real.shape, bool)
        for row, both in enumerate(texts):
            begins[row] = _segmented(
                real[row],
                word_starts[row],
                offsets[row, :, 0],
                types[row],
                [segmenter(text) for text in both],
            )
    return np.where(real, np.cumsum(begins, axis=1), 0).astype(np.int32)


def _segmented(
    real: np.ndarray,
    word_starts: np.ndarray,
    starts: np.ndarray,
    types: np.ndarray,
    words: Sequence[np.ndarray],
) -> np.ndarray:
    """Where words begin in a row, bool [T]: at tokens whose word of the list differs from the one before."""
    number = np.zeros(len(real), np.int64)
    for text, firsts in enumerate(words):
        own = real & (types == text)
        number[own] = np.searchsorted(firsts, starts[own], side="right") + 1
    changed = np.ones(len(real), bool)
    changed[1:] = (number[1:] != number[:-1]) | (types[1:] != types[:-1]) | ~real[:-1]
    return real & changed & (word_starts > 0)


@functools.cache
def jieba_segmenter() -> Segmenter:
    """Find Chinese words with jieba's word list.

    Raises:
        UserError: jieba is not installed.
    """
    with warnings.catch_warnings():  # of its import of pkg_resources, and of invalid escapes in its source
        warnings.simplefilter("ignore")
        try:
            import jieba
        except ImportError as error:
            raise UserError(
                "task.words is jieba, which is not installed; install the `chinese` extra: "
                "pip install 'tfpipeline[chinese]'"
            ) from error
    logging.getLogger("jieba").setLevel(logging.WARNING)
    tokenizer: Any = jieba.Tokenizer()
    # Its own cache would be a file in the shared temporary folder, which it trusts.
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()

    def segment(text: str) -> np.ndarray:
        return np.array([start for _, start, _ in tokenizer.tokenize(text)], np.int64)

    return segment
