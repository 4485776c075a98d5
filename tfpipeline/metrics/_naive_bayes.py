"""Multinomial naive Bayes of sparse features, for very many labels.

scikit-learn's keeps dense matrices of labels by words, several of them: gigabytes for a thousand labels. Here
whatever a label has not seen is one number a label, so that memory grows with what the training texts hold.
It answers as ``MultinomialNB`` does (the tests compare).

N training rows, M rows to answer, C labels, V words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

SMOOTHING = 0.1  # of counts; TF-IDF weights are small beside 1, which would level them
_BLOCK = 1024  # rows answered at once


def class_probabilities(features: Any, classes: np.ndarray, asked: Any) -> np.ndarray:
    """One class a row.

    Args:
        features: sparse, at least 0, [N, V].
        classes: integer [N], 0 to C - 1, each of them in some row.
        asked: sparse [M, V].
    Returns:
        float64 [M, C].
    """
    rows, size = len(classes), int(classes.max()) + 1
    members = sparse.csr_array((np.ones(rows), (classes, np.arange(rows))), shape=(size, rows))
    counts, unseen = _counts(members, features)
    logs = np.log(np.bincount(classes) / rows)[None] + _sum(asked, _seen(counts), unseen)
    logs -= logs.max(-1, keepdims=True)
    np.exp(logs, out=logs)
    logs /= logs.sum(-1, keepdims=True)
    return logs


def label_odds(features: Any, targets: np.ndarray, asked: Any) -> np.ndarray:
    """Any labels a row: of each one the odds against all rows without it, logarithms.

    Args:
        features: sparse, at least 0, [N, V].
        targets: bool [N, C]; each label has rows, and rows without it.
        asked: sparse [M, V].
    Returns:
        float64 [M, C].
    """
    every, words = np.asarray(features.sum(0)).ravel() + SMOOTHING, features.shape[1]
    counts, unseen = _counts(sparse.csr_array(targets.T, dtype=np.float64), features)
    # Of a word, the rows without a label have what all have, less what those with it have.
    weights, fewer = _seen(counts), counts.tocoo()
    weights.data -= np.log1p(-fewer.data / every[fewer.coords[1]])
    without = features.sum() - np.asarray(counts.sum(1)).ravel() + SMOOTHING * words
    share = targets.mean(0)
    odds = _sum(asked, weights, unseen + np.log(without)) + (np.log(share) - np.log1p(-share))
    odds -= np.asarray(asked @ np.log(every)).reshape(-1, 1)
    return odds


def _counts(members: Any, features: Any) -> tuple[Any, np.ndarray]:
    """What the rows of each label hold of each word [C, V], and the logarithm of an unseen word's probability
    [C].
    """
    counts = sparse.csr_array(members @ features)
    total = np.asarray(counts.sum(1)).ravel() + SMOOTHING * features.shape[1]
    return counts, np.log(SMOOTHING) - np.log(total)


def _seen(counts: Any) -> Any:
    """By how much the logarithm of a word's probability is above that of an unseen one, sparse [C, V]."""
    counted = counts.copy()
    counted.data = np.log1p(counted.data / SMOOTHING)
    return counted


def _sum(asked: Any, weights: Any, of_each_word: np.ndarray) -> np.ndarray:
    """The sum over a row's words of each label's weights, [M, C]; dense, made in blocks."""
    transposed = sparse.csc_array(weights).T.tocsr()
    sums = np.outer(np.asarray(asked.sum(1)).ravel(), of_each_word)
    for start in range(0, asked.shape[0], _BLOCK):
        sums[start : start + _BLOCK] += (asked[start : start + _BLOCK] @ transposed).toarray()
    return sums
