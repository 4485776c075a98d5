from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from tfpipeline.metrics import retrieval


def ranked(table, pairs, **options):
    """The ranking of a whole table of scores [Q, M], for pairs of a query and a document."""
    table = np.asarray(table, np.float32)
    distinct = sorted({(int(query), int(document)) for query, document in pairs})

    def relevant(query):
        return np.array([document for own, document in distinct if own == query], np.int64)

    return retrieval.rank(lambda rows: table[rows].copy(), *table.shape, relevant, **options)


def test_by_hand():
    # Query 0 has two relevant documents, of ranks 2 and 4; query 1 one, of rank 1; query 2 has none.
    table = [[0.9, 0.8, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4, 0.5], [0.0, 0.1, 0.2, 0.3, 0.4]]
    found = ranked(table, [(0, 3), (1, 4), (0, 1), (0, 3)])
    assert found.best.tolist() == [2, 1, 0]
    assert found.wrong.tolist() == [0, 3, 4]
    dcg = 1 / math.log2(3) + 1 / math.log2(5)
    want = {
        "recall@1": (0.0, 1.0),
        "recall@10": (1.0, 1.0),
        "recall@100": (1.0, 1.0),
        "mrr@10": (0.5, 1.0),
        "ndcg@10": (dcg / (1 + 1 / math.log2(3)), 1.0),
        "map": ((1 / 2 + 2 / 4) / 2, 1.0),
    }
    assert list(found.values) == list(want)
    for name, values in want.items():
        assert found.values[name][:2] == pytest.approx(values), name
        assert math.isnan(found.values[name][2])
    weighted = retrieval.average(found.values, np.array([1.0, 3.0, 5.0]))
    assert weighted["mrr@10"] == pytest.approx((0.5 + 3 * 1.0) / 4)
    assert retrieval.average(found.values, np.array([1.0, 0.0, 5.0]))["recall@1"] == 0
    assert retrieval.average(found.values, np.array([0.0, 0.0, 1.0]))["map"] == 0


def test_ranks_beyond_the_cut():
    table = np.arange(20, 0, -1)[None]
    found = ranked(table, [(0, 10)])  # rank 11
    scores = {name: values[0] for name, values in found.values.items()}
    assert scores == {
        "recall@1": 0,
        "recall@10": 0,
        "recall@100": 1,
        "mrr@10": 0,
        "ndcg@10": 0,
        "map": pytest.approx(1 / 11),
    }
    many = ranked(table, [(0, document) for document in range(12)])
    assert many.values["ndcg@10"] == pytest.approx([1.0])  # twelve relevant ones, but ten places
    assert many.values["recall@10"] == pytest.approx([10 / 12])


def test_ties_gain_nothing():
    table = np.ones((3, 4))
    found = ranked(table, [(0, 0), (1, 3), (2, 0), (2, 2)])
    # Below the documents with the same score; two relevant ones follow each other.
    assert found.best.tolist() == [4, 4, 3]
    assert found.values["map"] == pytest.approx([1 / 4, 1 / 4, (1 / 3 + 2 / 4) / 2])
    assert found.wrong.tolist() == [1, 0, 1]
    every = ranked(np.ones((1, 2)), [(0, 0), (0, 1)])
    assert (every.best[0], every.wrong[0]) == (1, -1)


