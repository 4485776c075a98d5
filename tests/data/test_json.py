from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfpipeline.data import read_data_file, read_examples, read_records, write_examples
from tfpipeline.data.options import DataOptions
from tfpipeline.data.readers.json import _FORM
from tfpipeline.errors import UserError
from tfpipeline.tasks.question_answering import QuestionAnsweringOptions

CONTEXT = 'Oslo is the capital of Norway. "Ås" lies south.'


def squad(**question):
    """A document of two articles, in the second of which the question has these fields."""
    first = {"id": "q0", "question": "Which capital?", "answers": [{"text": "Oslo", "answer_start": 0}]}
    return {
        "version": "v2.0",
        "data": [
            {"title": "Norway", "paragraphs": [{"context": CONTEXT, "qas": [first]}]},
            {
                "title": "Towns",
                "paragraphs": [{"context": "", "qas": []}, {"context": CONTEXT, "qas": [question]}],
            },
        ],
    }


def rows(tmp_path, document, required=()):
    path = tmp_path / "x.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return [(dict(record.columns), record.line) for record in read_records(path, required)]


def sentence(tmp_path, document, required=()):
    with pytest.raises(UserError) as caught:
        rows(tmp_path, document, required)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "").replace(_FORM, "FORM")


def test_a_row_a_question(tmp_path):
    document = squad(
        id="q1",
        question="Where is Ås?",
        answers=[{"text": "south", "answer_start": 41}, {"text": "lies south", "answer_start": 36}],
        is_impossible=False,
    )
    assert rows(tmp_path, document, ["id", "title", "question", "context", "answers", "is_impossible"]) == [
        (
            {
                "id": "q0", "title": "Norway", "question": "Which capital?", "context": CONTEXT,
                "answers": '{"text": ["Oslo"], "answer_start": [0]}', "is_impossible": "false",
            },
            1,
        ),
        (
            {
                "id": "q1", "title": "Towns", "question": "Where is Ås?", "context": CONTEXT,
                "answers": '{"text": ["south", "lies south"], "answer_start": [41, 36]}', "is_impossible": "false",
            },
            2,
        ),
    ]  # fmt: skip


PLAUSIBLE = [{"text": "Oslo", "answer_start": 0}]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({"is_impossible": True, "answers": [], "plausible_answers": PLAUSIBLE}, ("true", [], [])),
        ({"is_impossible": True, "answers": PLAUSIBLE}, ("true", [], [])),
        ({"is_impossible": True}, ("true", [], [])),
        ({"is_impossible": None, "answers": []}, ("false", [], [])),
        ({"answers": PLAUSIBLE}, ("false", ["Oslo"], [0])),
        ({"answers": [{"text": "x", "answer_start": -1}]}, ("false", ["x"], [-1])),
    ],
)
def test_answers(tmp_path, question, found):
    columns, _ = rows(tmp_path, squad(question="?", **question), ["answers"])[1]
    answers = json.loads(columns["answers"])
    assert (columns["is_impossible"], answers["text"], answers["answer_start"]) == found


