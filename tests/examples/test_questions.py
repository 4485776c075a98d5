"""Questions about passages: parsers, splits and SQuAD's format, on rows made up here."""

from __future__ import annotations

import json

import pytest

from examples import squad
from examples.disfl_qa import prepare as disfl
from examples.squad import Question
from tfpipeline.data.readers import read_records


@pytest.mark.parametrize(
    ("answer", "passage", "expected"),
    [
        ("1,435 mm", "about 1 , 435 mm wide", ("1 , 435 mm",)),
        ("Japan", "Japanese", ()),
        ("the U.S.", "In the U . S . of", ("the U . S .",)),
        ("two", "two by two , twofold", ("two", "two")),
        ("a+b (c)", "a + b ( c )", ("a + b ( c )",)),
        ("é", "😀 é", ("é",)),
    ],
)
def test_answers_are_found_whatever_white_space_parts_them(answer, passage, expected):
    assert tuple(passage[start:end] for start, end in disfl.places(answer, passage)) == expected


def test_questions_of_disfl_qa():
    rows = [
        {"passage": " A b . ", "question": "a ?", "answer": "b."},
        {"passage": "A b .", "question": "b ?", "answer": "unknown"},
        {"passage": "unknown", "question": "c ?", "answer": "unknown"},
        {"passage": "A b .", "question": "d ?", "answer": "elsewhere"},
    ]
    assert list(disfl.read([*map(json.dumps, rows), ""])) == [
        Question("a ?", "A b .", ((2, 5),)),
        Question("b ?", "A b .", ()),
        Question("c ?", "unknown", ()),
    ]


QUESTIONS = [
    Question(f"question {number}", f"passage {number // 3}", ((0, 7),) if number % 2 else ())
    for number in range(300)
]


def test_no_passage_is_on_both_sides():
    train, test = squad.split_by_passage(
        [*QUESTIONS, *QUESTIONS[:5], Question("QUESTION 7", "Passage 2", ())]
    )
    contexts = [{one.context for one in part} for part in (train, test)]
    assert not contexts[0] & contexts[1]
    assert {*train, *test} == {*QUESTIONS} - {
        QUESTIONS[7]
    }  # another answer to the same question: neither is used
    assert 30 < len(test) < 90
    assert squad.split_by_passage(QUESTIONS[::-1]) == squad.split_by_passage(QUESTIONS)


def test_squads_format(tmp_path):
    questions = [
        Question("one?", "😀 é ａ b", ((2, 3), (4, 7))),
        Question("two?", "😀 é ａ b", ()),
        Question("three?", "c", ((0, 1),)),
    ]
    path = tmp_path / "one.json"
    with path.open("w", encoding="utf-8") as file:
        squad.write(file, questions)
    document = json.loads(path.read_text("utf-8"))
    assert document["version"] == "v2.0"
    paragraphs = document["data"][0]["paragraphs"]
    assert [len(paragraph["qas"]) for paragraph in paragraphs] == [2, 1]
    assert paragraphs[0]["qas"][0]["answers"] == [
        {"text": "é", "answer_start": 2},
        {"text": "ａ b", "answer_start": 4},
    ]
    rows = [record.columns for record in read_records(path)]
    assert [row["question"] for row in rows] == ["one?", "two?", "three?"]
    assert [row["is_impossible"] for row in rows] == ["false", "true", "false"]
    assert len({row["id"] for row in rows}) == 3


def test_files_are_written_unless_both_are_there(tmp_path):
    train, test = squad.write_parts(tmp_path, lambda: (QUESTIONS[:3], QUESTIONS[3:4]))
    assert (train.name, test.name) == ("train.json", "test.json")
    assert squad.write_parts(tmp_path, lambda: 1 / 0) == (train, test)
