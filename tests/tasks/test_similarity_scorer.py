from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.tasks.similarity.corpus import Corpus
from tfpipeline.tasks.similarity.rows import text_keys
from tfpipeline.tasks.similarity.scorer import SimilarityScorer


def scorer(has_scores=False, corpus=None, targets=None, sizes=()):
    """The scorer of a task that gives these targets."""
    return SimilarityScorer(
        SimpleNamespace(
            has_scores=has_scores, corpus=corpus, targets=lambda examples: targets, shorter_sizes=sizes
        )
    )


def angles(*degrees):
    """Vectors in the plane, of length 3."""
    radians = np.radians(np.array(degrees, float))
    return 3 * np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def pairs(*texts, groups=None):
    """Rows of pairs, and their targets."""
    rows = [
        Example(text, second, file="pairs.csv", line=line) for line, (text, second) in enumerate(texts, 2)
    ]
    targets = {
        "text_key": text_keys(row.text for row in rows),
        "text_pair_key": text_keys(row.text_pair for row in rows),
        "group_key": np.array(groups or [0] * len(rows), np.int64),
    }
    return rows, targets


PAIRS, TARGETS = pairs(("a", "A answer"), ("b", "B answer"), ("c", "C answer"), ("d", "D answer"))
VECTORS = {"embedding": angles(0, 30, 90, 91), "text_pair/embedding": angles(20, 10, 80, 0)}
# 0: 0, 10, 20 -> third. 30: 20, 10 -> second. 90: 80 -> first. 91: 80, 20, 10, 0 -> fourth.
RANKS = [3, 2, 1, 4]


def test_pairs_by_hand():
    complete = scorer().complete(VECTORS, TARGETS)
    assert complete["rank"].tolist() == RANKS
    assert complete["wrong"].tolist() == [3, 0, 0, 2]
    assert scorer().complete(complete, TARGETS) is complete
    weights = np.array([1, 1, 2, 0.0])
    scores = scorer().metrics(VECTORS, TARGETS, weights)
    assert scores == pytest.approx(
        {
            "recall@1": 0.5,
            "recall@10": 1,
            "recall@100": 1,
            "mrr@10": (1 / 3 + 1 / 2 + 2) / 4,
            "ndcg@10": (1 / 2 + 1 / math.log2(3) + 2) / 4,
            "map": (1 / 3 + 1 / 2 + 2) / 4,
        }
    )
    assert scorer().metrics(complete, TARGETS, weights) == scores
    low, high = scorer().intervals(complete, TARGETS, np.ones(4))["mrr@10"]
    assert low < (1 / 3 + 1 / 2 + 1 + 1 / 4) / 4 < high
    assert scorer().report(complete, TARGETS, weights).splitlines()[-1].split() == ["documents", "4"]
    assert scorer().best_metric == "mrr@10"


def test_each_size_of_vectors_has_scores_of_its_own():
    """By hand: cut to one number, all vectors are equal up to their sign."""
    own = scorer(sizes=(1,))
    predictions = {"embedding": angles(0, 30, 120, 100), "text_pair/embedding": angles(20, 10, 80, 100)}
    complete = own.complete(predictions, TARGETS)
    assert complete["rank"].tolist() == scorer().complete(predictions, TARGETS)["rank"].tolist()
    # The signs are + + - - and + + + -: three documents are tied for a and b, all four for c, d's is alone.
    assert complete["value/dim_1/map"].tolist() == [1 / 3, 1 / 3, 1 / 4, 1]
    scores = own.metrics(predictions, TARGETS, np.ones(4))
    assert scores["dim_1/mrr@10"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1) / 4)
    assert list(scores)[:6] == list(scorer().metrics(predictions, TARGETS, np.ones(4)))
    assert len(scores) == 12
    assert "dim_1/map" in own.intervals(complete, TARGETS, np.ones(4))
    assert "dim_1/recall@1" in own.report(complete, TARGETS, np.ones(4))


