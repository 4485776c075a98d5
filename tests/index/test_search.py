"""Search in NumPy and in the graph, against a sort of all scores."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.index import exact, inverted_lists
from tfpipeline.index.graph import SearchGraph
from tfpipeline.index.inverted_lists import Lists
from tfpipeline.index.vectors import TYPES, Vectors, encode, of_rows

_D = 37


def _unit(rows: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, _D)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _sorted(stored: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every score in float64, rounded, and a stable sort: an independent implementation."""
    scores = (queries.astype(np.float64) @ stored.astype(np.float64).T).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def _in_graph(vectors: Vectors, queries: np.ndarray, most: int, **options: object) -> tuple[np.ndarray, ...]:
    graph = tf.function(SearchGraph(vectors, most, **options), autograph=False)  # type: ignore[arg-type]
    return tuple(tensor.numpy() for tensor in graph(tf.constant(queries)))


@pytest.mark.parametrize("kind", TYPES)
def test_both_equal_a_sort_of_all_scores(monkeypatch, kind):
    monkeypatch.setattr(exact, "CHUNK", 100)
    monkeypatch.setattr("tfpipeline.index.graph._CHUNK", 100)
    vectors, queries = of_rows(_unit(713), kind), _unit(13, seed=1)
    want, want_scores = _sorted(vectors.read(slice(None)), queries, 17)
    for numbers, scores in (exact.search(vectors, queries, 17), _in_graph(vectors, queries, 17)[:2]):
        np.testing.assert_array_equal(numbers, want)
        np.testing.assert_allclose(scores, want_scores, rtol=0, atol=1e-6)


def test_storage_types_keep_what_they_promise():
    rows = _unit(50)
    for kind, most in (("float32", 0), ("bfloat16", 2**-8), ("int8", 0.5 / 127)):
        error = np.abs(of_rows(rows, kind).read(slice(None)) - rows)
        assert (error <= 1.001 * most * np.abs(rows).max(axis=1, keepdims=True)).all()
        assert (kind == "float32") == (error.max() == 0)


def test_int8_stores_whole_numbers_and_the_scale_of_each_row():
    stored, scales = encode(np.array([[1.0, -0.5, 0.004], [0, 0, 0]], np.float32), "int8")
    assert stored.tolist() == [[127, -64, 1], [0, 0, 0]]
    np.testing.assert_allclose(scales, [1 / 127, 1])


@pytest.mark.parametrize("kind", TYPES)
def test_ties_are_in_the_order_of_numbers(monkeypatch, kind):
    """Far more equal rows than candidates, beside better and worse ones."""
    monkeypatch.setattr(exact, "CHUNK", 256)
    monkeypatch.setattr("tfpipeline.index.graph._CHUNK", 256)
    rows = _unit(1000)
    query = rows[:1].copy()
    rows[rows @ query[0] > 0.5] *= -1
    rows[[5, 300, 301, *range(500, 900)]] = 0.8 * query
    rows[[950, 20]] = query
    want = [20, 950, 5, 300, 301, 500, 501, 502, 503, 504]
    vectors = of_rows(rows, kind)
    assert exact.search(vectors, query, 10)[0].tolist() == [want]
    assert _in_graph(vectors, query, 10)[0].tolist() == [want]


@pytest.mark.parametrize("kind", TYPES)
def test_scores_that_only_rounding_tells_apart_are_ties(monkeypatch, kind):
    """The same numbers in another order, for a query of ones: the sums are equal, but not those of float32
    products. There are more of them than candidates, beside rows that are better.
    """
    monkeypatch.setattr(exact, "CHUNK", 128)
    monkeypatch.setattr("tfpipeline.index.graph._CHUNK", 128)
    random, query = np.random.default_rng(0), np.ones((1, _D), np.float32)
    base = np.abs(_unit(1)[0])
    rows = np.stack([random.permutation(base) for _ in range(600)])
    assert len(set((rows @ query[0]).tolist())) > 1
    rows[[77, 410]] *= np.array([[1.5], [2]], np.float32)
    want = [[410, 77, *range(8)]]
    vectors = of_rows(rows, kind)
    assert exact.search(vectors, query, 10)[0].tolist() == want
    assert _in_graph(vectors, query, 10)[0].tolist() == want
    few = of_rows(rows[100:130], kind)  # all of them are candidates
    assert _in_graph(few, query, 10)[0].tolist() == [[*range(10)]]
    member = random.integers(0, 5, 600)
    order = np.argsort(member, kind="stable")
    ends = np.searchsorted(member[order], np.arange(6))
    lists, stored = Lists(_unit(5), ends, order, 5), of_rows(rows[order], kind)
    assert inverted_lists.search(stored, lists, query, 10)[0].tolist() == want
    assert _in_graph(stored, query, 10, lists=lists)[0].tolist() == want


def test_more_than_there_are_gives_all():
    vectors, queries = of_rows(_unit(7)), _unit(3, seed=1)
    want, _ = _sorted(vectors.stored, queries, 7)
    assert exact.search(vectors, queries, 20)[0].tolist() == want.tolist()
    numbers, scores, counts = _in_graph(vectors, queries, 20)
    assert numbers.shape == scores.shape == (3, 20)
    assert counts.tolist() == [7, 7, 7]
    assert numbers[:, :7].tolist() == want.tolist()
    assert not scores[:, 7:].any()


