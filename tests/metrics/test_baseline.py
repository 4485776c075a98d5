from __future__ import annotations

import numpy as np
import pytest

from tfpipeline.metrics.baseline import tfidf_baseline


def test_learns_words_and_is_deterministic():
    texts = ["good film", "a good day", "bad film", "a bad day"] * 5
    labels = ["pos", "pos", "neg", "neg"] * 5
    probabilities, classes = tfidf_baseline(texts, labels, ["good", "bad", "nothing known"])
    assert classes == ["neg", "pos"]
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(-1), 1)
    assert probabilities[0, 1] > 0.8
    assert probabilities[1, 0] > 0.8
    assert probabilities[2, 0] == pytest.approx(0.5, abs=0.05)
    assert (tfidf_baseline(texts, labels, ["good", "bad", "nothing known"])[0] == probabilities).all()


def test_a_handful_of_texts_is_enough():
    probabilities, classes = tfidf_baseline(["good", "bad"], ["pos", "neg"], ["good"])
    assert classes[probabilities[0].argmax()] == "pos"


def test_texts_without_words_get_the_shares():
    probabilities, classes = tfidf_baseline(["!", "?", "…", ""], ["b", "a", "b", "b"], ["!", "x"])
    assert classes == ["a", "b"]
    assert probabilities.tolist() == [[0.25, 0.75]] * 2


def test_chinese_characters_are_words():
    texts = ["这部电影很好", "质量很好", "这部电影很差", "质量很差"] * 3
    probabilities, classes = tfidf_baseline(texts, ["pos", "pos", "neg", "neg"] * 3, ["服务好", "服务差"])
    assert [classes[index] for index in probabilities.argmax(-1)] == ["pos", "neg"]
