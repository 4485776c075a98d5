"""Named arrays to typed predictions."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from tfpipeline.serving.client import (
    AnswerError,
    Classification,
    Entity,
    Explanation,
    FillMask,
    Mask,
    MultiLabel,
    Multitask,
    NamedOutputs,
    Output,
    Prediction,
    QuestionAnswering,
    Regression,
    Span,
    Tagging,
    TokenScore,
    WordScore,
    predictions,
)
from tfpipeline.serving.client.predictions.base import kinds


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


def test_answers_that_are_too_unsure_to_be_given():
    """Of models that say so; the others are as they were."""
    for values in (np.array([0, 1], np.int32), np.array([False, True])):
        sure, unsure = predictions.decode(classification(abstained=values))
        assert isinstance(sure, Classification)
        assert (sure.abstained, unsure.abstained) == (False, True)
        assert unsure.to_dict()["abstained"] is True
    plain, _ = predictions.decode(classification())
    assert plain.abstained is None
    assert "abstained" not in plain.to_dict()
    both = {f"a/{name}": array for name, array in classification(abstained=np.array([1, 0])).items()}
    both.update({f"b/{name}": array for name, array in classification().items()})
    first, _ = predictions.decode(both)
    assert first.to_dict()["answers"]["a"]["abstained"] is True
    assert "abstained" not in first.to_dict()["answers"]["b"]
    (other, _) = predictions.decode(classification(abstained=np.array([0.5, 0.5])))
    assert isinstance(other, NamedOutputs)


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


class Padding:
    """What pads an array of strings here: no bytes, and decoding it fails."""

    def __str__(self):
        raise AssertionError("padding was decoded")


def slots(rows, width, names, padding=b""):
    """``rows``, a list of tuples each, as arrays [B, width] of these names; strings are padded with ``padding``."""
    arrays = {}
    for place, name in enumerate(names):
        if name in ("types", "texts", "answers"):
            array = np.full((len(rows), width), padding, object)
        else:
            array = np.zeros((len(rows), width), np.float32 if name == "scores" else np.int32)
        for row, own in enumerate(rows):
            for slot, values in enumerate(own[:width]):
                array[row, slot] = values[place].encode() if isinstance(values[place], str) else values[place]
        arrays[name] = array
    return arrays


FOUND = [
    [("PER", "Zoë", 0, 3, 0.75), ("LOC", "São Paulo", 14, 23, 0.5)],
    [],
    [("PER", "👩🏽‍🚀", 1, 5, 1.0)],
]


def tagging(width=3, padding=b"", **changed):
    arrays = slots(FOUND, width, ("types", "texts", "starts", "ends", "scores"), padding)
    count, margin = np.array([2, 0, 1], np.int32), np.array([0.25, 1, 0.125], np.float32)
    return {**arrays, "count": count, "margin": margin, **changed}


def test_entities():
    rows = predictions.decode(tagging(), rows=3)
    assert rows == [
        Tagging([Entity("PER", "Zoë", 0, 3, 0.75), Entity("LOC", "São Paulo", 14, 23, 0.5)], 2, 0.25),
        Tagging([], 0, 1.0),
        Tagging([Entity("PER", "👩🏽‍🚀", 1, 5, 1.0)], 1, 0.125),
    ]
    assert json.loads(json.dumps(rows[0].to_dict())) == {
        "entities": [
            {"type": "PER", "text": "Zoë", "start": 0, "end": 3, "score": 0.75},
            {"type": "LOC", "text": "São Paulo", "start": 14, "end": 23, "score": 0.5},
        ],
        "count": 2,
        "margin": 0.25,
    }
    assert rows[1].to_dict() == {"entities": [], "count": 0, "margin": 1}
    assert [type(value) for value in rows[0].to_dict().values()] == [list, int, float]


@pytest.mark.parametrize("width", [0, 1, 2, 128])
def test_more_entities_than_the_model_answers_with(width):
    rows = predictions.decode(tagging(width))
    assert [row.count for row in rows] == [2, 0, 1]
    assert [row.entities for row in rows] == [[Entity(*values) for values in own[:width]] for own in FOUND]


def test_padding_is_not_decoded():
    assert predictions.decode(tagging(128, Padding())) == predictions.decode(tagging(128))
    assert predictions.decode(reading(7, Padding())) == predictions.decode(reading(7))
    with pytest.raises(AssertionError, match="padding was decoded"):
        predictions.decode(tagging(128, Padding(), count=np.array([2, 1, 1], np.int32)))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"count": np.array([2, -1, 1], np.int32)}, "row 1 .*: count -1;"),
        ({"ends": np.array([[3, 13, 0], [0, 0, 0], [5, 0, 0]], np.int32)}, "row 0 .*: slot 1 .* 14, ends at 13;"),
        ({"starts": np.array([[0, 14, 0], [0, 0, 0], [-1, 0, 0]], np.int32)}, "row 2 .*: slot 0 .* -1, ends at 5;"),
        ({"types": strings([[b"PER"] * 2] * 3)}, "row 0 .*: 2 types, 3 texts, 3 starts, 3 ends, 3 scores;"),
        ({"scores": np.zeros((3, 4), np.float32)}, "row 0 .*: .* 4 scores;"),
    ],
)  # fmt: skip
def test_entities_that_contradict_themselves(changed, says):
    with pytest.raises(AnswerError, match=says.replace(".*:", "of the answer contradicts itself:")):
        predictions.decode(tagging(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"count": np.array([[2], [0], [1]], np.int32)},
        {"count": np.array([2, 0, 1], np.float32)},
        {"margin": np.array([0, 1, 0], np.int32)},
        {"margin": np.zeros((3, 3), np.float32)},
        {"types": np.zeros((3, 3), np.int32)},
        {"starts": np.zeros((3, 3), np.float32)},
        {"texts": strings([b"a", b"b", b"c"])},
        {"scores": np.zeros((3, 3, 2), np.float32)},
        {"more": np.zeros(3)},
    ],
)
def test_anothers_outputs_of_the_same_names_are_not_entities(changed):
    assert {type(row) for row in predictions.decode(tagging(**changed))} == {NamedOutputs}


def reading(width=3, padding=b"", **changed):
    best = [
        [("1894", 43, 47, 0.5), ("in 1894", 40, 47, 0.25)],
        [("Zoë", 0, 3, 0.125)],
        [],
    ]
    arrays = {
        "answer": strings([b"1894", b"", b""]),
        "start": np.array([43, -1, -1], np.int32),
        "end": np.array([47, -1, -1], np.int32),
        "score": np.array([0.5, 0.875, 1], np.float32),
        "no_answer": np.array([0.25, 0.875, 1], np.float32),
        "threshold": np.full(3, 0.625, np.float32),
        **slots(best, width, ("answers", "starts", "ends", "scores"), padding),
    }
    return {**arrays, **changed}


def test_answers_to_questions():
    rows = predictions.decode(reading(), rows=3)
    assert rows == [
        QuestionAnswering("1894", 43, 47, 0.5, 0.25, 0.625, [Span("1894", 43, 47, 0.5), Span("in 1894", 40, 47, 0.25)]),
        QuestionAnswering(None, None, None, 0.875, 0.875, 0.625, [Span("Zoë", 0, 3, 0.125)]),
        QuestionAnswering(None, None, None, 1.0, 1.0, 0.625, []),
    ]  # fmt: skip
    assert json.loads(json.dumps(rows[1].to_dict())) == {
        "answer": None,
        "start": None,
        "end": None,
        "score": 0.875,
        "no_answer": 0.875,
        "threshold": 0.625,
        "best": [{"text": "Zoë", "start": 0, "end": 3, "score": 0.125}],
    }
    assert [type(value) for value in rows[0].to_dict().values()] == [str, int, int, float, float, float, list]


def filled(**changed):
    """Three texts, two slots, two tokens a slot: with one mask, with three, with none."""
    arrays = {
        "tokens": strings(
            [[[b"good", b"##ly"], [b"", b""]], [[b"a", b"b"], ["é".encode(), b"x"]], [[b""] * 2] * 2]
        ),
        "scores": np.array([[[0.5, 0.25], [0, 0]], [[0.5, 0.125], [0.75, 0]], [[0, 0], [0, 0]]], np.float32),
        "starts": np.array([[4, -1], [0, 7], [-1, -1]], np.int32),
        "ends": np.array([[10, -1], [6, 13], [-1, -1]], np.int32),
        "count": np.array([1, 3, 0], np.int32),
    }
    return {**arrays, **changed}


def test_filled_masks():
    rows = predictions.decode(filled(), rows=3)
    assert rows == [
        FillMask([Mask(4, 10, [TokenScore("good", 0.5), TokenScore("##ly", 0.25)])], 1),
        FillMask(
            [
                Mask(0, 6, [TokenScore("a", 0.5), TokenScore("b", 0.125)]),
                Mask(7, 13, [TokenScore("é", 0.75), TokenScore("x", 0.0)]),
            ],
            3,
        ),
        FillMask([], 0),
    ]
    assert json.loads(json.dumps(rows[0].to_dict())) == {
        "masks": [
            {
                "start": 4,
                "end": 10,
                "best": [{"token": "good", "score": 0.5}, {"token": "##ly", "score": 0.25}],
            }
        ],
        "count": 1,
    }


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"count": np.array([1, -1, 0], np.int32)}, "row 1 .*: count -1;"),
        ({"count": np.array([2, 3, 0], np.int32)}, "row 0 .*: slot 1 starts at -1, ends at -1;"),
        (
            {"ends": np.array([[3, -1], [6, 13], [-1, -1]], np.int32)},
            "row 0 .*: slot 0 starts at 4, ends at 3;",
        ),
        ({"starts": np.array([[4]] * 3, np.int32)}, r"row 0 .*: .*\[3, 1\] starts, \[3, 2\] ends"),
    ],
    ids=["negative count", "unused slot", "ends first", "other width"],
)
def test_filled_masks_that_contradict_themselves(changed, says):
    with pytest.raises(AnswerError, match=says.replace(".*", "of the answer contradicts itself", 1)):
        predictions.decode(filled(**changed))


def test_empty_spans_are_left_out_wherever_they_are():
    starts, ends = np.array([[-1, 4, 43]] * 3, np.int32), np.array([[-1, 4, 47]] * 3, np.int32)
    answers = strings([[b"", b"", b"1894"]] * 3)
    rows = predictions.decode(reading(answers=answers, starts=starts, ends=ends))
    assert [[(span.text, span.start, span.end) for span in row.best] for row in rows] == [
        [("1894", 43, 47)]
    ] * 3


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"end": np.array([42, -1, -1], np.int32)}, "row 0 .*: answer '1894', start 43, end 42;"),
        ({"end": np.array([47, 0, -1], np.int32)}, "row 1 .*: answer '', start -1, end 0;"),
        ({"start": np.array([43, -1, 5], np.int32)}, "row 2 .*: answer '', start 5, end -1;"),
        ({"answer": strings([b"1894", b"x", b""])}, "row 1 .*: answer 'x', start -1, end -1;"),
        ({"starts": np.array([[48, 40, 0]] * 3, np.int32)}, "row 0 .*: slot 0 starts at 48, ends at 47;"),
        ({"starts": np.array([[43, -1, 0]] * 3, np.int32)}, "row 0 .*: slot 1 starts at -1, ends at 47;"),
        ({"answers": strings([[b"1894"] * 2] * 3)}, "row 0 .*: 2 answers, 3 starts, 3 ends, 3 scores;"),
    ],
)
def test_answers_to_questions_that_contradict_themselves(changed, says):
    with pytest.raises(AnswerError, match=says.replace(".*", "of the answer contradicts itself")):
        predictions.decode(reading(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"answer": strings([[b"1894"], [b""], [b""]])},
        {"start": np.array([[43], [-1], [-1]], np.int32)},
        {"end": np.array([47, -1, -1], np.float32)},
        {"no_answer": np.array([False, True, True])},
        {"threshold": np.array([0, 1, 1], np.int32)},
        {"threshold": np.zeros((3, 3), np.float32)},
        {"answers": strings([b"1894", b"", b""])},
        {"starts": np.zeros((3, 3, 1), np.int32)},
        {"more": np.zeros(3)},
    ],
)
def test_anothers_outputs_of_the_same_names_are_not_answers_to_questions(changed):
    assert {type(row) for row in predictions.decode(reading(**changed))} == {NamedOutputs}


@pytest.mark.parametrize("sample", [tagging, reading])
def test_they_are_the_same_from_a_server(connect, sample):
    """As TensorFlow Serving's typed fields, by the official messages."""
    answer = connect("typed").predict_raw(sample())
    assert predictions.decode(answer.outputs, rows=3) == predictions.decode(sample())


