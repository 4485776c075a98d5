"""Scores of written texts beside the libraries' own functions, and by hand."""

from __future__ import annotations

import importlib.util
import math
import string

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from tfpipeline.errors import UserError
from tfpipeline.metrics import generation

ASCII_TEXTS = st.text(st.sampled_from("aB c1.-_"), max_size=12) | st.lists(
    st.sampled_from(["the", "Cat", "sat,", "on", "a", "mat"]), max_size=9
).map(" ".join)


def random_rows(seed=0, size=60):
    """Texts of common words, each with one to three references that have most words in common with it."""
    random = np.random.default_rng(seed)
    vocabulary = ["the", "The", "cat", "sat", "on", "mat", ".", "fast,", "slow"]

    def changed(words):
        kept = [word if random.random() < 0.8 else random.choice(vocabulary) for word in words]
        return " ".join(kept[: random.integers(3, 12)])

    wanted = [random.choice(vocabulary, random.integers(0, 12)) for _ in range(size)]
    texts = [" ".join(words[: random.integers(1, 12)]) for words in wanted]
    return texts, [tuple(changed(words) for _ in range(random.integers(1, 4))) for words in wanted]


def aligned(references):
    most = max(map(len, references))
    return [[gold[number] if number < len(gold) else None for gold in references] for number in range(most)]


@pytest.mark.parametrize("ignore_case", [False, True])
def test_bleu_and_chrf_are_sacrebleus(ignore_case):
    texts, references = random_rows()
    found = generation.compute(
        generation.score(texts, references, ignore_case=ignore_case), np.ones(len(texts))
    )
    bleu, chrf = BLEU(lowercase=ignore_case), CHRF(lowercase=ignore_case)
    assert found["bleu"] == pytest.approx(bleu.corpus_score(texts, aligned(references)).score, rel=1e-9)
    assert found["chrf"] == pytest.approx(chrf.corpus_score(texts, aligned(references)).score, rel=1e-9)
    assert 20 < found["bleu"] < 90


@hypothesis.given(texts=st.lists(st.tuples(ASCII_TEXTS, ASCII_TEXTS), min_size=1, max_size=4))
def test_scores_of_few_and_odd_texts(texts):
    """Empty texts, texts without a match, texts shorter than an n-gram."""
    written, wanted = zip(*texts)
    rows = generation.score(written, [(gold,) for gold in wanted])
    found = generation.compute(rows, np.ones(len(texts)))
    assert found["bleu"] == pytest.approx(BLEU().corpus_score(written, [wanted]).score, rel=1e-9, abs=1e-9)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(written, [wanted]).score, rel=1e-9, abs=1e-9)
    each = [CHRF().sentence_score(text, [gold]).score for text, gold in texts]
    np.testing.assert_allclose(
        generation.row_scores(rows[generation.CHRF_COUNTS]), each, rtol=1e-9, atol=1e-9
    )
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])  # its own tokenizer
    for row, (text, gold) in enumerate(texts):
        for name, score in scorer.score(gold, text).items():
            assert rows[name.lower().replace("rouge", "rouge_")][row] == score.fmeasure


def test_scores_by_hand():
    """Three of four words; the common subsequence is two long; one pair of words of three."""
    rows = generation.score(["a b c d"], [("a b d c",)])
    assert rows["rouge_1"].tolist() == [1.0]
    assert rows["rouge_2"].tolist() == pytest.approx([1 / 3])
    assert rows["rouge_l"].tolist() == [0.75]
    assert rows["exact_match"].tolist() == [0.0]
    assert rows["bleu_counts"].tolist() == [[4, 4, 4, 1, 0, 0, 4, 3, 2, 1]]
    precisions = [4 / 4, 1 / 3, 1 / 2 / 2, 1 / 4 / 1]  # a missing order counts a half, the next a quarter
    assert generation.compute(rows, np.ones(1))["bleu"] == pytest.approx(100 * math.prod(precisions) ** 0.25)