def test_what_may_be_missing(tmp_path):
    document = {"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "?"}]}]}]}
    found = {"id": "", "title": "", "question": "?", "context": "c", "is_impossible": "false"}
    assert rows(tmp_path, document, ["question", "context"]) == [(found, 1)]
    assert sentence(tmp_path, document, ["answers"]) == (
        'x.json: data[0].paragraphs[0].qas[0]: there is no column "answers"; the columns are "id", "title", "question", "context", '
        '"is_impossible"'
    )
    document["data"][0]["title"] = None
    document["data"][0]["paragraphs"][0]["qas"][0]["id"] = 51870  # GermanQuAD's are numbers
    assert rows(tmp_path, document) == [({**found, "id": "51870"}, 1)]


def test_hugging_face_s_data_set_has_the_same_rows(tmp_path):
    document = squad(id="q1", question="Where?", answers=[{"text": '"Ås"\n', "answer_start": 31}])
    article, paragraph = document["data"][1], document["data"][1]["paragraphs"][1]
    question = paragraph["qas"][0]
    answers = question["answers"]
    theirs = {
        "id": question["id"],
        "title": article["title"],
        "context": paragraph["context"],
        "question": question["question"],
        "answers": {name: [answer[name] for answer in answers] for name in ("text", "answer_start")},
    }
    pq.write_table(pa.Table.from_pylist([theirs]), tmp_path / "x.parquet")
    (want,) = read_records(tmp_path / "x.parquet")
    found, _ = rows(tmp_path, document)[1]
    assert found == {**want.columns, "is_impossible": "false"}


OBJECTS = [
    {"text": "a\n", "n": 1.0, "gap": None, "flag": True, "many": [1, "é", {"k": None}], "é": ""},
    {"text": "b", "n": 123456789012345678901234567890},
    {},
]


def test_a_list_of_objects_is_json_lines(tmp_path):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in OBJECTS), "utf-8")
    want = [(dict(record.columns), record.line) for record in read_records(tmp_path / "x.jsonl")]
    assert rows(tmp_path, OBJECTS) == want
    assert want[0][0]["many"] == '[1, "é", {"k": null}]'


@pytest.mark.parametrize(
    "change", [lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b" ", b"\r\n")]
)
def test_forms_that_mean_the_same(tmp_path, change):
    data = json.dumps(OBJECTS).encode()
    assert rows(tmp_path, change(data)) == rows(tmp_path, data)


def test_lone_surrogates(tmp_path):
    assert rows(tmp_path, rb'[{"text": "a\ud800 \ud83d\ude00"}]') == [({"text": "a\ufffd 😀"}, 1)]
    document = squad(question="\udc00", id="\ud800", answers=[{"text": "\udfff", "answer_start": 3}])
    document["data"][1]["title"] = document["data"][1]["paragraphs"][1]["context"] = "\ud83d"
    columns, _ = rows(tmp_path, document)[1]
    assert columns.pop("answers") == '{"text": ["\ufffd"], "answer_start": [3]}'
    assert columns == {**dict.fromkeys(("id", "title", "question", "context"), "\ufffd"), "is_impossible": "false"}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'[\n{"a": 1},\n]', "x.json:3: not JSON (Expecting value, column 1); if it has one object per line, call it .jsonl"),
        (b'{"a": 1}\n{"a": 2}\n', "x.json:2: not JSON (Extra data, column 1); if it has one object per line, call it .jsonl"),
        (b'["a\x00"]', "x.json:1: not JSON (Invalid control character at, column 4); if it has one object per line, call it .jsonl"),
        (b"[" * 100_000, "x.json:1: not JSON that can be read (nested too deeply); FORM"),
        (b'[\n"\xff"]', "x.json:2: not UTF-8 (byte 0xff); it may be cp1252 or cp1251: name the right one with --encoding (in a run file: \"encoding\", beside the path of the file), or save the file as UTF-8"),
        (b" \n", "x.json:1: the file is empty; expected a list of objects, or questions: FORM"),
        (b"[]", "x.json: there are no rows; expected a list of objects, or questions: FORM"),
        (b'{"data": [{"paragraphs": []}]}', "x.json: there are no rows; expected a list of objects, or questions: FORM"),
        (b'{"text": "a"}', 'x.json: neither a list of objects nor an object with "data"; FORM'),
        (b'"text"', 'x.json: neither a list of objects nor an object with "data"; FORM'),
        (b'[{}, "text"]', 'x.json: [1] is not an object; write each row as {"text": "..."}'),
        (b'{"data": {}}', "x.json: data is not a list; FORM"),
        (b'{"data": "[]"}', "x.json: data is not a list; FORM"),
        (b'{"data": [{"text": "a"}]}', 'x.json: data[0] has no "paragraphs"; FORM'),
        (b'{"data": [[]]}', "x.json: data[0] is not an object; FORM"),
        (b'{"data": [{"title": [], "paragraphs": []}]}', "x.json: data[0].title is not a text; FORM"),
        (b'{"data": [{"title": true, "paragraphs": []}]}', "x.json: data[0].title is not a text; FORM"),
        (b'{"data": [{"paragraphs": null}]}', "x.json: data[0].paragraphs is not a list; FORM"),
        (b'{"data": [{"paragraphs": [{}]}]}', 'x.json: data[0].paragraphs[0] has no "context"; FORM'),
        (b'{"data": [{"paragraphs": [{"context": 1}]}]}', "x.json: data[0].paragraphs[0].context is not a text; FORM"),
        (b'{"data": [{"paragraphs": [{"context": ""}]}]}', 'x.json: data[0].paragraphs[0] has no "qas"; FORM'),
    ],
)  # fmt: skip
def test_errors(tmp_path, data, found):
    assert sentence(tmp_path, data) == found