def test_excluded_documents():
    table = [[1.0, 0.5, 0.4], [0.5, 1.0, 0.6], [0.2, 0.3, 1.0]]
    found = ranked(table, [(0, 1), (1, 0)], excluded=lambda query: np.array([query]))
    assert found.best.tolist() == [1, 2, 0]
    assert found.wrong.tolist() == [2, 2, 1]
    nothing = ranked(table, [(0, 1)], excluded=lambda query: np.array([], np.int64))
    assert nothing.best.tolist() == [2, 0, 0]
    # A relevant document stays, and if only it is left, none is wrong.
    alone = ranked(table, [(0, 2)], excluded=lambda query: np.arange(3))
    assert (alone.best[0], alone.wrong.tolist()) == (1, [-1, -1, -1])


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    table = rng.permutation(17 * 23).reshape(17, 23)  # without ties, which scikit-learn treats otherwise
    relevance = rng.random(table.shape) < rng.choice([0.05, 0.5])
    relevance[np.arange(17), rng.integers(0, 23, 17)] = True
    found = ranked(table, np.argwhere(relevance))
    assert found.values["ndcg@10"].mean() == pytest.approx(ndcg_score(relevance, table, k=10))
    assert found.values["map"].mean() == pytest.approx(
        label_ranking_average_precision_score(relevance, table.astype(float))
    )
    order = np.argsort(-table, axis=1)
    sorted_relevance = np.take_along_axis(relevance, order, axis=1)
    assert found.best.tolist() == (sorted_relevance.argmax(axis=1) + 1).tolist()
    assert found.wrong.tolist() == [order[row, hits.argmin()] for row, hits in enumerate(sorted_relevance)]
    for k in retrieval.RECALLS:
        recalls = sorted_relevance[:, :k].sum(axis=1) / relevance.sum(axis=1)
        assert found.values[f"recall@{k}"] == pytest.approx(recalls)


@given(data=st.data(), queries=st.integers(1, 5), documents=st.integers(1, 6))
def test_neither_blocks_nor_the_order_of_documents_matter(data, queries, documents):
    level = st.integers(0, 2)  # many ties
    table = np.array(
        data.draw(
            st.lists(
                st.lists(level, min_size=documents, max_size=documents), min_size=queries, max_size=queries
            )
        )
    )
    pair = st.tuples(st.integers(0, queries - 1), st.integers(0, documents - 1))
    pairs = data.draw(st.lists(pair, max_size=8))
    whole = ranked(table, pairs)
    small = ranked(table, pairs, cells=1)
    order = np.array(data.draw(st.permutations(range(documents))))
    place = np.argsort(order)
    moved = ranked(table[:, order], [(query, place[document]) for query, document in pairs])
    for other in (small, moved):
        assert other.best.tolist() == whole.best.tolist()
        for name, values in whole.values.items():
            np.testing.assert_array_equal(other.values[name], values)
    assert small.wrong.tolist() == whole.wrong.tolist()


def test_memory_does_not_grow_with_queries_times_documents():
    rng = np.random.default_rng(0)
    queries, documents = (rng.normal(size=(rows, 4)).astype(np.float32) for rows in (400, 20_000))
    tracemalloc.start()
    try:
        found = retrieval.rank(
            lambda rows: queries[rows] @ documents.T,
            400,
            20_000,
            lambda query: np.array([query]),
            cells=1 << 18,
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * (1 << 18)  # the table alone would take 32 MB
    assert found.best.min() >= 1


def test_report_and_intervals():
    found = ranked(np.eye(40), [(query, query if query % 4 else 0) for query in range(40)])
    weights = np.ones(40)
    text = retrieval.report(found.values, weights, 40)
    assert [line.split() for line in text.splitlines()] == [
        ["recall@1", "0.7750"],
        ["recall@10", "0.7750"],
        ["recall@100", "1.0000"],
        ["mrr@10", "0.7750"],
        ["ndcg@10", "0.7750"],
        ["map", "0.7806"],
        ["queries", "40"],
        ["documents", "40"],
    ]
    low, high = retrieval.confidence_intervals(found.values, weights)["recall@1"]
    assert low < 0.775 < high


def test_numbers_equal_keys_alike():
    numbers, first = retrieval.numbered(np.array([7, -5, 7, 3, -5]))
    assert (numbers.tolist(), first.tolist()) == ([0, 1, 0, 2, 1], [0, 1, 3])


def test_values_by_key():
    found = retrieval.by_key(np.array([2, -1, 2, 2, 2]), np.array([5, 4, 3, 5, 0]))
    assert {key: values.tolist() for key, values in found.items()} == {-1: [4], 2: [0, 3, 5]}


def test_places_of_keys():
    assert retrieval.places_of(np.array([3, 9, -7, 4]), np.array([4, -7, 3])).tolist() == [2, -1, 1, 0]