def test_the_best_reference_counts():
    rows = generation.score(["x y", " A  b "], [("p q", "x y"), ("a b", "c")])
    assert rows["exact_match"].tolist() == [1.0, 0.0]
    assert rows["rouge_2"].tolist() == [1.0, 1.0]
    assert generation.score([" A  b "], [("a b",)], ignore_case=True)["exact_match"].tolist() == [1.0]
    np.testing.assert_allclose(generation.row_scores(rows[generation.CHRF_COUNTS])[0], 100)


def test_chinese_is_scored_by_characters():
    assert generation.words("我有2本ABC书，x_y") == ["我", "有", "2", "本", "abc", "书", "x", "y"]
    assert generation.words("Zürich naïve") == ["zürich", "naïve"]
    text, gold = "我喜欢红苹果", "我喜欢吃苹果"
    rows = generation.score([text], [(gold,)])
    assert rows["rouge_1"].tolist() == pytest.approx([5 / 6])
    assert rows["bleu_counts"][0, :2].tolist() == [6, 6]
    found = generation.compute(rows, np.ones(1))
    assert found["bleu"] == pytest.approx(BLEU(tokenize="zh").corpus_score([text], [[gold]]).score)
    spaced = generation.score(["打开file 吧", "打 开"], [("打开 file吧",), ("打开吧",)])
    assert spaced["exact_match"].tolist() == [1, 0]
    assert generation.is_chinese(["打开 File", "关闭"]) is False
    assert generation.is_chinese(["打开文件 File", "关闭"]) is True


def test_weights_are_repetitions():
    texts, references = random_rows(1, 12)
    weights = np.array([0, 1, 2, 3] * 3, float)
    places = np.repeat(np.arange(12), weights.astype(int))
    once = generation.compute(generation.score(texts, references), weights)
    repeated = generation.score([texts[row] for row in places], [references[row] for row in places])
    assert once == pytest.approx(generation.compute(repeated, np.ones(len(places))), rel=1e-9)


def test_intervals_hold_the_scores_and_shrink():
    texts, references = random_rows(2, 300)
    rows, weights = generation.score(texts, references), np.ones(300)
    found = generation.compute(rows, weights)
    wide = generation.confidence_intervals({name: each[:40] for name, each in rows.items()}, weights[:40])
    narrow = generation.confidence_intervals(rows, weights)
    assert narrow.keys() == found.keys()
    for name, (low, high) in narrow.items():
        assert low <= found[name] <= high
        assert high - low < 0.7 * (wide[name][1] - wide[name][0]) or name == "exact_match"
    lows, highs = zip(*(narrow[name] for name in ("bleu", "chrf")))
    bootstrapped = [
        metric.corpus_score(texts, aligned(references), n_bootstrap=1000) for metric in (BLEU(), CHRF())
    ]
    for low, high, theirs in zip(lows, highs, bootstrapped):
        assert (high - low) / 2 == pytest.approx(theirs._ci, rel=0.1)
    assert narrow["exact_match"] == pytest.approx(generation.wilson(found["exact_match"], 300))


def test_perplexity():
    losses, tokens = np.array([2.0, 3.0, 50.0]), np.array([4, 1, 2])
    assert generation.perplexity(losses, tokens, np.array([1, 1, 0])) == pytest.approx(math.e)
    assert generation.perplexity(losses, tokens, np.array([2, 1, 0])) == pytest.approx(math.exp(7 / 9))
    assert math.isnan(generation.perplexity(losses[:0], tokens[:0], np.zeros(0)))
    low, high = generation.perplexity_interval(losses, tokens, np.array([1.0, 1.0, 0]))["perplexity"]
    assert (low, high) == pytest.approx((math.exp(0.5), math.exp(3)))


def test_a_missing_library_is_named(monkeypatch):
    generation.require_libraries()
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rouge_score" else found(name)
    )
    with pytest.raises(
        UserError, match=r"^texts are scored with rouge-score, which is not installed; .*\[gen"
    ):
        generation.require_libraries()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="rouge-score and sacrebleu, which are not installed"):
        generation.require_libraries()


def test_other_letters_are_words():
    assert generation.words(string.printable) == [string.digits + string.ascii_lowercase * 2]