def test_entities_and_answers_are_parts_of_several_tasks():
    parts = {"names": tagging(), "reader": reading(), "stars": {"value": np.arange(3, dtype=np.float32)}}
    arrays = {f"{part}/{name}": array for part, own in parts.items() for name, array in own.items()}
    rows = predictions.decode(arrays, rows=3)
    for part, own in parts.items():
        assert [row.answers[part] for row in rows] == predictions.decode(own)
    found = json.loads(json.dumps(rows[2].to_dict()))["answers"]["names"]
    assert found == {
        "entities": [{"type": "PER", "text": "👩🏽‍🚀", "start": 1, "end": 5, "score": 1}],
        "count": 1,
        "margin": 0.125,
    }
    with pytest.raises(AnswerError, match="count -2"):
        predictions.decode({**arrays, "names/count": np.full(3, -2, np.int32)})


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
    for sample in (tagging(), reading()):
        assert predictions.decode({name: array[:0] for name, array in sample.items()}, rows=0) == []
    assert predictions.decode({"a": np.zeros((0, 2))}) == []


def test_kinds_can_be_told_apart():
    """Every kind is found by its own names, and its rows are predictions that JSON can hold."""
    number = {"value": np.zeros(2, np.float32)}
    texts = np.full((2, 3), b"", object)
    matching = (
        {"embedding": np.zeros((2, 3), np.float32)},
        {"score": np.zeros(2, np.float32)},
        {
            "ids": texts,
            "texts": texts,
            "scores": np.zeros((2, 3), np.float32),
            "count": np.zeros(2, np.int32),
        },
        {"text": texts[:, 0], "score": np.zeros(2, np.float32)},
    )
    all_samples = (
        classification(),
        multi_label(),
        number,
        tagging(),
        reading(),
        explanation(),
        filled(),
        *matching,
    )
    samples = {frozenset(sample): sample for sample in all_samples}
    ours = [kind for kind in kinds() if kind.__module__.startswith("tfpipeline.")]
    assert sorted(map(sorted, samples)) == sorted(sorted(kind.output_specs) for kind in ours)
    for arrays in samples.values():
        rows = predictions.decode(arrays)
        assert all(isinstance(row, Prediction) and type(row) is not NamedOutputs for row in rows)
        assert json.dumps([row.to_dict() for row in rows])


