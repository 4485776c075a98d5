"""Texts that a model writes: both clients against a server made from the official stubs."""

from __future__ import annotations

import asyncio
import inspect
import json

import numpy as np
import pytest

from tfpipeline.serving.client import (
    AnswerError,
    AsyncPredictClient,
    Candidate,
    Generation,
    InputError,
    PredictClient,
    generation,
    predictions,
)


def test_predictions_are_texts(connect):
    (answer,) = connect("generation").predict(["ab"], expect=Generation)
    assert answer == Generation("ab", -0.5)
    assert answer.to_dict() == {"text": "ab", "score": -0.5}


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_each_text_may_choose_for_itself(connect, batch_size):
    client = connect("generation")
    answers = client.generate(
        ["ab", "abcd", ""],
        num_beams=[2, 1, 3],
        do_sample=True,
        seed=np.array([7, 8, 9]),
        temperature=0.5,
        batch_size=batch_size,
    )
    assert [len(answer.candidates) for answer in answers] == [2, 1, 3]
    assert answers[0] == Generation("ab", 7.0, [Candidate("ab", 7.0), Candidate("ab", 1.0)])
    assert [candidate.score for candidate in answers[2].candidates] == [9.0, 1.0, 0.5]
    assert json.loads(json.dumps(answers[1].to_dict())) == {
        "text": "abcd", "score": 8.0, "candidates": [{"text": "abcd", "score": 8.0}]
    }  # fmt: skip


def test_what_is_not_chosen_is_left_to_the_model(connect):
    (answer,) = connect("generation").generate(["ab"], num_beams=3, seed=[None])
    assert [candidate.score for candidate in answer.candidates] == [-1, -1, -1]


def test_dialogues_are_joined(connect):
    client = connect("generation")
    turns = [["hi", {"speaker": "b", "text": "hello ✓"}, b"how \xc3\xa9?"], ({"content": "one"},), "as it is"]
    answers = client.generate(turns)
    assert [answer.text for answer in answers] == ["hi [SEP] hello ✓ [SEP] how é?", "one", "as it is"]
    assert client.generate([["a", "b"]], turn_separator=" | ")[0].text == "a | b"


def test_no_texts_no_call(connect):
    assert connect("status:INTERNAL").generate([]) == []


def test_the_asyncio_client_answers_alike(connect):
    client = connect("generation")
    choices = {"num_beams": [1, 2], "do_sample": False, "temperature": 2}

    async def ask():
        async with AsyncPredictClient(client.endpoint.target, model="generation") as other:
            return await other.generate(["a", ["b", "c"]], **choices)

    assert asyncio.run(ask()) == client.generate(["a", ["b", "c"]], **choices)


@pytest.mark.parametrize("client", [PredictClient, AsyncPredictClient])
def test_choices_are_the_methods_arguments_in_order(client):
    names = list(inspect.signature(client.generate).parameters)
    assert names[2 : 2 + len(generation.CHOICES)] == list(generation.CHOICES)


@pytest.mark.parametrize(
    ("texts", "choices", "says"),
    [
        ("a", {}, 'input "text" is one string; give a list of texts'),
        ([[]], {}, "row 0 is a dialogue without turns; give at least one"),
        (["a", ["b", 3]], {}, "row 1, turn 1 is int; give a text, or a dict with its text"),
        ([["b", {"speaker": "c"}]], {}, "row 0, turn 1 is dict; give a text, or a dict with its text"),
        ([3], {}, "text"),
        (["a"], {"seed": 1.5}, "seed is 1.5; give a whole number"),
        (["a"], {"seed": True}, "seed is True; give a whole number"),
        (["a"], {"seed": 2**31}, "seed is 2147483648; give a whole number below 2147483648"),
        (["a"], {"temperature": "1"}, "temperature is '1'; give a number"),
        (["a"], {"temperature": float("inf")}, "temperature is inf; give a number below 2147483648"),
        (["a"], {"temperature": float("nan")}, "temperature is nan; give a number"),
        (["a"], {"do_sample": 1}, "do_sample is 1; give True or False"),
        (["a"], {"num_beams": [1, 2]}, "num_beams has 2 values for 1 texts; give one each, or one for all"),
        (["a"], {"turn_separator": None}, "turn_separator is None; give a str"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(connect, texts, choices, says):
    with pytest.raises(InputError) as caught:
        connect("generation").generate(texts, **choices)
    assert says in str(caught.value)


def test_other_models_are_named(connect):
    with pytest.raises(
        AnswerError, match='signature "generate", answers with Classification, not with Gener'
    ):
        connect("sentiment").generate(["a"])


def _written(**changes):
    arrays = {
        "texts": np.array([[b"a", b""]], object),
        "scores": np.zeros((1, 2), np.float32),
        "count": np.array([1], np.int32),
    }
    return {**arrays, **changes}


def test_predictions_are_recognised():
    assert predictions.decode(_written()) == [Generation("a", 0.0, [Candidate("a", 0.0)])]
    for other in ({"ids": np.zeros((1, 2))}, {"count": np.zeros((1, 2), np.int32)}):
        assert not isinstance(predictions.decode(_written(**other))[0], Generation)


@pytest.mark.parametrize(
    "changes",
    [{"count": np.array([3], np.int32)}, {"count": np.array([0], np.int32)}, {"scores": np.zeros((1, 3), np.float32)}],
    ids=["more", "none", "width"],
)  # fmt: skip
def test_answers_that_contradict_themselves_are_refused(changes):
    with pytest.raises(AnswerError, match="row 0 of the answer contradicts itself"):
        predictions.decode(_written(**changes))
