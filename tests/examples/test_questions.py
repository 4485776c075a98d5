"""Questions about passages: parsers, splits and SQuAD's format, on rows made up here."""

from __future__ import annotations

import json
import unicodedata

import pytest

from examples import squad
from examples.disfl_qa import prepare as disfl
from examples.find_the_span import prepare as span
from examples.quac import prepare as quac
from examples.squad import Question
from tfpipeline.data.readers import read_records
from tfpipeline.metrics.question_answering import compute
from tfpipeline.text import TokenizerOptions


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


PASSAGE = "In May 1983, she married Nikos, a composer. She gave birth to her daughter Sofia. After that"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CANNOTANSWER CANNOTANSWER", ["CANNOTANSWER"] * 2),
        (
            "she married Nikos, she married Nikos, a composer.",
            ["she married Nikos,", "she married Nikos, a composer."],
        ),
        (
            "her daughter Sofia. her daughter Sofia. After",
            ["her daughter Sofia.", "her daughter Sofia. After"],
        ),
        ("In May 1983, CANNOTANSWER", ["In May 1983,", "CANNOTANSWER"]),
    ],
)
def test_answers_in_one_line_are_cut_into_pieces_of_the_passage(line, expected):
    assert quac.pieces(line, PASSAGE) == expected


def test_answers_that_the_passage_does_not_have():
    with pytest.raises(ValueError, match="not made of pieces of the passage, at 'born'"):
        quac.pieces("she was born", "she was not")


def test_a_dialogue_of_quac():
    one = {
        "passage": f"{PASSAGE} ",
        "question": "question1: when? \nquestion2: whom?\nquestion3: why?",
        "answer": "possible answers for question1:\nMay 1983, In May 1983, In May 1983,\n"
        "possible answers for question2:\nNikos, CANNOTANSWER\n"
        "possible answers for question3:\nCANNOTANSWER CANNOTANSWER",
    }
    long = {**one, "passage": " ".join(["word"] * 401)}
    found = list(quac.read([json.dumps(long), json.dumps(one), ""]))
    assert [row.question for row in found] == ["when?", "when? whom?", "when? whom? why?"]
    assert [[row.context[start:end] for start, end in row.answers] for row in found] == [
        ["In May 1983,", "May 1983,"],  # what most people answered comes first
        ["Nikos,"],
        [],
    ]


def tokens(text: str) -> list[str]:
    """What BERT makes of words and stops: no case, no accents."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    return plain.replace(span.STOP, f" {span.STOP} ").split()


def test_an_answer_is_what_stands_between_marker_and_stop():
    rows = list(span.questions(500, 7))
    assert list(span.questions(500, 7)) == rows
    assert list(span.questions(500, 8))[:50] != rows[:50]
    sizes = set()
    for row in rows:
        (asked,), words = tokens(row.question), tokens(row.context)
        assert asked in span.MARKERS
        assert words.count(asked) == len(row.answers) <= 1
        for start, end in row.answers:
            answer = tokens(row.context[start:end])
            sizes.add(len(answer))
            at = words.index(asked) + 1
            assert words[at : at + len(answer) + 1] == [*answer, span.STOP]
            assert set(answer) <= set(span.WORDS)
            # A combining accent at the end would be a matter of taste.
            assert row.context[end - 1].isalpha()
            assert row.context[end] == span.STOP
    assert sizes == {1, 2, 3, 4}
    assert 0.15 < sum(not row.answers for row in rows) / 500 < 0.25
    lengths = [len(tokens(row.context)) for row in rows]
    assert min(lengths) < 15
    assert max(lengths) > 120


def test_no_error_can_hide():
    # The same right answers, their places counted otherwise.
    rows = list(span.questions(500, 7))
    gold = [[row.context[start:end] for start, end in row.answers] for row in rows]

    def exact_match(count) -> float:
        answers = [
            row.context[count(row.context[:start]) : count(row.context[:end])]
            for row in rows
            for start, end in (row.answers or [(0, 0)])
        ]
        return compute(answers, gold)["exact_match"]

    def without(text: str, *categories: str) -> str:
        return "".join(one for one in text if unicodedata.category(one) not in categories)

    assert exact_match(len) == 1
    for count in (
        lambda text: len(text.encode("utf-16-le")) // 2,
        lambda text: len(text.encode()),
        lambda text: len(text.lower()),
        lambda text: len(unicodedata.normalize("NFC", text)),
        lambda text: len(without(unicodedata.normalize("NFD", text), "Mn")),
        lambda text: len(without(text, "Cf")),  # zero-width ones, which the tokenizer drops
        lambda text: len(text) + 1 if text else 0,
    ):
        assert exact_match(count) < 0.95


def test_every_word_is_a_token():
    options = TokenizerOptions()
    vocabulary = span.vocabulary(options)
    assert len(set(vocabulary)) == len(vocabulary)
    assert {*span.MARKERS, *span.WORDS, span.STOP, "a", "##a"} < {*vocabulary}
    assert not {*span.MARKERS} & {*span.WORDS}