def test_a_kind_of_somebody_elses_is_found_by_its_outputs():
    @dataclass(frozen=True)
    class Grade(Prediction):
        grade: int

        output_specs = {"grade": Output(1, "i"), "expected": Output(1, "f")}  # noqa: RUF012

        @classmethod
        def from_arrays(cls, arrays):
            return [cls(grade) for grade in arrays["grade"].tolist()]

    arrays = {"grade": np.array([4, 2], np.int32), "expected": np.array([3.7, 2.1], np.float32)}
    assert predictions.decode(arrays) == [Grade(4), Grade(2)]
    heads = {f"stars/{name}": array for name, array in arrays.items()}
    assert predictions.decode(heads)[1] == Multitask({"stars": Grade(2)})
    # Of the same names, but not of the same kind.
    other = {**arrays, "grade": np.array(["a", "b"], object)}
    assert [type(row) for row in predictions.decode(other)] == [NamedOutputs] * 2


def explanation(**changed):
    arrays = {
        "label": strings([b"good", b""]),
        "value": np.array([2.5, 0.0], np.float32),
        "baseline": np.array([-0.5, 0.0], np.float32),
        "words": strings([["Zoë".encode(), b"!", b""], [b"", b"", b""]]),
        "starts": np.array([[1, 0, 0], [0, 0, 0]], np.int32),
        "ends": np.array([[4, 1, 0], [0, 0, 0]], np.int32),
        "text_numbers": np.array([[0, 1, 0], [0, 0, 0]], np.int32),
        "scores": np.array([[3.5, -0.25, 9.0], [0, 0, 0]], np.float32),
        "count": np.array([2, 0], np.int32),
    }
    return {**arrays, **changed}


def test_explanation():
    """The gap is what is missing to completeness; slots behind the count are not read."""
    first, second = predictions.decode(explanation(), rows=2)
    words = [WordScore("Zoë", 1, 4, "text", 3.5), WordScore("!", 0, 1, "text_pair", -0.25)]
    assert first == Explanation("good", 2.5, -0.5, 0.25, words)
    assert second == Explanation("", 0.0, 0.0, 0.0, [])
    assert json.loads(json.dumps(first.to_dict()))["words"][1] == {
        "word": "!",
        "start": 0,
        "end": 1,
        "source": "text_pair",
        "score": -0.25,
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": np.array([4, 0], np.int32)}, "row 0 .* count 4, room for 3 words"),
        ({"text_numbers": np.full((2, 3), 2, np.int32)}, "row 0 .* word 0 is of text 2"),
        ({"scores": np.zeros((2, 2), np.float32)}, "2 scores"),
        ({"ends": np.zeros((2, 3), np.int32)}, "slot 0 starts at 1, ends at 0"),
    ],
)
def test_an_explanation_that_contradicts_itself(changed, message):
    with pytest.raises(AnswerError, match=message):
        predictions.decode(explanation(**changed))