def test_mistakes_show_the_query_what_is_right_and_what_came_first():
    found = scorer().shown_mistakes(VECTORS, TARGETS, PAIRS, 2)
    assert [tuple(mistake) for mistake in found] == [
        ("d", "rank 4: D answer", "C answer", "pairs.csv:5"),
        ("a", "rank 3: A answer", "D answer", "pairs.csv:2"),
    ]
    assert len(scorer().shown_mistakes(VECTORS, TARGETS, PAIRS, 20)) == 3  # one is no mistake


def test_a_query_with_several_right_texts_counts_once():
    """A text that occurs twice is one document, whatever its case."""
    _, targets = pairs(("a", "one"), ("A ", "two"), ("b", "TWO"))
    predictions = {"embedding": angles(0, 0, 40), "text_pair/embedding": angles(20, 10, 10)}
    complete = scorer().complete(predictions, targets)
    assert complete["rank"].tolist() == [1, 0, 2]
    assert complete["documents"].tolist() == [2, 2, 2]
    scores = scorer().metrics(predictions, targets, np.array([3.0, 9.0, 1.0]))
    assert scores["mrr@10"] == pytest.approx((3 * 1 + 1 * 1 / 2) / 4)  # the weight of the first row
    assert scores["recall@1"] == pytest.approx((3 * 1 / 2 + 0) / 4)
    assert scores["map"] == pytest.approx((3 * 1 + 1 * 1 / 2) / 4)


def test_texts_of_the_same_group_are_neither_right_nor_wrong():
    _, alone = pairs(("a", "one"), ("b", "two"), ("c", "three"))
    _, grouped = pairs(("a", "one"), ("b", "two"), ("c", "three"), groups=[7, 7, 0])
    predictions = {"embedding": angles(0, 0, 0), "text_pair/embedding": angles(30, 20, 10)}
    assert scorer().complete(predictions, alone)["rank"].tolist() == [3, 2, 1]
    complete = scorer().complete(predictions, grouped)
    assert complete["rank"].tolist() == [2, 2, 1]  # only "three" is closer
    assert complete["value/recall@1"].tolist() == [0, 0, 1]
    assert complete["wrong"].tolist() == [2, 2, 1]


def test_the_query_itself_is_no_wrong_answer():
    """In a corpus of questions, each question is among the documents."""
    _, targets = pairs(("a", "b"), ("b", "a"), ("c", "d"))
    predictions = {"embedding": angles(0, 50, 100), "text_pair/embedding": angles(50, 0, 140)}
    # For a: a is left out, b is at 50. For c: b is at 50, d at 40, and right.
    assert scorer().complete(predictions, targets)["rank"].tolist() == [1, 1, 1]


def test_equal_vectors_score_nothing():
    texts = [(f"q{number}", f"d{number}") for number in range(30)]
    _, targets = pairs(*texts)
    same = np.ones((30, 4), np.float32)
    scores = scorer().metrics({"embedding": same, "text_pair/embedding": same}, targets, np.ones(30))
    assert scores == {
        "recall@1": 0,
        "recall@10": 0,
        "recall@100": 1,
        "mrr@10": 0,
        "ndcg@10": 0,
        "map": pytest.approx(1 / 30),
    }


def test_a_text_with_a_class_is_not_its_own_neighbour():
    """A class with a single row has nothing to find."""
    rows = [
        Example(text, label=label, file="f.csv", line=line)
        for line, (text, label) in enumerate([("a", "x"), ("b", "y"), ("c", "x"), ("d", "z")], 2)
    ]
    targets = {"label_key": np.array([5, 6, 5, 7])}
    predictions = {"embedding": angles(0, 10, 12, 50)}
    complete = scorer().complete(predictions, targets)
    assert complete["rank"].tolist() == [2, 0, 2, 0]
    assert np.isnan(complete["value/map"][[1, 3]]).all()
    assert scorer().metrics(predictions, targets, np.ones(4))["mrr@10"] == 0.5
    assert scorer().metrics(predictions, {"label_key": np.arange(4)}, np.ones(4))["mrr@10"] == 0
    assert scorer().shown_mistakes(predictions, targets, rows, 1) == [("a", "rank 2: x", "y: b", "f.csv:2")]


