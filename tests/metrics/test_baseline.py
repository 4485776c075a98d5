from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.naive_bayes import MultinomialNB

from tfpipeline.metrics import _naive_bayes, baseline
from tfpipeline.metrics.baseline import most_frequent_tags, tfidf_baseline, tfidf_multilabel, tfidf_ridge


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


def test_ridge_learns_words_and_is_deterministic():
    texts = ["good film", "a good day", "bad film", "a bad day"] * 5
    values = [2.0, 2.0, -1.0, -1.0] * 5
    found = tfidf_ridge(texts, values, ["good", "bad", "nothing known"])
    assert (found.shape, found.dtype) == ((3,), np.float64)
    assert found == pytest.approx([2, -1, 0.5], abs=0.3)
    assert (tfidf_ridge(texts, values, ["good", "bad", "nothing known"]) == found).all()


def test_ridge_picks_the_alpha_that_answers_best():
    """Where the values are noise, little is learnt from them; where they are sums over words, much."""
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{word}" for word in rng.integers(0, 50, 10)) for _ in range(300)]
    noise = tfidf_ridge(texts[:200], rng.normal(size=200), texts[200:])
    assert noise.std() < 0.3
    sums = [sum(int(word[4:]) for word in text.split()) / 10 for text in texts]
    found = tfidf_ridge(texts[:200], sums[:200], texts[200:])
    assert np.corrcoef(found, sums[200:])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("texts", "values", "answer"),
    [
        (["!", "?", "…", ""], [1.0, 2.0, 3.0, 6.0], 3.0),  # no words: the mean
        (["good"], [4.0], 4.0),
        (["good", "bad"], [4.0, 4.0], 4.0),
        (["good film"] * 4, [4, 4, 4, 4], 4.0),
    ],
)
def test_ridge_of_texts_that_teach_nothing(texts, values, answer):
    assert tfidf_ridge(texts, values, ["good", "x"]) == pytest.approx([answer] * 2)


def test_multilabel_learns_each_label():
    texts = ["good film", "a good day", "bad film", "a bad day"] * 5
    targets = np.array(
        [[1, 1, 0, 1], [1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]] * 5
    )  # good, film, never, always
    found = tfidf_multilabel(texts, targets, ["good film", "bad day", "good"])
    assert (found.shape, found.dtype) == ((3, 4), np.float64)
    assert (found[:2, :2] > 0.8).tolist() == [[True, True], [False, False]]
    assert found[2, 0] > 0.8
    assert found[:, 2:].tolist() == [[0, 1]] * 3
    # As many classifiers of one label.
    single, classes = tfidf_baseline(texts, targets[:, 0].astype(str), ["good film", "bad day", "good"])
    assert classes == ["0", "1"]
    np.testing.assert_allclose(found[:, 0], single[:, 1], rtol=1e-6)


def test_multilabel_without_words_gets_the_shares():
    targets = np.array([[True, False], [False, False], [True, True], [True, False]])
    assert tfidf_multilabel(["!", "?", "…", ""], targets, ["!", "x"]).tolist() == [[0.75, 0.25]] * 2


def test_the_classifiers_answers_are_these():
    """A yardstick is not to move: computed with the first version of this file and scikit-learn 1.9."""
    texts = ["good film", "a good day", "bad film", "a bad day", "the film of the day"]
    found, _ = tfidf_baseline(texts, list("abcab"), ["good film", "the bad day"])
    wanted = [[0.59162166, 0.28431885, 0.12405949], [0.59076768, 0.24074781, 0.16848451]]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def sparse_rows(seed, rows, words=30):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(rng.uniform(size=(rows, words)) * (rng.uniform(size=(rows, words)) < 0.2))


def test_naive_bayes_is_scikit_learns():
    features, asked = sparse_rows(0, 60), sparse_rows(1, 1100)
    rng = np.random.default_rng(2)
    classes = np.concatenate([np.arange(7), rng.integers(0, 7, 53)])
    theirs = MultinomialNB(alpha=_naive_bayes.SMOOTHING)
    want = theirs.fit(features, classes).predict_proba(asked)
    np.testing.assert_allclose(
        _naive_bayes.class_probabilities(features, classes, asked), want, rtol=0, atol=1e-12
    )
    targets = rng.uniform(size=(60, 4)) < 0.3
    found = _naive_bayes.label_odds(features, targets, asked)
    for label in range(4):
        logs = theirs.fit(features, targets[:, label]).predict_log_proba(asked)
        np.testing.assert_allclose(found[:, label], logs[:, 1] - logs[:, 0], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("labels", "name"), [(100, "logistic regression"), (101, "naive Bayes")])
