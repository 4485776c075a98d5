"""What a cheap model reaches on the same rows: TF-IDF and logistic regression.

Words and pairs of words that occur in two texts at least, C = 10: the settings behind the yardsticks in the
documentation. Chinese characters count as words of their own, as they do for BERT's tokenizer.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tfpipeline.console import progress

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"[{_HAN}]|[^\W{_HAN}]{{2,}}"  # but for Han this is scikit-learn's own pattern
_C = 10.0
_ITERATIONS = 1000


def tfidf_baseline(
    train_texts: Sequence[str], train_labels: Sequence[str], test_texts: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Train on the one, answer the other; the same rows give the same answer.

    Args:
        train_texts: N texts.
        train_labels: their N labels, two different ones at least.
        test_texts: M texts.
    Returns:
        Probabilities, float64 [M, C], and the names of the C classes, sorted. Where the training texts hold no
        words at all, each text gets the classes' shares of the training rows.
    """
    classes, counts = np.unique(np.asarray(train_labels, dtype=object).astype(str), return_counts=True)
    names = [str(name) for name in classes]
    with progress("TF-IDF baseline: words, fit, answers", 3) as step:
        # In a handful of texts few words occur twice; then every word counts.
        for least in (2, 1):
            vectorizer = TfidfVectorizer(token_pattern=_WORD, ngram_range=(1, 2), min_df=least)
            try:
                features = vectorizer.fit_transform(train_texts)
            except ValueError:  # no terms
                continue
            step.advance()
            model = LogisticRegression(C=_C, max_iter=_ITERATIONS)
            with warnings.catch_warnings():
                # A last digit more or less does not matter for a yardstick.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(features, list(train_labels))
            step.advance()
            probabilities = model.predict_proba(vectorizer.transform(test_texts))
            step.advance()
            return probabilities, [str(name) for name in model.classes_]
    return np.tile(counts / counts.sum(), (len(test_texts), 1)), names
