"""Multinomial naive Bayes on sparse features, for very many labels.

scikit-learn's implementation keeps several dense matrices of labels by words: gigabytes for a thousand
labels. Here all words that a label has not seen share one number per label, so memory grows only with the
words in the training texts. The predictions equal those of ``MultinomialNB`` (tests compare them).

Letters in shapes: N training rows, M rows to predict, C labels, V words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

SMOOTHING = 0.1  # added to counts; TF-IDF weights are small, so adding 1 would level them
_BLOCK = 1024  # rows predicted at once


def class_probabilities(features: Any, classes: np.ndarray, asked: Any) -> np.ndarray:
    """Predict one class per row.

    Args:
        features: sparse, at least 0, [N, V].
        classes: the class of each training row, integer [N], 0 to C - 1; every class occurs.
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
    """Predict any number of labels per row: for each label, the log-odds against all rows without it.

    Args:
        features: sparse, at least 0, [N, V].
        targets: bool [N, C]; for each label, some rows have it and some do not.
        asked: sparse [M, V].
    Returns:
        float64 [M, C].
    """
    every, words = np.asarray(features.sum(0)).ravel() + SMOOTHING, features.shape[1]
    counts, unseen = _counts(sparse.csr_array(targets.T, dtype=np.float64), features)
    # For each word, the count in rows without a label is the total count minus that in rows with it.
    weights, fewer = _seen(counts), counts.tocoo()
    weights.data -= np.log1p(-fewer.data / every[fewer.coords[1]])
    without = features.sum() - np.asarray(counts.sum(1)).ravel() + SMOOTHING * words
    share = targets.mean(0)
    odds = _sum(asked, weights, unseen + np.log(without)) + (np.log(share) - np.log1p(-share))
    odds -= np.asarray(asked @ np.log(every)).reshape(-1, 1)
    return odds


def _counts(members: Any, features: Any) -> tuple[Any, np.ndarray]:
    """Each label's sum of features per word [C, V], and the logarithm of the probability of an unseen word
    [C].
    """
    counts = sparse.csr_array(members @ features)
    total = np.asarray(counts.sum(1)).ravel() + SMOOTHING * features.shape[1]
    return counts, np.log(SMOOTHING) - np.log(total)


def _seen(counts: Any) -> Any:
    """The log-probability of each word minus that of an unseen word, sparse [C, V]."""
    counted = counts.copy()
    counted.data = np.log1p(counted.data / SMOOTHING)
    return counted


def _sum(asked: Any, weights: Any, of_each_word: np.ndarray) -> np.ndarray:
    """For each row and label, the sum of the label's weights over the row's words, dense [M, C]; computed in
    blocks.
    """
    transposed = sparse.csc_array(weights).T.tocsr()
    sums = np.outer(np.asarray(asked.sum(1)).ravel(), of_each_word)
    for start in range(0, asked.shape[0], _BLOCK):
        sums[start : start + _BLOCK] += (asked[start : start + _BLOCK] @ transposed).toarray()
    return sums
