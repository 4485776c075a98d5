"""Baselines on the same rows: TF-IDF with a linear model; for tags, the most frequent tag of each word.

The features are words and pairs of words that occur in at least two texts. The model is logistic regression
with C = 10. These settings are also behind the baselines in the documentation. With more than 100 labels, the
model is naive Bayes, because each of the hundreds of steps of a logistic regression takes time proportional
to labels x words. Chinese characters count as separate words, as in BERT's tokenizer. The results are
deterministic. If the training texts contain no words, the baseline ignores the texts.
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
from tfpipeline.metrics._naive_bayes import class_probabilities, label_odds
from tfpipeline.metrics._words import WORD

_C = 10.0
_MOST_LABELS = 100  # limit for logistic regression
_MOST_COEFFICIENTS = 1 << 22  # limit of labels x words; fitting takes 25 copies of 8 bytes
_ITERATIONS = 1000
_LARGEST_ODDS = 700.0  # log-odds within the range of float64
_ALPHAS = (0.3, 1.0, 3.0, 10.0)  # TF-IDF vectors have length 1, so the best alpha is rarely far from 1
_FOLDS = 3


def linear_model(labels: int) -> str:
    """The name, in reports, of the model that :func:`tfidf_baseline` and :func:`tfidf_multilabel` use for
    this number of labels.
    """
    return "TF-IDF + logistic regression" if labels <= _MOST_LABELS else "TF-IDF + naive Bayes"


def tfidf_baseline(
    train_texts: Sequence[str], train_labels: Sequence[str], test_texts: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Train a classifier on the training texts and predict the test texts.

    Args:
        train_texts: N texts.
        train_labels: their N labels, at least two different ones.
        test_texts: M texts.
    Returns:
        Probabilities, float64 [M, C], and the names of the C classes, sorted. If the training texts contain
        no words, every text gets the shares of the classes in the training rows.
    """
    names = sorted(set(train_labels))
    numbers = {name: number for number, name in enumerate(names)}
    classes = np.array([numbers[label] for label in train_labels])
    with progress("TF-IDF baseline: words, fit, answers", 3) as step:
        words = _words(train_texts, _MOST_COEFFICIENTS // len(names) if len(names) <= _MOST_LABELS else None)
        if words is None:
            return np.tile(np.bincount(classes) / len(classes), (len(test_texts), 1)), names
        vectorizer, features = words
        step.advance()
        asked = vectorizer.transform(test_texts)
        if len(names) > _MOST_LABELS:
            probabilities = class_probabilities(features, classes, asked)
            step.advance(2)
            return probabilities, names
        model = LogisticRegression(C=_C, max_iter=_ITERATIONS)
        with _without_warnings():
            model.fit(features, classes)
        step.advance()
        probabilities = model.predict_proba(asked)
        step.advance()
        return probabilities, names


def tfidf_ridge(
    train_texts: Sequence[str], train_values: np.ndarray, test_texts: Sequence[str]
) -> np.ndarray:
    """Train a ridge regression on the training texts and predict the test texts.

    Its alpha is whichever of 0.3, 1, 3 and 10 has the least squared error in three-fold cross-validation. The
    folds are drawn with a fixed seed.

    Args:
        train_texts: N texts.
        train_values: their N numbers, finite, float [N].
        test_texts: M texts.
    Returns:
        float64 [M]; the mean of the training rows if their texts contain no words.
    """
    values = np.asarray(train_values, np.float64)
    with progress("TF-IDF baseline: words, fit, answers", 3) as step:
        words = _words(train_texts)
        if words is None or len(values) < 2:  # one row leaves nothing to validate on
            return np.full(len(test_texts), values.mean())
        vectorizer, features = words
        step.advance()
        # Not RidgeCV's default leave-one-out, which builds a dense matrix of rows by rows.
        folds = KFold(min(_FOLDS, len(values)), shuffle=True, random_state=0)
        model = RidgeCV(_ALPHAS, cv=folds, scoring="neg_mean_squared_error")
        with _without_warnings():
            model.fit(features, values)
        step.advance()
        predictions: np.ndarray = model.predict(vectorizer.transform(test_texts))
        step.advance()
        return predictions


def tfidf_multilabel(
    train_texts: Sequence[str], train_targets: np.ndarray, test_texts: Sequence[str]
) -> np.ndarray:
    """Train one classifier per label on the training texts and predict the test texts.

    Args:
        train_texts: N texts.
        train_targets: bool or integer [N, C], which labels are right.
        test_texts: M texts.
    Returns:
        Probabilities, float64 [M, C]. A label that all or no training rows have gets the probability 1 or 0.
        If the training texts contain no words, each label gets its share of the training rows.
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
        if len(shares) > _MOST_LABELS:
            uncertain = np.flatnonzero((shares > 0) & (shares < 1))
            odds = label_odds(features, targets[:, uncertain], tested)
            probabilities[:, uncertain] = 1 / (1 + np.exp(-odds.clip(-_LARGEST_ODDS, _LARGEST_ODDS)))
            step.advance(len(shares))
            return probabilities
        for label, share in enumerate(shares):
            if 0 < share < 1:
                model = LogisticRegression(C=_C, max_iter=_ITERATIONS)
                with _without_warnings():
                    model.fit(features, targets[:, label])
                probabilities[:, label] = model.predict_proba(tested)[:, 1]
            step.advance()
        return probabilities


def most_frequent_tags(
    rows: Iterable[tuple[Sequence[str], Sequence[str]]], test: Iterable[Sequence[str]]
) -> list[list[str]]:
    """Predict each test word's most frequent tag in the training texts.

    If tags of a word are equally frequent, the tag that is more frequent among all words is used, then the
    first in alphabetical order. An unknown word is looked up in lower case; if it is still unknown, it gets
    the most frequent tag among all words.

    Args:
        rows: the words of the training texts, with the tag of each; at least one word in total. They are read
            once.
        test: the words of M texts.
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


def _words(texts: Sequence[str], most: Optional[int] = None) -> Optional[tuple[TfidfVectorizer, Any]]:
    """The (most frequent) words of N texts and the texts' sparse features [N, words]; None if there are no
    words.
    """
    # In a handful of texts few words occur twice. Then every word is used.
    for least in (2, 1):
        vectorizer = TfidfVectorizer(token_pattern=WORD, ngram_range=(1, 2), min_df=least, max_features=most)
        try:
            return vectorizer, vectorizer.fit_transform(texts)
        except ValueError:  # no terms
            continue
    return None


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore warnings that do not matter for a baseline: incomplete convergence, and labels with few rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        yield