def corpus(*texts):
    return Corpus("answers.csv", [f"id{number}" for number in range(len(texts))], texts)


def test_an_evaluation_searches_the_corpus_and_validation_the_rows():
    whole = corpus("nearest to a", "A  ANSWER", "B answer", "C answer", "D answer")
    own, asked = scorer(corpus=whole), []

    def embed(texts):
        asked.append(list(texts))
        return angles(1, 20, 10, 80, 0)

    assert own.complete(VECTORS, TARGETS)["rank"].tolist() == RANKS
    complete = own.complete(VECTORS, TARGETS, embed)
    assert asked == [list(whole.texts)]
    assert complete["rank"].tolist() == [4, 2, 1, 5]  # another text is closer than those of a and d
    assert complete["documents"].tolist() == [5] * 4
    assert own.shown_mistakes(complete, TARGETS, PAIRS, 1) == [
        ("d", "rank 5: D answer", "id3: C answer", "pairs.csv:5")
    ]


def test_a_row_that_is_not_in_the_corpus_is_refused():
    own = scorer(corpus=corpus("A answer", "b ANSWER"))
    own.check(PAIRS[:2])
    with pytest.raises(
        UserError,
        match=r"^pairs.csv:4: the second text is not in the corpus answers.csv \(nor are those of 1 more row",
    ):
        own.check(PAIRS)


def test_baselines_search_the_same_documents():
    rows, targets = pairs(
        ("red fox", "the fox ran"), ("blue whale", "a whale swam"), ("fox whale", "no words in common")
    )
    found = dict(scorer(targets=targets).baselines(None, rows))
    assert list(found) == ["TF-IDF", "BM25"]
    for complete in found.values():
        assert complete["rank"].tolist() == [1, 1, 3]
        assert complete["documents"].tolist() == [3] * 3
    more = corpus("the fox ran", "a whale swam", "no words in common", "red red fox")
    for complete in dict(scorer(corpus=more, targets=targets).baselines(None, rows)).values():
        assert complete["rank"].tolist() == [2, 1, 4]


def test_scored_pairs_are_scored_by_correlation():
    rows, _ = pairs(("red fox", "red fox"), ("red fox", "red whale"), ("a", "b"))
    targets = {"score": np.array([1, 0.2, 0.0])}
    predictions = {"score": np.array([0.35, 0.1, 0.3], np.float32)}
    own = scorer(has_scores=True, targets=targets)
    scores = own.metrics(own.complete(predictions, targets), targets, np.ones(3))
    assert scores["spearman"] == pytest.approx(0.5)
    assert scores["pearson"] == pytest.approx(np.corrcoef([0.35, 0.1, 0.3], targets["score"])[0, 1])
    assert list(scores) == ["spearman", "pearson"]
    assert own.best_metric == "spearman"
    shorter = {**predictions, "dim_1/score": np.array([0.5, 0.2, 0.1], np.float32)}
    assert own.metrics(shorter, targets, np.ones(3)) == {
        **scores,
        "dim_1/spearman": pytest.approx(1),
        "dim_1/pearson": pytest.approx(np.corrcoef([0.5, 0.2, 0.1], targets["score"])[0, 1]),
    }
    assert "dim_1/pearson" in own.intervals(shorter, targets, np.ones(3))
    for _, baseline in own.baselines(None, rows):
        assert own.metrics(baseline, targets, np.ones(3))["spearman"] == pytest.approx(1)
    found = own.shown_mistakes(predictions, targets, rows, 20)
    assert [(mistake.expected, mistake.predicted, mistake.source) for mistake in found] == [
        ("0.2", "0.100", "pairs.csv:3"),
        ("0", "0.300", "pairs.csv:4"),
    ]


def test_diverged_vectors_are_reported():
    broken = {**VECTORS, "embedding": np.full((4, 2), np.nan, np.float32)}
    with pytest.raises(UserError, match="4 of 4 predictions are NaN or infinite"):
        scorer().metrics(broken, TARGETS, np.ones(4))