def test_no_rows_give_nothing():
    vectors, queries = of_rows(np.zeros((0, _D), np.float32)), _unit(2)
    numbers, scores = exact.search(vectors, queries, 3)
    assert numbers.shape == scores.shape == (2, 0)
    assert _in_graph(vectors, queries, 3)[2].tolist() == [0, 0]


def _lists(rows: np.ndarray, count: int, probes: int) -> tuple[np.ndarray, Lists]:
    """Rows in the places of lists made from their nearest of the first ``count`` rows."""
    near = (rows @ rows[:count].T).argmax(axis=1)
    order = np.argsort(near, kind="stable")
    ends = np.searchsorted(near[order], np.arange(count + 1))
    return rows[order], Lists(rows[:count].copy(), ends, order, probes)


@pytest.mark.parametrize("kind", TYPES)
def test_inverted_lists_read_the_nearest_lists(kind):
    rows, queries = _unit(900), _unit(11, seed=1)
    stored, lists = _lists(rows, 30, 4)
    vectors = of_rows(stored, kind)
    by_number = np.empty_like(stored)
    by_number[lists.order] = vectors.read(slice(None))
    nearest = np.argsort(-(queries @ lists.centroids.T), axis=1)[:, :4]
    member = (rows @ rows[:30].T).argmax(axis=1)
    numbers, scores, counts = inverted_lists.search(vectors, lists, queries, 10)
    for row, query in enumerate(queries):
        read = np.flatnonzero(np.isin(member, nearest[row]))
        best, best_scores = _sorted(by_number[read], query[None], 10)
        assert numbers[row].tolist() == read[best[0]].tolist()
        np.testing.assert_allclose(scores[row], best_scores[0], rtol=0, atol=1e-6)
    graph_numbers, graph_scores, graph_counts = _in_graph(vectors, queries, 10, lists=lists)
    np.testing.assert_array_equal(graph_numbers, numbers)
    np.testing.assert_array_equal(graph_scores, scores)
    assert counts.tolist() == graph_counts.tolist() == [10] * 11


def test_lists_with_fewer_rows_than_asked_say_how_many():
    rows = _unit(40)
    stored, lists = _lists(rows, 20, 1)
    vectors = of_rows(stored)
    numbers, scores, counts = inverted_lists.search(vectors, lists, rows[:5], 30)
    graph_numbers, graph_scores, graph_counts = _in_graph(vectors, rows[:5], 30, lists=lists)
    assert counts.tolist() == graph_counts.tolist()
    assert 0 < counts.max() < 30
    np.testing.assert_array_equal(np.maximum(numbers, 0), graph_numbers)
    np.testing.assert_array_equal(scores, graph_scores)


def test_ties_in_inverted_lists_are_in_the_order_of_numbers():
    rows = _unit(600)
    query = rows[:1].copy()
    rows[100:500] = 0.7 * query
    rows[550] = 0.9 * query
    stored, lists = _lists(rows, 30, 30)
    vectors = of_rows(stored)
    want = [0, 550, *range(100, 108)]
    assert inverted_lists.search(vectors, lists, query, 10)[0].tolist() == [want]
    assert _in_graph(vectors, query, 10, lists=lists)[0].tolist() == [want]


@pytest.mark.parametrize(("kind", "count"), [("float32", 0), ("int8", 20)])
def test_the_other_queries_of_a_batch_change_nothing(kind, count):
    """Not even in the last bit, though a product of matrices rounds otherwise than one with a vector."""
    rows, queries = _unit(900), _unit(33, seed=3)
    rows[40:80] = rows[:40]  # ties
    stored, lists = _lists(rows, count, 5) if count else (rows, None)
    vectors = of_rows(stored, kind)
    asked = [tf.TensorSpec([None, _D], tf.float32)]
    graph = tf.function(SearchGraph(vectors, 9, lists), asked, autograph=False)
    whole = [tensor.numpy() for tensor in graph(tf.constant(queries))]
    for some in ([7], [32, 0, 7], [*range(20, 33)]):
        for all_rows, own in zip(whole, graph(tf.constant(queries[some])), strict=True):
            np.testing.assert_array_equal(own.numpy(), all_rows[some])


def test_all_lists_give_what_exact_search_gives():
    rows, queries = _unit(500), _unit(6, seed=2)
    stored, lists = _lists(rows, 16, 16)
    want, want_scores = exact.search(of_rows(rows), queries, 12)
    numbers, scores, _ = inverted_lists.search(of_rows(stored), lists, queries, 12)
    np.testing.assert_array_equal(numbers, want)
    np.testing.assert_array_equal(scores, want_scores)


def test_each_row_is_in_the_list_of_its_nearest_centroid():
    centres = np.eye(8, _D, dtype=np.float32)
    rows = np.repeat(centres, 50, axis=0) + 0.05 * _unit(400)
    centroids, nearest = inverted_lists.cluster(rows, 12)
    products = rows @ centroids.T
    np.testing.assert_array_equal(nearest, products.argmax(axis=1))
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
    assert products.max(axis=1).mean() > 0.9  # 0.37 with 12 rows drawn at random
    np.testing.assert_array_equal(inverted_lists.cluster(rows, 12)[0], centroids)


def test_without_faiss_says_how_to_install_it(monkeypatch):
    import sys

    from tfpipeline.errors import UserError

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"pip install 'tfpipeline\[index\]'"):
        inverted_lists.import_faiss()
