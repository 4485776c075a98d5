"""Named arrays to typed predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfpipeline.serving.client import (
    AnswerError,
    Classification,
    MultiLabel,
    Multitask,
    NamedOutputs,
    Prediction,
    Regression,
    predictions,
)


def strings(value):
    return np.array(value, dtype=object)


def classification(**changed):
    arrays = {
        "label": strings([b"b", b"a"]),
        "classes": strings([[b"a", b"b"], [b"a", b"b"]]),
        "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
    }
    return {**arrays, **changed}


def test_classification():
    assert predictions.decode(classification(), rows=2) == [
        Classification("b", 0.75, {"a": 0.25, "b": 0.75}),
        Classification("a", 0.5, {"a": 0.5, "b": 0.5}),
    ]
    # As a SavedModel in this process gives them, and with str.
    assert predictions.decode(classification(label=strings(["b", "a"]))) == predictions.decode(
        classification()
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"label": strings([b"b", b"c"])},
        {"classes": strings([[b"a", b"b"], [b"a", b"a"]])},
        {"probabilities": np.zeros((2, 3), np.float32)},
    ],
)
def test_a_classification_that_contradicts_itself(changed):
    with pytest.raises(AnswerError, match=r"row [01] of the answer contradicts itself"):
        predictions.decode(classification(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"label": np.array([1, 0])},
        {"probabilities": np.zeros((2, 2, 1), np.float32)},
        {"more": np.zeros(2)},
    ],
)
def test_anothers_outputs_of_the_same_names_are_not_classifications(changed):
    assert {type(row) for row in predictions.decode(classification(**changed))} == {NamedOutputs}


def multi_label(**changed):
    arrays = {
        "labels": strings([[b"a", b"b"], [b"", b""]]),
        "classes": strings([[b"a", b"b"], [b"a", b"b"]]),
        "scores": np.array([[0.5, 0.75], [0.25, 0.5]], np.float32),
        "thresholds": np.array([[0.375, 0.625]] * 2, np.float32),
    }
    return {**arrays, **changed}


def test_several_labels():
    thresholds = {"a": 0.375, "b": 0.625}
    assert predictions.decode(multi_label(), rows=2) == [
        MultiLabel(["b", "a"], {"a": 0.5, "b": 0.75}, thresholds),
        MultiLabel([], {"a": 0.25, "b": 0.5}, thresholds),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": strings([[b"b", b"c"], [b"", b""]])},
        {"classes": strings([[b"a", b"a"]] * 2)},
        {"scores": np.zeros((2, 3), np.float32)},
        {"thresholds": np.zeros((2, 1), np.float32)},
    ],
)
def test_several_labels_that_contradict_themselves(changed):
    with pytest.raises(AnswerError, match=r"row 0 of the answer contradicts itself"):
        predictions.decode(multi_label(**changed))


def test_a_number():
    assert predictions.decode({"value": np.array([0.5, -2], np.float32)}) == [
        Regression(0.5),
        Regression(-2.0),
    ]


def test_several_tasks():
    parts = {
        "mood": classification(),
        "stars": {"value": np.array([1, 2], np.float32)},
        "x": {"y": np.arange(2)},
    }
    arrays = {f"{part}/{name}": array for part, own in parts.items() for name, array in own.items()}
    first, second = predictions.decode(arrays, rows=2)
    assert first == Multitask(
        {
            "mood": Classification("b", 0.75, {"a": 0.25, "b": 0.75}),
            "stars": Regression(1.0),
            "x": NamedOutputs({"y": 0}),
        }
    )
    assert second.to_dict() == {
        "answers": {
            "mood": {"label": "a", "probability": 0.5, "probabilities": {"a": 0.5, "b": 0.5}},
            "stars": {"value": 2.0},
            "x": {"outputs": {"y": 1}},
        }
    }
    mixed = predictions.decode({**arrays, "value": np.zeros(2, np.float32)})
    assert {type(row) for row in mixed} == {NamedOutputs}


def test_anything_else():
    rows = predictions.decode(
        {
            "score": np.array([1, 2], np.int64),
            "vector": np.array([[0.5, 1], [2, 3]], np.float32),
            "words": strings([["é".encode(), "x"], [b"", b"\xff"]]),
            "yes": np.array([True, False]),
            "none": np.zeros((2, 0)),
        }
    )
    assert rows == [
        NamedOutputs({"none": [], "score": 1, "vector": [0.5, 1.0], "words": ["é", "x"], "yes": True}),
        NamedOutputs({"none": [], "score": 2, "vector": [2.0, 3.0], "words": ["", "\\xff"], "yes": False}),
    ]
    assert json.loads(json.dumps(rows[1].to_dict()))["outputs"]["vector"] == [2, 3]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "it is empty"),
        ({"a": np.zeros(())}, r"a \[\]"),
        ({"a": np.zeros(2), "b": np.zeros((3, 1))}, r"a \[2\], b \[3, 1\]"),
        ({"a": np.zeros(2, complex)}, r'output "a" is complex'),
    ],
)
def test_what_is_no_batch(arrays, says):
    with pytest.raises(AnswerError, match=says):
        predictions.decode(arrays)


def test_the_number_of_rows_is_checked():
    with pytest.raises(AnswerError, match="does not have 3 rows, one for each text"):
        predictions.decode(classification(), rows=3)


def test_no_rows():
    empty = {
        "label": strings([]),
        "classes": strings(np.zeros((0, 2))),
        "probabilities": np.zeros((0, 2), np.float32),
    }
    assert predictions.decode(empty) == []
    assert predictions.decode({"a": np.zeros((0, 2))}) == []


def test_kinds_can_be_told_apart():
    """Every kind is found by its own names, and its rows are predictions that JSON can hold."""
    all_samples = classification(), multi_label(), {"value": np.zeros(2, np.float32)}
    samples = {frozenset(sample): sample for sample in all_samples}
    assert set(samples) == set(predictions._KINDS)
    for arrays in samples.values():
        rows = predictions.decode(arrays)
        assert all(isinstance(row, Prediction) and type(row) is not NamedOutputs for row in rows)
        assert json.dumps([row.to_dict() for row in rows])