HERE = "x.json: data[1].paragraphs[1].qas[0]"


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({"answers": []}, f'{HERE} has no "question"; FORM'),
        ({"question": None}, f"{HERE}.question is not a text; FORM"),
        ({"question": "?", "id": {}}, f"{HERE}.id is not a text; FORM"),
        ({"question": "?", "is_impossible": "false"}, f"{HERE}.is_impossible is not true or false; FORM"),
        ({"question": "?", "is_impossible": 0}, f"{HERE}.is_impossible is not true or false; FORM"),
        ({"question": "?", "answers": {"text": ["a"]}}, f"{HERE}.answers is not a list; FORM"),
        ({"question": "?", "answers": ["a"]}, f"{HERE}.answers[0] is not an object; FORM"),
        ({"question": "?", "answers": [*PLAUSIBLE, {}]}, f'{HERE}.answers[1] has no "text"; FORM'),
        ({"question": "?", "answers": [{"text": 7}]}, f"{HERE}.answers[0].text is not a text; FORM"),
        ({"question": "?", "answers": [{"text": "a"}]}, f'{HERE}.answers[0] has no "answer_start"; FORM'),
        *(
            (
                {"question": "?", "answers": [{"text": "a", "answer_start": start}]},
                f"{HERE}.answers[0].answer_start is not a whole number; FORM",
            )
            for start in (None, "3", 3.0, True, float("nan"), [3])
        ),
    ],
)
def test_errors_of_questions(tmp_path, question, found):
    assert sentence(tmp_path, squad(**question)) == found


def test_where_a_row_stands(tmp_path, capsys):
    """A row's number would look like a line: errors of tasks say what errors of the reader do."""
    path = tmp_path / "x.json"
    for question, place in (
        ({"id": "q1"}, "data[1].paragraphs[1].qas[0] (id q1)"),
        ({"id": 7}, "data[1].paragraphs[1].qas[0] (id 7)"),
        ({}, "data[1].paragraphs[1].qas[0]"),
    ):
        document = squad(question="?", answers=[{"text": "south", "answer_start": 3}], **question)
        path.write_text(json.dumps(document))
        *_, record = read_records(path)
        assert record.source == f"{path}: {place}"
        options = DataOptions(train=str(path), text="question", text_pair="context", label="answers")
        with pytest.raises(UserError) as caught:
            QuestionAnsweringOptions().read(options, path)
        assert str(caught.value).startswith(f'{path}: {place}: the answer "south" is not at 3 of the context')
    path.write_text(json.dumps([{"text": "a"}, {"text": " "}]))
    rows = read_data_file(path, DataOptions(train=str(path), label=None))
    assert [row.source for row in rows] == [f"{path}: [0]", f"{path}: [1]"]
    write_examples(tmp_path / "kept.jsonl", rows)
    assert read_examples(tmp_path / "kept.jsonl") == rows
    assert f"{path}: 1 row has no text, in [1]; kept as an empty text" in capsys.readouterr().err


def test_missing_column_of_a_list(tmp_path):
    found = 'x.json: [1]: there is no column "text"; did you mean "Text"? The columns are "Text"'
    assert sentence(tmp_path, [{"text": "a"}, {"Text": "a"}], ["text"]) == found


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.json: No such file"):
        list(read_records(tmp_path / "none.json"))