def test_many_labels_have_another_model(labels, name, monkeypatch):
    assert baseline.linear_model(labels) == f"TF-IDF + {name}"
    monkeypatch.setattr(baseline, "LogisticRegression", None)  # which these do not reach
    texts, names = (
        [f"word{label} good" for label in range(labels)] * 2,
        [f"{label:03}" for label in range(labels)],
    )
    if labels <= 100:
        with pytest.raises(TypeError):
            tfidf_baseline(texts, names * 2, texts)
        return
    probabilities, classes = tfidf_baseline(texts, names * 2, texts)
    assert classes == names
    assert probabilities.argmax(-1).tolist() == [*range(labels)] * 2
    np.testing.assert_allclose(probabilities.sum(-1), 1)
    targets = np.concatenate([np.eye(labels, dtype=bool)] * 2)
    targets[:, 0], targets[:, 1] = True, False
    found = tfidf_multilabel(texts, targets, texts)
    assert ((found > 0.5) == targets).all()
    assert found[:, :2].tolist() == [[1, 0]] * len(texts)


def test_as_many_labels_as_rows_are_worth_no_warning():
    texts = [f"word{number:02} word{number:02}" for number in range(30)]
    probabilities, classes = tfidf_baseline(texts * 2, texts * 2, texts)
    assert (classes, probabilities.argmax(-1).tolist()) == (texts, list(range(30)))
    tfidf_baseline(texts, texts, texts)


def test_a_logistic_regression_has_a_limited_number_of_coefficients(monkeypatch):
    """With more words it knows the most frequent ones."""
    texts, labels = ["good film", "bad film", "good day", "bad day"] * 3, ["+", "-"] * 6
    monkeypatch.setattr(baseline, "_MOST_COEFFICIENTS", 8)
    words, made = baseline._words, []
    monkeypatch.setattr(baseline, "_words", lambda *given: made.append(words(*given)) or made[0])
    tfidf_baseline(texts, labels, ["good"])
    ((vectorizer, features),) = made
    assert features.shape == (12, 4)
    assert vectorizer.vocabulary_.keys() == {"good", "bad", "film", "day"}  # the pairs of words are rarer


def test_words_get_their_most_frequent_tag():
    words = [["the", "run", "The", "May"], ["run", "run", "may", "set"], [], ["set", "dog", "dog"]]
    tags = [["D", "N", "X", "P"], ["V", "V", "M", "V"], [], ["N", "V", "N"]]
    # V 4 and N 3 times, the others once each.
    test = [["run", "the", "The", "May", "may"], [], ["set", "dog"], ["THE", "MAY", "Run", "unseen", ""]]
    assert most_frequent_tags(zip(words, tags), test) == [
        ["V", "D", "X", "P", "M"],
        [],
        ["V", "V"],  # as often N, which is rarer among all words
        ["D", "M", "V", "V", "V"],  # looked up in lower case, or not known
    ]


def test_of_equally_frequent_tags_the_first_by_alphabet():
    words, tags = [["x", "x", "y", "z"]], [["B", "A", "B", "A"]]
    for order in (1, -1):
        found = most_frequent_tags([(words[0][::order], tags[0][::order])], [["x", "y", "unseen"]])
        assert found == [["A", "B", "A"]]


def test_an_empty_tag_is_a_tag():
    assert most_frequent_tags([(["X", "x", "y"], ["", "A", "A"])], [["X", "x", "Y"]]) == [["", "A", "A"]]


def test_the_training_words_are_read_once():
    rows = iter([(["a", "b"], ["A", "B"]), (["a"], ["A"])])
    assert most_frequent_tags(rows, iter([["b", "a", "c"]])) == [["B", "A", "A"]]
