"""What a cheap model reaches on the same rows: TF-IDF and a linear model; for tags, each word's most frequent one.

Words and pairs of words that occur in two texts at least, logistic regression with C = 10: the settings behind the
yardsticks in the documentation. Chinese characters count as words of their own, as they do for BERT's tokenizer.
The same rows give the same answer, and training texts that hold no words at all one that knows no texts.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold

from tfpipeline.console import progress

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"[{_HAN}]|[^\W{_HAN}]{{2,}}"  # but for Han this is scikit-learn's own pattern
_C = 10.0
_ITERATIONS = 1000
_ALPHAS = (0.3, 1.0, 3.0, 10.0)  # TF-IDF vectors have length 1, so the best is seldom far from 1
_FOLDS = 3


def tfidf_baseline(
    train_texts: Sequence[str], train_labels: Sequence[str], test_texts: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Train a classifier on the one, answer the other.

    Args:
        train_texts: N texts.
        train_labels: their N labels, two different ones at least.
        test_texts: M texts.
    Returns:
        Probabilities, float64 [M, C], and the names of the C classes, sorted. Where the training texts hold no
        words at all, each text gets the classes' shares of the training rows.
    """
    with progress("TF-IDF baseline: words, fit, answers", 3) as step:
        words = _words(train_texts)
        if words is None:
            classes, counts = np.unique(
                np.asarray(train_labels, dtype=object).astype(str), return_counts=True
            )
            return np.tile(counts / counts.sum(), (len(test_texts), 1)), [str(name) for name in classes]
        vectorizer, features = words
        step.advance()
        model = LogisticRegression(C=_C, max_iter=_ITERATIONS)
        with _unfinished_is_fine():
            model.fit(features, list(train_labels))
        step.advance()
        probabilities = model.predict_proba(vectorizer.transform(test_texts))
        step.advance()
        return probabilities, [str(name) for name in model.classes_]


def tfidf_ridge(
    train_texts: Sequence[str], train_values: np.ndarray, test_texts: Sequence[str]
) -> np.ndarray:
    """Train a ridge regression on the one, answer the other.

    Its alpha is the one of 0.3, 1, 3 and 10 with the least squared error in three-fold cross-validation, the folds
    drawn by a fixed seed.

    Args:
        train_texts: N texts.
        train_values: their N numbers, finite, float [N].
        test_texts: M texts.
    Returns:
        float64 [M]; the mean of the training rows where their texts hold no words at all.
    """
    values = np.asarray(train_values, np.float64)
    with progress("TF-IDF baseline: words, fit, answers", 3) as step:
        words = _words(train_texts)
        if words is None or len(values) < 2:  # one row leaves nothing to validate on
            return np.full(len(test_texts), values.mean())
        vectorizer, features = words
        step.advance()
        # Not its leave-one-out, which makes a dense matrix of rows by rows.
        folds = KFold(min(_FOLDS, len(values)), shuffle=True, random_state=0)
        model = RidgeCV(_ALPHAS, cv=folds, scoring="neg_mean_squared_error")
        with _unfinished_is_fine():
            model.fit(features, values)
        step.advance()
        found: np.ndarray = model.predict(vectorizer.transform(test_texts))
        step.advance()
        return found


def tfidf_multilabel(
    train_texts: Sequence[str], train_targets: np.ndarray, test_texts: Sequence[str]
) -> np.ndarray:
    """Train a logistic regression a label on the one, answer the other.

    Args:
        train_texts: N texts.
        train_targets: bool or integer [N, C], which labels are right.
        test_texts: M texts.
    Returns:
        Probabilities, float64 [M, C]. A label that all training rows have, or none, gets its share of them, 1 or 0; so
        does every label where the training texts hold no words at all.
    """
    targets = np.asarray(train_targets).astype(bool)
    shares = targets.mean(0)
    probabilities = np.tile(shares, (len(test_texts), 1))
    with progress("TF-IDF baseline: words, then label by label", 1 + len(shares)) as step:
        words = _words(train_texts)
        if words is None:
            return probabilities
        vectorizer, features = words
        tested = vectorizer.transform(test_texts)
        step.advance()
        for label, share in enumerate(shares):
            if 0 < share < 1:
                model = LogisticRegression(C=_C, max_iter=_ITERATIONS)
                with _unfinished_is_fine():
                    model.fit(features, targets[:, label])
                probabilities[:, label] = model.predict_proba(tested)[:, 1]
            step.advance()
        return probabilities


def most_frequent_tags(
    rows: Iterable[tuple[Sequence[str], Sequence[str]]], test: Iterable[Sequence[str]]
) -> list[list[str]]:
    """Count the tags of each word in the one, answer the other with the most frequent.

    Of equally frequent tags of a word it is the one more frequent among all words, then the first by alphabet. A word
    that was never seen is looked up in lower case, and then gets the tag most frequent among all words.

    Args:
        rows: the training texts' words, one in all at least, with the tag of each. They are read once.
        test: M texts' words.
    Returns:
        A tag for each word of the M texts.
    """
    overall: Counter[str] = Counter()
    by_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in rows:
        overall.update(tags)
        for word, tag in zip(words, tags):
            by_word[word][tag] += 1

    def most_frequent(counts: Counter[str]) -> str:
        return min(counts, key=lambda tag: (-counts[tag], -overall[tag], tag))

    known = {word: most_frequent(counts) for word, counts in by_word.items()}
    default = most_frequent(overall)
    return [[known.get(word, known.get(word.lower(), default)) for word in row] for row in test]


def _words(texts: Sequence[str]) -> Optional[tuple[TfidfVectorizer, Any]]:
    """The words of N texts and their sparse features [N, words]; None where there are no words."""
    # In a handful of texts few words occur twice; then every word counts.
    for least in (2, 1):
        vectorizer = TfidfVectorizer(token_pattern=_WORD, ngram_range=(1, 2), min_df=least)
        try:
            return vectorizer, vectorizer.fit_transform(texts)
        except ValueError:  # no terms
            continue
    return None


@contextlib.contextmanager
def _unfinished_is_fine() -> Iterator[None]:
    """A last digit more or less does not matter for a yardstick."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
