"""Vectors, similarities and searches: both clients against a server made from the official stubs."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from tfpipeline.serving.client import (
    AnswerError,
    AsyncPredictClient,
    Embedding,
    FailedPreconditionError,
    Hit,
    InputError,
    SearchResult,
    Similarity,
    predictions,
)


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_embed(connect, batch_size):
    vectors = connect("matching").embed(["ab", "", "abcde"], batch_size=batch_size)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 0], [0, 0], [5, 0]]


def test_documents_have_the_prompt_of_documents_if_there_is_one(connect):
    assert connect("matching:prompts").embed(["ab"], prompt="document").tolist() == [[2, 1]]
    assert connect("matching:prompts").embed(["ab"], prompt="query").tolist() == [[2, 0]]
    assert connect("matching").embed(["ab"], prompt="document").tolist() == [[2, 0]]  # one prompt for both


def test_another_failed_precondition_is_raised(connect):
    with pytest.raises(FailedPreconditionError):
        connect("status:FAILED_PRECONDITION").embed(["ab"], prompt="document")


def test_similarity(connect):
    scores = connect("matching").similarity(["a", "abc"], ["ab", "abc"], batch_size=1)
    assert scores.dtype == np.float32
    assert scores.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_search(connect, batch_size):
    hits = connect("matching").search(["ab", "abcde"], k=2, batch_size=batch_size)
    assert hits == [
        [Hit("1", 2.0, "ab", {"web url": "1"}), Hit("2", 1.0, "ab", {"web url": "2"})],
        [Hit("1", 5.0, "abcde", {"web url": "1"}), Hit("2", 4.0, "abcde", {"web url": "2"})],
    ]
    assert [len(each) for each in connect("matching").search(["ab"])] == [3]  # ten, of an index of three
    assert json.loads(json.dumps(hits[0][0].to_dict())) == {
        "id": "1", "score": 2.0, "text": "ab", "columns": {"web url": "1"}
    }  # fmt: skip


def test_no_texts_no_call(connect):
    client = connect("status:INTERNAL")
    assert client.embed([]).shape == (0, 0)
    assert client.similarity([], []).shape == (0,)
    assert client.search([]) == []


def test_the_asyncio_client_answers_alike(connect):
    client = connect("matching:prompts")

    async def ask():
        async with AsyncPredictClient(client.endpoint.target, model="matching:prompts") as other:
            return (
                await other.embed(["ab", "c"], prompt="document"),
                await other.similarity(["a"], ["ab"]),
                await other.search(["ab"], k=1),
            )

    vectors, scores, hits = asyncio.run(ask())
    np.testing.assert_array_equal(vectors, client.embed(["ab", "c"], prompt="document"))
    np.testing.assert_array_equal(scores, client.similarity(["a"], ["ab"]))
    assert hits == client.search(["ab"], k=1)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda client: client.search(["a"], k=0), "k is 0; give a whole number from 1 to 2147483647"),
        (lambda client: client.search(["a"], k=np.int32(3)), "k is np.int32(3); give a plain int"),
        (lambda client: client.embed(["a"], prompt="doc"), "prompt is 'doc'; give 'query' or 'document'"),
        (lambda client: client.similarity(["a"], None), "similarity compares two lists of texts"),
        (lambda client: client.similarity(["a"], ["b", "c"]), "1 text but 2 in text_pair"),
    ],
    ids=["k", "numpy", "prompt", "one-list", "lengths"],
)
def test_bad_input_is_refused(connect, ask, says):
    with pytest.raises(InputError) as caught:
        ask(connect("matching"))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda client: client.embed(["a"]), "does not answer with one vector for each text"),
        (lambda client: client.similarity(["a"], ["b"]), "answers with Classification, not with Similarity"),
        (lambda client: client.search(["a"]), 'signature "search", answers with Classification'),
    ],
    ids=["embed", "similarity", "search"],
)
def test_other_models_are_named(connect, ask, says):
    with pytest.raises(AnswerError) as caught:
        ask(connect("sentiment"))
    assert says in str(caught.value)


def _found(**changes):
    texts = np.array([[b"a", b""]], object)
    arrays = {
        "ids": texts,
        "texts": texts,
        "scores": np.ones((1, 2), np.float32),
        "count": np.array([1], np.int32),
    }
    return {**arrays, **changes}


def test_predictions_are_recognised():
    assert predictions.decode({"embedding": np.array([[0.5, 1]], np.float32)}) == [Embedding([0.5, 1.0])]
    assert predictions.decode({"score": np.array([0.5], np.float32)}) == [Similarity(0.5)]
    assert predictions.decode(_found()) == [SearchResult([Hit("a", 1.0, "a", {})])]
    # Another model's outputs of the same names.
    for other in ({"title": np.ones((1, 2), np.float32)}, {"count": np.ones((1, 2), np.int32)}):
        assert not isinstance(predictions.decode(_found(**other))[0], SearchResult)


@pytest.mark.parametrize(
    "changes",
    [{"count": np.array([3], np.int32)}, {"title": np.array([[b"x"]], object)}],
    ids=["count", "width"],
)
def test_results_that_contradict_themselves_are_refused(changes):
    with pytest.raises(AnswerError, match="row 0 of the answer contradicts itself"):
        predictions.decode(_found(**changes))
