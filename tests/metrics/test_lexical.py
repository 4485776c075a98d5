from __future__ import annotations

import importlib.util
import math
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tfpipeline.metrics import lexical
from tfpipeline.metrics.lexical import BM25, TFIDF, Lexical

DOCUMENTS = ["the red fox ran", "the the blue whale swam", "a red red whale", "", "蓝鲸 swam"]
QUERIES = ["Red whale", "nothing known", "", "the 鲸"]


def words(text):
    return [word for word in text.lower().replace("蓝鲸", "蓝 鲸").split() if len(word) > 1 or word in "蓝鲸"]


def bm25_by_hand(query, documents):
    """Lucene's BM25, without its constant factor k1 + 1; a word counts as often as the query has it."""
    split = [words(text) for text in documents]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for own in split:
        total = 0.0
        for word in words(query):
            frequency = sum(word in other for other in split)
            count = Counter(own)[word]
            idf = math.log(1 + (len(split) - frequency + 0.5) / (frequency + 0.5))
            total += idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(own) / mean))
        scores.append(total)
    return scores


def test_bm25_by_hand():
    found = Lexical(BM25, DOCUMENTS, QUERIES).scores(np.arange(4))
    want = [bm25_by_hand(query, DOCUMENTS) for query in QUERIES]
    assert found == pytest.approx(np.array(want), abs=1e-6)
    assert (found.dtype, found.argmax(axis=1).tolist()) == (np.float32, [2, 0, 0, 4])
    assert not found[1:3].any()


def test_tfidf_is_the_cosine_of_scikit_learns_vectors():
    english = DOCUMENTS[:4]
    found = Lexical(TFIDF, english, QUERIES[:3]).scores(np.array([2, 0]))
    reference = TfidfVectorizer(sublinear_tf=True)
    documents = reference.fit_transform(english)
    want = (reference.transform(QUERIES[:3]) @ documents.T).toarray()[[2, 0]]
    assert found == pytest.approx(want, abs=1e-6)
    assert (
        Lexical(TFIDF, DOCUMENTS, QUERIES).scores(np.array([3])).argmax() == 4
    )  # a word of Chinese is a character


@pytest.mark.parametrize("name", [TFIDF, BM25])
def test_pairs_have_the_scores_of_the_search(name):
    model = Lexical(name, DOCUMENTS, [*QUERIES, "swam"])
    assert model.of_pairs("pairs") == pytest.approx(np.diagonal(model.scores(np.arange(5))))
    assert model.of_pairs("pairs").any()


@pytest.mark.parametrize("name", [TFIDF, BM25])
def test_documents_without_words_score_nothing(name):
    model = Lexical(name, ["", "!"], ["a word", "!"])
    assert not model.scores(np.arange(2)).any()
    assert not model.of_pairs("pairs").any()


def test_bm25_is_left_out_where_it_is_not_installed(monkeypatch, capsys):
    assert list(lexical.available()) == [TFIDF, BM25]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(lexical.available()) == [TFIDF]
    assert "the comparison with BM25 is left out; it needs bm25s" in capsys.readouterr().err
