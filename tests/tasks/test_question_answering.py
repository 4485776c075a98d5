"""Question answering: rows, targets, loss and decoding against plain Python, then one that learns, exported and served."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import unicodedata
from types import SimpleNamespace

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests import tiny
from tests.tasks import kit
from tests.text.characters import edges
from tests.training.test_train import At, interrupt
from tfpipeline import checkpoints, config
from tfpipeline.data import Example
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.metrics import question_answering as official
from tfpipeline.predictors import RunPredictor
from tfpipeline.serving.client import PredictClient
from tfpipeline.serving.client.predictions import QuestionAnswering as Typed
from tfpipeline.serving.server import EmbeddedServer, make_options
from tfpipeline.tasks.question_answering import QuestionAnswering, QuestionAnsweringOptions
from tfpipeline.text import TokenizerOptions, Truncation, WordPieceTokenizer
from tfpipeline.training import Interrupted, Run, RunConfig, batching, train
from tfpipeline.training.batching import Split
from tfpipeline.training.inference import Inference
from tfpipeline.training.precision import policy
from tfpipeline.training.rows import read_targets
from tfpipeline.training.run import create_run

CONTEXT = "the food was good , and very bad film"
SQUAD = dict(QuestionAnsweringOptions.data_defaults)


def row(context, *answers, question="the film"):
    """A row as it is kept, of answers (start, text)."""
    cell = {"text": [text for _, text in answers], "answer_start": [start for start, _ in answers]}
    raw = Example(question, context, json.dumps(cell), file="rows.csv", line=2)
    return QuestionAnsweringOptions().preprocess(raw)


def task(no_answer=True, **options):
    return QuestionAnswering(QuestionAnsweringOptions(**options), {"no_answer": no_answer})


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(tiny.VOCABULARY)


# Data in.

QUESTIONS = [
    ("what was it", CONTEXT, [(13, "good")]),
    ("what else", CONTEXT, [(24, "very bad"), (29, "bad"), (24, "very bad")]),
    ("which door", CONTEXT, []),
    ("", "😀 e\u0301 fine", [(5, "fine")]),
    ("anything", "", []),
]


def as_squad(version, keep=lambda answers: True):
    paragraphs = {}
    for number, (question, context, answers) in enumerate(QUESTIONS):
        if not keep(answers):
            continue
        asked = {
            "id": str(number),
            "question": question,
            "answers": [{"text": text, "answer_start": start} for start, text in answers],
        }
        if version == "v2.0":
            asked["is_impossible"] = not answers
            if not answers and context:
                asked["plausible_answers"] = [{"text": "good", "answer_start": 13}]
        paragraphs.setdefault(context, []).append(asked)
    articles = [
        {"title": "t", "paragraphs": [{"context": context, "qas": asked}]}
        for context, asked in paragraphs.items()
    ]
    return {"version": version, "data": articles}


def columns():
    return [
        {
            "question": question,
            "context": context,
            "answers": {
                "text": [text for _, text in answers],
                "answer_start": [start for start, _ in answers],
            },
        }
        for question, context, answers in QUESTIONS
    ]


def write(path, form):
    if form in ("1.1", "v2.0"):
        path = path.with_suffix(".json")
        path.write_text(json.dumps(as_squad(form)), "utf-8")
    elif form == "list":
        path = path.with_suffix(".json")
        path.write_text(json.dumps(columns()), "utf-8")
    elif form in ("jsonl", "strings in jsonl"):
        path = path.with_suffix(".jsonl")
        rows = columns()
        if form != "jsonl":
            rows = [{**one, "answers": json.dumps(one["answers"])} for one in rows]
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    elif form == "parquet":
        path = path.with_suffix(".parquet")
        pq.write_table(pa.Table.from_pylist(columns()), path)
    return path


def read(path, options=None, **data):
    options = options or QuestionAnsweringOptions()
    return options.read(DataOptions(**{"train": str(path), **SQUAD, **data}), path)


def kept(rows):
    return [
        (one.text, one.text_pair, [tuple(answer) for answer in json.loads(one.label)["answers"]])
        for one in rows
    ]


@pytest.mark.parametrize("form", ["1.1", "v2.0", "list", "jsonl", "strings in jsonl", "parquet"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    rows = read(write(tmp_path / "rows", form))
    assert kept(rows) == QUESTIONS
    gold = task().targets(rows)["gold"]
    assert gold.tolist() == [tuple(text for _, text in answers) for _, _, answers in QUESTIONS]
    (answered,) = task().targets(rows, training=True).values()
    assert answered.tolist() == [1, 1, 0, 1, 0]
    # What is prepared once is as it was when it is read again.
    assert [json.loads(one.label) for one in rows[:1]] == [{"answers": [[13, "good"]]}]
    assert [QuestionAnsweringOptions().strata(one) for one in rows] == [
        ("answer",), ("answer",), ("none",), ("answer",), ("none",)
    ]  # fmt: skip


def test_plain_texts_are_looked_up(tmp_path):
    """Where they stand first, as whole characters; an empty cell is no answer."""
    path = tmp_path / "rows.csv"
    cells = [
        ('"the food was good , good"', "good", [(13, "good")]),
        ('"the food"', "", []),
        ('"the food"', "  ", []),
        ('"the food"', "[]", []),
        ('"the cafe\u0301 or cafe"', "cafe", [(13, "cafe")]),
        ('"so [sic] it was"', "[sic]", [(3, "[sic]")]),
        ('"it is {x}"', " {x} ", [(6, "{x}")]),
        # JSON, but a part of the context.
        ('"see [1] here"', "[1]", [(4, "[1]")]),
        ('"see [""x""] there"', '"[""x""]"', [(4, '["x"]')]),
        ('"so {""a"": 1} it is"', '"{""a"": 1}"', [(3, '{"a": 1}')]),
        ('"an empty list is []"', "[]", []),
        ('"a 42 b"', "42", [(2, "42")]),
        ('"a null b"', "null", [(2, "null")]),
        ('"the ""good"" one"', '"""good"""', [(4, '"good"')]),
        ('"the food"', '"[""food"", {""text"": ""the""}]"', [(4, "food"), (0, "the")]),
        ('"the food"', '"{""text"": ""food"", ""answer_start"": 4}"', [(4, "food")]),
        ('"the food"', '"{""text"": [""food""], ""answer_start"": [null]}"', [(4, "food")]),
    ]
    path.write_text(
        "answers,context,question\n" + "".join(f"{cell},{context},q\n" for context, cell, _ in cells)
    )
    assert [answers for _, _, answers in kept(read(path))] == [answers for _, _, answers in cells]


def test_halves_of_escaped_pairs_are_the_same_in_context_and_answer(tmp_path):
    path = tmp_path / "rows.jsonl"
    answers = json.dumps({"text": ["b\ud83d"], "answer_start": [2]})
    rows = [
        {"question": "q", "context": "a b\ud83d c", "answers": given}
        for given in (answers, json.loads(answers))
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert [answers for _, _, answers in kept(read(path))] == [[(2, "b\ufffd")]] * 2


def test_other_columns_and_weights(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("q,passage,a,w\nx,so good,good,2\ny,so bad,,0.5\n")
    rows = read(path, text="q", text_pair="passage", label="a", weight="w")
    assert kept(rows) == [("x", "so good", [(3, "good")]), ("y", "so bad", [])]
    assert read_targets(task(), rows, training=True)[1].tolist() == [2, 0.5]


def answers(*texts, starts=None):
    return {"text": list(texts), "answer_start": starts}


EMOJI = "😀 é the film was good"  # 😀 is two UTF-16 units and four bytes, é two bytes


@pytest.mark.parametrize(
    ("context", "cell", "sentence"),
    [
        (CONTEXT, "great", 'the answer "great" is not in the context; copy it from there'),
        ("", "good", 'the answer "good" is not in the context; copy it from there'),
        (CONTEXT, answers("Good", starts=[13]), 'the answer "Good" is not at 13 of the context, where "good" stands; it is nowhere in the context; offsets count code points from 0'),
        (CONTEXT, answers("good", starts=[14]), 'the answer "good" is not at 14 of the context, where "ood " stands; it is at 13; offsets count code points from 0'),
        ("good , good , good", answers("good", starts=[8]), 'the answer "good" is not at 8 of the context, where "ood " stands; it is at 7; '),
        (CONTEXT, answers("good", starts=[-24]), 'the answer "good" is not at -24 of the context, which has 37 characters; it is at 13; '),
        (CONTEXT, answers("film", starts=[34]), 'the answer "film" is not at 34 of the context, where "ilm" stands; it is at 33; '),
        (CONTEXT, answers("film", starts=[37]), 'the answer "film" is not at 37 of the context, which has 37 characters; it is at 33; '),
        (CONTEXT, answers("film", starts=[10**30]), f'the answer "film" is not at {10**30} of the context, which has 37 characters; it is at 33; '),
        ("", answers("good", starts=[0]), 'the answer "good" is not at 0 of the context, which has 0 characters; it is nowhere in the context; '),
        # What other languages count.
        (EMOJI, answers("film", starts=[9]), 'the answer "film" is not at 9 of the context, where "ilm " stands; it is at 8; offsets count code points from 0'),
        (EMOJI, answers("good", starts=[18]), 'the answer "good" is not at 18 of the context, where "ood" stands; it is at 17; offsets count code points from 0'),
        (EMOJI, answers("good", starts=[len(EMOJI[:17].encode())]), 'the answer "good" is not at 21 of the context, which has 21 characters; it is at 17; '),
        # Half a character.
        ("so cafe\u0301", answers("cafe", starts=[3]), "the answer \"cafe\" is from 3 to 7, and at 7 that is within one character ('e\\u0301'); offsets count code points, not bytes or UTF-16 units"),
        ("so cafe\u0301", "cafe", "the answer \"cafe\" is from 3 to 7, and at 7 that is within one character"),
        ("👍🏽 good", answers("🏽 good", starts=[1]), 'the answer "🏽 good" is from 1 to 7, and at 1 that is within one character'),
        ("❤\ufe0f", answers("❤", starts=[0]), 'the answer "❤" is from 0 to 1, and at 1 that is within one character'),
        # What is no place, or no text.
        (CONTEXT, answers("good", starts=["13"]), 'the answer "good" has the start "13"; offsets are whole numbers'),
        (CONTEXT, answers("good", starts=[[13]]), 'the answer "good" has the start [13]; offsets are whole numbers'),
        (CONTEXT, answers("good", starts=[{}]), 'the answer "good" has the start {}; offsets are whole numbers'),
        (CONTEXT, answers("good", starts=[13.0]), 'the answer "good" has the start 13.0; offsets are whole numbers'),
        (CONTEXT, answers("good", starts=[True]), 'the answer "good" has the start true; offsets are whole numbers'),
        (CONTEXT, answers("good", starts=[math.nan]), 'the answer "good" has the start NaN; offsets are whole numbers'),
        (CONTEXT, answers("", starts=[0]), 'an answer is {"text": "", "answer_start": 0}; expected a text that is not empty, and no answer at all for a question without one'),
        (CONTEXT, answers(" \n", starts=[3]), 'an answer is {"text": " \\n", "answer_start": 3}; expected a text that is not empty'),
        (CONTEXT, answers(None, starts=[3]), 'an answer is {"text": null, "answer_start": 3}; expected a text'),
        (CONTEXT, ["good", ""], 'an answer is ""; expected a text that is not empty'),
        (CONTEXT, [13], "an answer is 13; expected a text that is not empty"),
        (CONTEXT, [["good", 13]], 'an answer is ["good", 13]; expected a text that is not empty'),
        (CONTEXT, "[" * 900 + "]" * 900, "an answer is [[["),
        # Lists that do not fit together.
        (CONTEXT, answers("good", "food", starts=[13]), 'the answers are {"text": ["good", "food"], "answer_start...; expected {"text": ["..."], "answer_start": [0]}, or a text that occurs in the context'),
        (CONTEXT, answers(starts=[13]), 'the answers are {"text": [], "answer_start": [13]}; expected'),
        (CONTEXT, {"text": ["good"]}, 'the answers are {"text": ["good"]}; expected'),
        (CONTEXT, {"answer": "good"}, 'the answers are {"answer": "good"}; expected'),
        (CONTEXT, {"text": {"0": "good"}, "answer_start": {"0": 13}}, "the answers are {"),
        # No JSON.
        (CONTEXT, "['good']", "['good'] is not JSON (Expecting value: line 1 column 2 (char 1)); expected {\"text\": [\"...\"], \"answer_start\": [0]}, or a text that occurs in the context"),
        (CONTEXT, "{'text': ['good'], 'answer_start': [13]}", "{'text': ['good'], 'answer_start': [13]} is not JSON (Expecting property name"),
        (CONTEXT, "[" * 100_000, "[[["),
    ],
)  # fmt: skip
def test_bad_answers(tmp_path, context, cell, sentence):
    """One sentence with file and line, or the place in a document, whichever file they come in."""
    rows = [
        {"question": "q", "context": CONTEXT, "answers": "good"},
        {"question": "q", "context": context, "answers": cell},
    ]
    lines, listed = tmp_path / "rows.jsonl", tmp_path / "rows.json"
    lines.write_text("".join(json.dumps(one) + "\n" for one in rows))
    listed.write_text(json.dumps(rows))
    for path, place in ((lines, "2"), (listed, " [1]")):
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}:{place}: {sentence}")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
        str(caught.value).encode()


def test_bad_answers_in_squads_form_name_the_row(tmp_path):
    document = as_squad("1.1", keep=len)
    document["data"][1]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 6
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == (
        f'{path}: data[1].paragraphs[0].qas[0] (id 3): the answer "fine" is not at 6 of the context, where "ine" stands; it is '
        "at 5; offsets count code points from 0"
    )


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("rows.csv", "question,passage,answers\nq,c,c\n", 'rows.csv:1: there is no column "context"'),
        ("rows.csv", "question,context\nq,c\n", 'rows.csv:1: there is no column "answers"'),
        ("rows.jsonl", '{"question": "q", "answers": "c"}\n', 'rows.jsonl:1: there is no column "context"'),
        ("rows.json", '{"data": [', "rows.json:1: not JSON"),
        ("rows.json", '{"paragraphs": []}', "rows.json: neither a list of objects nor"),
        (
            "rows.json",
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q"}]}]}]}',
            'rows.json: data[0].paragraphs[0].qas[0]: there is no column "answers"',
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, text, sentence):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{tmp_path}/{sentence}")


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("context", ["so", "good"], '["so", "good"]'),
        ("question", ["x" * 50], f'["{"x" * 38}...'),
        ("question", {"text": "x"}, '{"text": "x"}'),
    ],
)
def test_lists_and_objects_are_no_texts(tmp_path, column, value, shown):
    """Texts that look like them are, whichever file they come in."""
    texts = {"question": "q", "context": "so good", "answers": ""}
    rows = [{**texts, column: json.dumps(value)}, {**texts, column: value}]
    lines, listed, table, parquet = (tmp_path / f"rows.{end}" for end in ("jsonl", "json", "csv", "parquet"))
    lines.write_text("".join(json.dumps(one) + "\n" for one in rows))
    listed.write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows[1:]), parquet)
    for path, place in ((lines, ":2"), (listed, ": [1]"), (parquet, ":1")):
        with pytest.raises(UserError) as caught:
            read(path)
        sentence = f"the {column} is {shown}, a list or an object; write it as one text"
        assert str(caught.value) == f"{path}{place}: {sentence}"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, texts)
        writer.writeheader()
        writer.writerow(rows[0])
    (one,) = read(table)
    assert json.dumps(value) in (one.text, one.text_pair)


@pytest.mark.parametrize(
    ("section", "data", "sentence"),
    [
        ({}, {"text_pair": None}, "data.text_pair is null, but question answering reads a question"),
        ({}, {"label": None}, "data.label is null, but question answering reads a question"),
        ({"no_answer_threshold": 1.5}, {}, "task.no_answer_threshold"),
        ({"no_answer_threshold": -0.1}, {}, "task.no_answer_threshold"),
        ({"no_answer_threshold": "best"}, {}, "task.no_answer_threshold"),
        *(
            (
                {"no_answer": False, "no_answer_threshold": threshold},
                {},
                f"  task: no_answer_threshold is {threshold}, but no_answer is false, so that there is always an answer; "
                "remove one of them",
            )
            for threshold in ("tuned", 0.3)
        ),
        ({"max_answer_tokens": 0}, {}, "task.max_answer_tokens"),
        (
            {"max_answer_tokens": 2**31},
            {},
            "task.max_answer_tokens: found 2147483648, expected less than or equal to 512",
        ),
        ({"best": 0}, {}, "task.best"),
        ({"best": 101}, {}, "task.best"),
        ({"no_answers": True}, {}, 'task.no_answers: unknown field; did you mean "task.no_answer"?'),
    ],
)
def test_settings_that_make_no_sense(section, data, sentence):
    settings = {
        "checkpoint": "c",
        "output": "o",
        "data": {"train": "t.json", **data},
        "task": {"name": "question_answering", **section},
    }
    with pytest.raises(UserError) as caught:
        config.resolve(settings, RunConfig, source="run.yaml")
    assert sentence in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_context_is_needed():
    with pytest.raises(UserError, match=r"^rows.csv:2: the row has no context; complete it or remove it$"):
        QuestionAnsweringOptions().preprocess(Example("q", file="rows.csv", line=2))
    with pytest.raises(UserError, match="no training row has an answer; check the column of the answers"):
        QuestionAnsweringOptions().fit([row(CONTEXT)] * 3)


def test_whether_there_may_be_no_answer_is_learnt():
    some, none = row(CONTEXT, (13, "good")), row(CONTEXT)
    for option, rows, want in [
        (None, [some, none], True),
        (None, [some, some], False),
        (True, [some, some], True),
        (False, [some, none], False),
    ]:
        learnt = QuestionAnsweringOptions(no_answer=option).fit(rows)
        assert learnt.may_be_none is want
        assert learnt.fitted == {"no_answer": want}


# Targets of tokens.


def flags(tokenizer, context, *given, question="the film", truncation=None):
    """The flagged tokens of a row, each with its flag."""
    example = row(context, *given, question=question)
    encoded = tokenizer([question], [context], truncation=truncation or Truncation(64), offsets=True)
    tokens = {name: tensor.numpy() for name, tensor in encoded.items()}
    found = task().token_targets([example], tokens)
    assert list(found) == ["answer"]
    assert found["answer"].dtype == np.int32
    assert found["answer"].shape == tokens["input_ids"].shape
    ids = tokens["input_ids"][0]
    return [
        (int(place), tiny.VOCABULARY[ids[place]], int(found["answer"][0, place]))
        for place in np.flatnonzero(found["answer"][0])
    ]


# [CLS] the film [SEP] the food was good , and very bad film [SEP]: the context begins at 4.
@pytest.mark.parametrize(
    ("context", "given", "want"),
    [
        (CONTEXT, [(13, "good , and")], [(7, "good", 1), (9, "and", 2)]),
        (CONTEXT, [(13, "good")], [(7, "good", 3)]),
        (CONTEXT, [(0, CONTEXT)], [(4, "the", 1), (12, "film", 2)]),
        (CONTEXT, [(33, "film")], [(12, "film", 3)]),  # not the question's
        (CONTEXT, [], []),
        (CONTEXT, [(5, "oo")], [(5, "food", 3)]),
        (CONTEXT, [(7, "d was goo")], [(5, "food", 1), (7, "good", 2)]),
        (CONTEXT, [(12, " good ")], [(7, "good", 3)]),
        (CONTEXT, [(17, " ,")], [(8, ",", 3)]),
        ("the filmly was", [(4, "filmly")], [(5, "film", 1), (6, "##ly", 2)]),
        ("the filmly was", [(8, "ly was")], [(6, "##ly", 1), (7, "was", 2)]),
        ("so go\u0301od\u0301 , bad", [(3, "go\u0301od\u0301")], [(5, "good", 3)]),
        ("so good\u0301 , bad", [(0, "so good\u0301 ,")], [(4, "so", 1), (6, ",", 2)]),
        ("the 😀 food", [(4, "😀")], [(5, "[UNK]", 3)]),
        ("the\u00a0 food\u200b , bad", [(5, "food\u200b ")], [(5, "food", 3)]),
        ("the \u200b food", [(4, "\u200b")], []),  # the tokenizer drops it
        ("so [SEP] good", [(3, "[SEP]")], [(5, "[SEP]", 3)]),
        (CONTEXT, [(29, "bad"), (13, "good")], [(11, "bad", 3)]),  # the first one
        ("good", [(0, "good")], [(4, "good", 3)]),
        ("", [], []),
    ],
)
def test_targets_by_hand(tokenizer, context, given, want):
    assert flags(tokenizer, context, *given) == want


@pytest.mark.parametrize(
    ("truncation", "given", "want"),
    [
        # Eight of 14 tokens: [CLS] the film [SEP] the food was [SEP].
        (Truncation(8), [(4, "food was")], [(5, "food", 1), (6, "was", 2)]),
        (Truncation(8), [(9, "was good")], []),
        (Truncation(8), [(29, "bad")], []),
        (Truncation(8), [(29, "bad"), (4, "food")], []),  # no other one in its place
        # What is left out is no word.
        (Truncation(9), [(13, "good ,")], [(7, "good", 3)]),
        # [CLS] the film [SEP] the food bad film [SEP].
        (Truncation(9, "head_tail", tail=0.5), [(4, "food")], [(5, "food", 3)]),
        (Truncation(9, "head_tail", tail=0.5), [(29, "bad film")], [(6, "bad", 1), (7, "film", 2)]),
        (Truncation(9, "head_tail", tail=0.5), [(13, "good")], []),
        (Truncation(9, "head_tail", tail=0.5), [(4, "food was")], []),
        (Truncation(9, "head_tail", tail=0.5), [(24, "very bad")], []),
        (
            Truncation(9, "head_tail", tail=0.5),
            [(4, CONTEXT[4:])],
            [],
        ),  # its ends are there, its middle is not
        # Windows of 9 with 4 tokens of context, 3 further on each: all 9 tokens.
        (Truncation(9, "windows", overlap=1, max_windows=3), [(33, "film")], [(12, "film", 3)]),
        (
            Truncation(9, "windows", overlap=1, max_windows=3),
            [(0, CONTEXT)],
            [(4, "the", 1), (12, "film", 2)],
        ),
        (Truncation(9, "windows", overlap=1, max_windows=2), [(24, "very")], [(10, "very", 3)]),
        (Truncation(9, "windows", overlap=1, max_windows=2), [(24, "very bad")], []),
    ],
)
def test_targets_of_what_is_cut_by_hand(tokenizer, truncation, given, want):
    # The longer text loses its tokens first, and of a pair each text has its head and its tail.
    found = flags(tokenizer, CONTEXT, *given, truncation=truncation)
    assert found == want


WORDS = [
    "good",
    "film",
    "filmly",
    "so",
    "😀",
    "é",
    "ﬁ",
    "fi\u0301lm",
    "bad\u0301\u0316",
    ",",
    "x.y",
    "你好",
    "\u200b",
    "  ",
]


@settings(max_examples=60)
@hypothesis.given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), st.data())
def test_targets_are_the_tokens_of_the_answers_characters(tokenizer, words, data):
    """Every character is of one token at most: the first and the last one with a character of the answer."""
    context = data.draw(st.sampled_from([" ", "", "\u00a0"])).join(words)
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    encoded = tokenizer(["x"], [context], offsets=True)
    tokens = {name: tensor.numpy() for name, tensor in encoded.items()}
    owner = {}
    for place, (first, last) in enumerate(tokens["offsets"][0].tolist()):
        owner.update(dict.fromkeys(range(first, last), place) if place > 2 else {})
    own = [owner[character] for character in range(start, end) if character in owner]
    example = Example("x", context, json.dumps({"answers": [[start, context[start:end]]]}))
    found = task().token_targets([example], tokens)["answer"][0]
    want = np.zeros_like(found)
    if own:
        want[own[0]] |= 1
        want[own[-1]] |= 2
    np.testing.assert_array_equal(found, want)


# Loss.

CONTEXTS = [CONTEXT, "good", "", "é 😀 fi\u0301lm , bad\u0301", "a very bad film . so , the food is good !"]
GIVEN = [[(13, "good , and")], [(0, "good")], [], [], [(32, "is good")]]


@pytest.fixture(scope="module")
def batch(tokenizer):
    """Rows' tokens and targets, NumPy; the last row's answer is cut off."""
    rows = [row(context, *given) for context, given in zip(CONTEXTS, GIVEN)]
    encoded = tokenizer(["the film"] * len(rows), CONTEXTS, 14, offsets=True)
    tokens = {name: tensor.numpy() for name, tensor in encoded.items()}
    return {**tokens, **task().token_targets(rows, tokens)}


def log_softmax(values):
    values = np.asarray(values, np.float64)
    return values - values.max() - np.log(np.exp(values - values.max()).sum())


def context_places(batch, index):
    """Where a row's context is: behind its first [SEP], before the last."""
    types, mask = batch["token_type_ids"][index], batch["attention_mask"][index]
    return np.flatnonzero((types == 1) & (mask == 1))[:-1].tolist()


def loss_by_hand(batch, span, none, may_be_none):
    losses = []
    for index in range(len(span)):
        places, total = context_places(batch, index), 0
        for side, bit in enumerate((1, 2)):
            (right,) = np.flatnonzero(batch["answer"][index] & bit).tolist() or [None]
            if right is None and not may_be_none:
                continue
            logits = [span[index, place, side] for place in places]
            logs = log_softmax([*logits, none[index, side]] if may_be_none else logits)
            total -= logs[-1 if right is None else places.index(right)] / 2
        losses.append(total)
    return losses


def random_outputs(batch, seed, dtype=np.float32, scale=3.0):
    random = np.random.default_rng(seed)
    rows, width = batch["input_ids"].shape
    return {
        "span": random.normal(0, scale, (rows, width, 2)).astype(dtype),
        "none": random.normal(0, scale, (rows, 2)).astype(dtype),
        "threshold": np.full(rows, 0.5, np.float32),
    }


def tensors(arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


@pytest.mark.parametrize("may_be_none", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_loss_equals_numpy(batch, may_be_none, dtype, tolerance):
    assert (batch["answer"] > 0).sum(1).tolist() == [2, 1, 0, 0, 0]
    asked = task(no_answer=may_be_none)
    for seed, scale in ((0, 1.0), (1, 30.0)):
        outputs = random_outputs(batch, seed, dtype, scale)
        losses = asked.loss(tensors(outputs), tensors(batch))
        assert losses.dtype == dtype
        want = loss_by_hand(batch, outputs["span"], outputs["none"], may_be_none)
        np.testing.assert_allclose(losses, want, rtol=tolerance, atol=tolerance)
        if not may_be_none:  # they teach nothing
            assert losses.numpy()[2:].tolist() == [0, 0, 0]
        compiled = tf.function(asked.loss, jit_compile=True)(tensors(outputs), tensors(batch))
        np.testing.assert_allclose(compiled, want, rtol=10 * tolerance, atol=10 * tolerance)


def test_loss_of_equal_logits_by_hand(batch):
    """Nine tokens and "none" are ten ways; one token and "none" two; of nothing else but "none" there is no doubt."""
    outputs = {"span": tf.zeros([5, 14, 2]), "none": tf.zeros([5, 2])}
    tokens = [9, 1, 0, len(context_places(batch, 3)), 9]
    assert [len(context_places(batch, index)) for index in range(5)] == tokens
    losses = task().loss(outputs, tensors(batch))
    np.testing.assert_allclose(losses, np.log(np.array(tokens) + 1), rtol=1e-6, atol=1e-7)
    losses = task(no_answer=False).loss(outputs, tensors(batch))
    np.testing.assert_allclose(losses, [math.log(9), 0, 0, 0, 0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("may_be_none", [True, False])
def test_gradients_are_probabilities_less_what_is_right(batch, may_be_none):
    outputs = random_outputs(batch, 2, np.float64)
    outputs["span"][0, 7] = 400.0  # nothing overflows
    span, none = tf.Variable(outputs["span"]), tf.Variable(outputs["none"])
    with tf.GradientTape() as tape:
        losses = task(no_answer=may_be_none).loss({"span": span, "none": none}, tensors(batch))
        total = tf.reduce_sum(losses)
    of_span, of_none = tape.gradient(total, [span, none])
    want_span, want_none = np.zeros_like(outputs["span"]), np.zeros_like(outputs["none"])
    for index in range(len(CONTEXTS)):
        places = context_places(batch, index)
        for side, bit in enumerate((1, 2)):
            right = batch["answer"][index] & bit > 0
            if not right.any() and not may_be_none:
                continue
            logits = [*outputs["span"][index, places, side], *([outputs["none"][index, side]] * may_be_none)]
            probabilities = np.exp(log_softmax(logits))
            want_span[index, places, side] = (probabilities[: len(places)] - right[places]) / 2
            if may_be_none:
                want_none[index, side] = (probabilities[-1] - (not right.any())) / 2
    of_none = np.zeros_like(want_none) if of_none is None else of_none
    np.testing.assert_allclose(of_span, want_span, atol=1e-12)
    np.testing.assert_allclose(of_none, want_none, atol=1e-12)


def test_a_batch_filled_up_with_nothing_has_finite_losses(batch):
    filled = {name: np.pad(array, [(0, 2), *[(0, 0)] * (array.ndim - 1)]) for name, array in batch.items()}
    for may_be_none in (True, False):
        losses = task(no_answer=may_be_none).loss(tensors(random_outputs(filled, 3)), tensors(filled))
        assert np.isfinite(losses).all()


# Decoding.


def spans_by_hand(batch, index, outputs, options, may_be_none):
    """All parts of a row's context, best first, (log score, start, end), and the logarithm of "none"'s score."""
    context = CONTEXTS[index]
    places = context_places(batch, index)
    logs = []
    for side in (0, 1):
        logits = [outputs["span"][index, place, side] for place in places]
        if may_be_none or not places:
            logits.append(outputs["none"][index, side])
        logs.append(log_softmax(logits))
    found = []
    for one in range(len(places)):
        for two in range(one, min(len(places), one + options.max_answer_tokens)):
            start = int(batch["offsets"][index, places[one], 0])
            end = int(batch["offsets"][index, places[two], 1])
            while end < len(context) and unicodedata.combining(context[end]):
                end += 1
            found.append((logs[0][one] + logs[1][two], start, end))
    found.sort(key=lambda part: -part[0])  # the first of equals stays first
    return found, logs[0][-1] + logs[1][-1] if may_be_none or not places else -np.inf


def decode(asked, outputs, batch):
    inputs = {**batch, "text": np.array([b"the film"] * len(CONTEXTS), object)}
    inputs["text_pair"] = np.array([context.encode() for context in CONTEXTS], object)
    return {
        name: tensor.numpy() for name, tensor in asked.predictions(tensors(outputs), tensors(inputs)).items()
    }


def check_decoded(batch, outputs, asked):
    found, options = decode(asked, outputs, batch), asked.options
    for index, context in enumerate(CONTEXTS):
        own = {name: values[index] for name, values in found.items()}
        want, of_none = spans_by_hand(batch, index, outputs, options, asked.may_be_none)
        count = min(options.best, len(want))
        logs = np.array([log for log, _, _ in want])
        np.testing.assert_allclose(own["scores"][:count], np.exp(logs[:count]), rtol=2e-4, atol=1e-30)
        assert own["scores"][count:].tolist() == [0] * (options.best - count)
        by_place = {}
        for log, *place in want:
            by_place[tuple(place)] = max(log, by_place.get(tuple(place), -np.inf))
        places = list(zip(own["starts"].tolist(), own["ends"].tolist()))
        for slot, (start, end) in enumerate(places[:count]):
            assert own["answers"][slot].decode() == context[start:end] != ""
            # In its place, but for what rounding makes equal.
            assert by_place[start, end] == pytest.approx(logs[slot], abs=1e-4)
            apart = np.abs(logs - logs[slot]) > 1e-3
            apart[slot] = True
            if apart.all():
                assert (start, end) == want[slot][1:]
        assert len(set(places[:count])) == count
        assert places[count:] == [(0, 0)] * (options.best - count)
        assert own["answers"][count:].tolist() == [b""] * (options.best - count)

        threshold = float(outputs["threshold"][index])
        assert own["threshold"] == np.float32(threshold)
        if not want:
            no_answer = 1.0
        elif asked.may_be_none:
            no_answer = 1 / (1 + math.exp(min(700, logs[0] - of_none)))
        else:
            no_answer = 0.0
        assert own["no_answer"] == pytest.approx(no_answer, abs=1e-5)
        if want and abs(no_answer - threshold) < 1e-5:
            continue
        if not want or no_answer > threshold:
            assert (own["answer"], own["start"], own["end"]) == (b"", -1, -1)
            assert own["score"] == pytest.approx(math.exp(of_none), rel=2e-4, abs=1e-30)
        else:
            assert (own["start"], own["end"]) == places[0]
            assert own["answer"] == own["answers"][0]
            assert own["score"] == own["scores"][0]


SHAPE = (len(CONTEXTS), 14)
logits = st.integers(-64, 64).map(lambda number: np.float32(number / 8))


@settings(max_examples=50)
@hypothesis.given(
    span=arrays(np.float32, (*SHAPE, 2), elements=logits),
    none=arrays(np.float32, (SHAPE[0], 2), elements=logits),
    threshold=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    may_be_none=st.booleans(),
    best=st.sampled_from([1, 2, 5, 60]),
    longest=st.sampled_from([1, 2, 3, 30, 512]),
)
def test_answers_equal_all_parts_one_by_one(batch, span, none, threshold, may_be_none, best, longest):
    outputs = {"span": span, "none": none, "threshold": np.full(SHAPE[0], threshold, np.float32)}
    check_decoded(batch, outputs, task(no_answer=may_be_none, best=best, max_answer_tokens=longest))


@pytest.mark.parametrize("seed", range(4))
def test_sure_answers_equal_all_parts_one_by_one(batch, seed):
    """Logits as far apart as those of a trained model, some of them beyond what a float32 probability holds."""
    for scale in (10.0, 60.0):
        outputs = random_outputs(batch, seed, scale=scale)
        check_decoded(batch, outputs, task(no_answer=bool(seed % 2)))


def test_answers_by_hand(batch):
    """The best start and end are not the best part when the end comes first."""
    span = np.full((*SHAPE, 2), -1e4, np.float32)
    none = np.full((SHAPE[0], 2), -1e4, np.float32)
    # Of "the food was good , and very bad film": starts at "very" 0.5, "food" 0.3, none 0.2; ends at "was" 0.6, "bad" 0.3,
    # none 0.1.
    span[0, [10, 5], 0], none[0, 0] = np.log([0.5, 0.3]), np.log(0.2)
    span[0, [6, 11], 1], none[0, 1] = np.log([0.6, 0.3]), np.log(0.1)
    span[:, :4] = 50.0  # no token of the question, whatever it scores
    span[:, -1] = 50.0
    outputs = {"span": span, "none": none, "threshold": np.full(SHAPE[0], 0.5, np.float32)}
    found = {name: values[0] for name, values in decode(task(best=3), outputs, batch).items()}
    assert found["answers"].tolist() == [b"food was", b"very bad", b"food was good , and very bad"]
    np.testing.assert_allclose(found["scores"], [0.18, 0.15, 0.09], rtol=1e-5)
    assert (found["starts"].tolist(), found["ends"].tolist()) == ([4, 24, 4], [12, 32, 32])
    assert (found["answer"], found["start"], found["end"]) == (b"food was", 4, 12)
    assert found["no_answer"] == pytest.approx(0.02 / 0.2)
    assert found["score"] == pytest.approx(0.18, rel=1e-5)
    short = {
        name: values[0] for name, values in decode(task(best=3, max_answer_tokens=2), outputs, batch).items()
    }
    assert short["answers"].tolist()[:2] == [b"food was", b"very bad"]
    assert short["scores"][2] == 0
    # Above its threshold "none" is what is answered; what would have been is still there.
    outputs["threshold"][:] = 0.0999
    none_of_it = {name: values[0] for name, values in decode(task(best=3), outputs, batch).items()}
    assert (none_of_it["answer"], none_of_it["start"], none_of_it["end"]) == (b"", -1, -1)
    assert none_of_it["score"] == pytest.approx(0.02, rel=1e-5)
    assert none_of_it["answers"].tolist() == found["answers"].tolist()


def test_of_equals_the_first_is_answered(batch):
    """Earlier starts first, shorter ones first; as many times as it is asked."""
    outputs = {"span": np.zeros((*SHAPE, 2), np.float32), "none": np.zeros((SHAPE[0], 2), np.float32)}
    outputs["threshold"] = np.full(SHAPE[0], 1.0, np.float32)
    found = decode(task(best=4, max_answer_tokens=3), outputs, batch)
    assert found["answers"][0].tolist() == [b"the", b"the food", b"the food was", b"food"]
    np.testing.assert_allclose(found["scores"][0], 0.01, rtol=1e-5)
    assert found["answers"][1].tolist() == [b"good", b"", b"", b""]
    assert found["answers"][3].tolist() == "é|é 😀|é 😀 fi\u0301lm|😀".encode().split(b"|")
    assert found["no_answer"].tolist() == pytest.approx([0.5, 0.5, 1, 0.5, 0.5])


@pytest.mark.parametrize("may_be_none", [True, False])
def test_a_context_without_words_has_no_answer_however_wide_its_batch(batch, may_be_none):
    asked = task(no_answer=may_be_none)
    for seed in range(2):
        for columns in (0, 5, 200):
            wide = {
                name: np.pad(array, [(0, 0), (0, columns), (0, 0)][: array.ndim])
                for name, array in batch.items()
            }
            found = {
                name: values[2] for name, values in decode(asked, random_outputs(wide, seed), wide).items()
            }
            assert (found["answer"], found["start"], found["end"]) == (b"", -1, -1)
            assert (found["no_answer"], found["score"]) == (1, 1)
            assert not found["scores"].any()
            assert set(found["answers"].tolist()) == {b""}


def decode_long(tokenizer, context, truncation, asked, seed=0, scale=5.0):
    """The answers of random logits, and the context's tokens as they were kept, in their order."""
    encoded = tokenizer(["film"], [context], truncation=truncation, offsets=True)
    rows, width = encoded["input_ids"].shape
    random = np.random.default_rng(seed)
    outputs = {
        "span": random.normal(0, scale, (rows, width, 2)).astype(np.float32),
        "none": np.zeros((rows, 2), np.float32),
        "threshold": np.ones(rows, np.float32),
    }
    inputs = {**encoded, "text": tf.constant(["film"]), "text_pair": tf.constant([context])}
    found = asked.predictions(tensors(outputs), tensors(inputs))
    return {name: tensor.numpy()[0] for name, tensor in found.items()}, encoded["offsets"].numpy()[
        0, 3:-1
    ].tolist()


@pytest.mark.parametrize("cased", [False, True])
def test_answers_are_read_back(cased):
    """What the model answers can be written into a data file as it is."""
    context = "#\ufe0f\u20e3 good\u1df6 was\u1df7! 王\u3099x 🇩🇪🇫🇷 👩\u200d👧👍🏽 a\u1112\u1161\u11ab क्षि \u06001 bad-\U00016fe4"
    letters = sorted({letter for letter in context if letter != " "})
    vocabulary = [*tiny.SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    own = WordPieceTokenizer(vocabulary, TokenizerOptions(lowercase=not cased))
    found, _ = decode_long(own, context, Truncation(90), task(best=60, max_answer_tokens=5))
    spans = sorted(set(zip(found["starts"].tolist(), found["ends"].tolist())))
    parts = [(start, context[start:end]) for start, end in spans]
    assert len(parts) > 20
    assert json.loads(row(context, *parts).label)["answers"] == [list(part) for part in parts]
    assert {start for start, _ in parts}.issubset(edges(context))


@pytest.mark.parametrize(
    "context",
    [
        "the food was " + "so very bad " * 4000 + "film , good",
        CONTEXT.replace(",", "x"),
        "the food was so\n\nvery\n\nbad and film x good",
    ],
    ids=["a book", "a letter", "lines"],
)
def test_no_answer_reaches_over_what_was_left_out(tokenizer, context):
    """Else 8 tokens would be 48,000 characters of which none was read."""
    truncation = Truncation(12, "head_tail", tail=0.5)
    for seed in range(5):
        found, places = decode_long(tokenizer, context, truncation, task(best=60, max_answer_tokens=8), seed)
        assert len(places) == 8 < len(context.split())  # four of its beginning, four of its end
        real = found["scores"] > 0
        assert real.sum() == 2 * (4 + 3 + 2 + 1)
        for start, end in zip(found["starts"][real].tolist(), found["ends"][real].tolist()):
            assert (start >= places[4][0]) == (end > places[4][0])
            assert end - start < 30
        assert found["start"] == found["starts"][0]


def test_answers_reach_over_all_that_is_no_word(tokenizer):
    """White space, signs, what the tokenizer drops, bytes that are none: every part of a context that is whole."""
    context = "?the \n\n?\t food\u200b\u200b,? \0 good ? e\u0301 😀?".encode().replace(b"?", b"\xc3")
    found, places = decode_long(tokenizer, context, Truncation(64), task(best=60), scale=1.0)
    assert len(places) == 6
    assert (found["scores"] > 0).sum() == 6 * 7 / 2


def test_no_letter_is_without_a_token(tokenizer):
    """Else an answer could not reach over it."""
    letters = [chr(point) for point in range(0x20000) if chr(point).isalnum()]
    context = " ".join(letters)
    for own in (tokenizer, WordPieceTokenizer(tiny.VOCABULARY, TokenizerOptions(lowercase=False))):
        offsets = own([context], max_length=10**6, offsets=True)["offsets"].numpy()[0]
        seen = np.zeros(len(context) + 1, np.int32)
        np.add.at(seen, offsets[:, 0], 1)
        np.add.at(seen, offsets[:, 1], -1)
        assert (np.cumsum(seen)[: len(context) : 2] > 0).all()


def test_no_rows_have_no_answers(batch):
    none_of_it = {name: array[:0] for name, array in batch.items()}
    inputs = {**tensors(none_of_it), "text": tf.zeros([0], tf.string), "text_pair": tf.zeros([0], tf.string)}
    found = task().predictions(tensors(random_outputs(none_of_it, 0)), inputs)
    assert {tuple(tensor.shape) for tensor in found.values()} == {(0,), (0, 5)}


def test_bytes_that_are_not_utf8_are_cut_out_as_they_are(tokenizer):
    raw = [b"\xff the fo\xc3od was good"]
    encoded = tokenizer(["x"], raw, offsets=True)
    text = raw[0].decode("utf-8", "replace")
    places = encoded["offsets"].numpy()[0, 3:-1].tolist()
    rows, width = encoded["input_ids"].shape
    for start, end in places:
        span = np.zeros((rows, width, 2), np.float32)
        span[0, 3 + places.index([start, end])] = 20
        outputs = {"span": span, "none": np.zeros((1, 2), np.float32), "threshold": np.ones(1, np.float32)}
        inputs = {**encoded, "text": tf.constant(["x"]), "text_pair": tf.constant(raw)}
        found = task().predictions(tensors(outputs), inputs)
        assert (found["start"].numpy()[0], found["end"].numpy()[0]) == (start, end)
        assert found["answer"].numpy()[0].decode("utf-8", "replace") == text[start:end]


# Scores, and the threshold.


def decoded(*texts, no_answer=None, threshold=0.5, scores=None):
    """Answers as the graph gives them, of its best parts."""
    size = len(texts)
    no_answer = np.array(no_answer if no_answer is not None else [0.0] * size, np.float32)
    scores = np.array(scores if scores is not None else [0.5] * size, np.float32)
    raw = np.array([text.encode() for text in texts], object)
    is_none = no_answer > threshold
    return {
        "answer": np.where(is_none, b"", raw),
        "start": np.where(is_none, -1, 0),
        "end": np.where(is_none, -1, [len(text) for text in texts]),
        "score": scores,
        "no_answer": no_answer,
        "threshold": np.full(size, threshold, np.float32),
        "answers": raw[:, None],
        "starts": np.zeros((size, 1), np.int32),
        "ends": np.array([[len(text)] for text in texts], np.int32),
        "scores": scores[:, None],
    }


def gold(*rows):
    found = np.empty(len(rows), object)
    found[:] = rows
    return {"gold": found}


def test_metrics_are_the_official_ones_of_the_decoded_answers():
    answered = decoded("the Good film", "bad é", "x", "food", no_answer=[0.1, 0.2, 0.9, 0.8])
    truth = gold(("good film.", "y"), ("é",), (), ("food",))
    weights = np.array([1, 2, 1, 0.5], np.float32)
    texts = ["the Good film", "bad é", "", ""]
    scores = task().scorer.metrics(answered, truth, weights)
    assert official.compute(texts, truth["gold"].tolist(), weights).items() <= scores.items()
    # Exact: the first and the third; F1 of the second is 2/3.
    assert scores["exact_match"] == pytest.approx(2 / 4.5)
    assert scores["f1"] == pytest.approx((1 + 2 * 2 / 3 + 1) / 4.5)
    assert scores["no_answer_accuracy"] == 1
    assert scores["has_answer_f1"] == pytest.approx((1 + 4 / 3) / 3.5)
    table = task().scorer.report(answered, truth, weights)
    assert table == official.report(texts, truth["gold"].tolist(), weights)
    assert "0.4444" in table


def test_mistakes_are_the_surest_first():
    answered = decoded("good", "food", "bad", "é", no_answer=[0, 0, 0.9, 0], scores=[0.9, 0.2, 0.7, 0.4])
    truth = gold(("good",), ("film", "the film"), ("bad",), ())
    assert task().scorer.mistakes(answered, truth) == [
        (2, "bad", "none"),
        (3, "none", "é"),
        (1, "film / the film", "food"),
    ]
    assert task().scorer.mistakes(decoded("The good!"), gold(("good",))) == []


def test_ties_and_answers_on_the_threshold_are_close_calls():
    scores = np.array(
        [
            [0.5, 0.2, 0.1],
            [0.5, 0.2, 0.2],
            [0.200001, 0.2, 0.1],
            [0.5, 0.2, 0.1],
            [0.5, 0.0, 0.0],
            [0.0, 0.0, 0.0],
            [0.5, 1e-30, 1e-35],
            [0.5, 0.2, 0.0],
        ],
        np.float32,
    )
    ends = np.where(scores > 0, 4, 0)
    ends[7] = 4  # a part whose score no float32 holds has a place all the same
    no_answer = np.array([0.2, 0.2, 0.2, 0.500005, 0.2, 1.0, 0.2, 0.2], np.float32)
    answered = {"scores": scores, "starts": np.zeros_like(ends), "ends": ends}
    answered.update(no_answer=no_answer, threshold=np.full(8, 0.5, np.float32))
    assert task().scorer.near_ties(answered, 2e-5).tolist() == [
        False,
        True,
        True,
        True,
        False,
        False,
        False,
        True,
    ]


@settings(max_examples=25)
@hypothesis.given(
    span=arrays(np.float32, (*SHAPE, 2), elements=st.integers(-5, 5).map(np.float32)),
    none=arrays(np.float32, (SHAPE[0], 2), elements=st.integers(-5, 5).map(np.float32)),
    seed=st.integers(0, 9),
)
def test_what_is_no_close_call_does_not_hang_on_rounding(batch, span, none, seed):
    """But for the last part that is given: what comes behind it, and might be as good, nobody sees."""
    asked = task(best=60)
    outputs = {"span": span, "none": none, "threshold": np.full(SHAPE[0], 0.5, np.float32)}
    random = np.random.default_rng(seed)
    shaken = {
        name: (array + random.uniform(-3e-6, 3e-6, array.shape)).astype(np.float32)
        for name, array in outputs.items()
        if name != "threshold"
    }
    found = decode(asked, outputs, batch)
    again = decode(asked, {**shaken, "threshold": outputs["threshold"]}, batch)
    firm = ~asked.scorer.near_ties(found, 2e-5)
    assert firm[2]
    for name in ("answer", "start", "end", "answers", "starts", "ends"):
        np.testing.assert_array_equal(found[name][firm], again[name][firm], err_msg=name)


@pytest.mark.parametrize("scale", [0.5, 3.0, 60.0])
@pytest.mark.parametrize("before", [0.0, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_tuned_answers_are_those_of_the_graph_with_that_threshold(batch, scale, before, seed):
    outputs = random_outputs(batch, seed, scale=scale)
    outputs["threshold"][:] = before
    asked = task(no_answer_threshold="tuned")
    found = decode(asked, outputs, batch)
    random = np.random.default_rng(seed)
    # Some best parts are right, some rows have no answer.
    best = [text.decode() for text in found["answers"][:, 0]]
    truth = gold(*[() if random.random() < 0.5 or not text else (text,) for text in best])
    weights = random.uniform(0.5, 2, len(best)).astype(np.float32)
    head = SimpleNamespace(threshold=tf.Variable(np.float32(before)))
    tuned = asked.scorer.tune(head, found, truth, weights)

    want = official.tune_threshold(best, found["no_answer"], truth["gold"].tolist(), weights)
    assert head.threshold.numpy() == np.float32(want)
    outputs["threshold"][:] = head.threshold.numpy()
    graph = decode(asked, outputs, batch)
    assert list(tuned) == list(graph)
    for name, values in graph.items():
        assert tuned[name].shape == values.shape, name
        assert tuned[name].dtype.kind == values.dtype.kind, name
        if name != "score":
            np.testing.assert_array_equal(tuned[name], values, err_msg=name)
    # What is 1 within rounding does not tell how improbable the part was that was answered before.
    known = (graph["no_answer"] < 0.99) | (found["start"] < 0)
    np.testing.assert_allclose(tuned["score"][known], graph["score"][known], rtol=1e-4, atol=1e-30)
    assert ((tuned["score"] >= 0) & (tuned["score"] <= 1)).all()
    # And no other threshold would have been better.
    scores = asked.scorer.metrics(tuned, truth, weights)
    for other in np.linspace(0, 1, 21):
        texts = ["" if none > other else text for none, text in zip(found["no_answer"], best)]
        assert official.compute(texts, truth["gold"].tolist(), weights)["f1"] <= scores["f1"] + 1e-6


def test_a_threshold_by_hand():
    """The surer "none" is the wrong one: which of the two rows is right depends on their weights."""
    answered = decoded("good", "food", no_answer=[0.8, 0.7], scores=[0.1, 0.2])
    truth, asked = gold(("good",), ()), task(no_answer_threshold="tuned")
    for weights, threshold, want in (([3, 1], 0.9, [b"good", b"food"]), ([1, 3], 0.35, [b"", b""])):
        head = SimpleNamespace(threshold=tf.Variable(0.5))
        tuned = asked.scorer.tune(head, answered, truth, np.array(weights, np.float32))
        assert head.threshold.numpy() == pytest.approx(threshold)
        assert tuned["answer"].tolist() == want
        assert tuned["start"].tolist() == [0, 0] if want[0] else [-1, -1]
    # A probability that is 1 within rounding beside a part that was answered all the same.
    answered = decoded("good", no_answer=[1.0], threshold=1.0, scores=[0.5])
    tuned = asked.scorer.tune(
        SimpleNamespace(threshold=tf.Variable(1.0)), answered, gold(()), np.ones(1, np.float32)
    )
    assert (tuned["answer"].tolist(), tuned["score"].tolist()) == ([b""], [1])


def test_a_threshold_is_tuned_only_where_it_is_asked_for(batch):
    found = decode(task(), random_outputs(batch, 0), batch)
    head = SimpleNamespace(threshold=tf.Variable(0.25))
    truth, weights = gold(*[("x",)] * 5), np.ones(5, np.float32)
    for asked in (task(), task(no_answer_threshold=0.3), task(False, no_answer_threshold="tuned")):
        assert asked.scorer.tune(head, found, truth, weights) is found
    assert head.threshold.numpy() == 0.25


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("mixed_bfloat16", tf.float32), ("mixed_float16", tf.float32), ("float64", tf.float64)],
)
def test_the_heads_outputs_have_bits_enough(precision, dtype):
    """A threshold of 16 bits would be another one than the exported model's; of 64 another than what was tuned."""
    with policy(precision):
        head = task(no_answer_threshold=0.123456789).head(None, seed=0)
    head.build({"sequence_output": (None, None, 6)})
    outputs = head({"sequence_output": tf.random.stateless_normal([3, 5, 6], [0, 1])}, None)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in outputs.items()} == {
        "span": (dtype, (3, 5, 2)),
        "none": (dtype, (3, 2)),
        "threshold": (tf.float32, (3,)),
    }
    assert outputs["threshold"].numpy().tolist() == [np.float32(0.123456789)] * 3
    np.testing.assert_array_equal(outputs["none"], outputs["span"][:, 0])
    assert [variable.name for variable in head.trainable_variables] == ["kernel", "bias"]


# Whole runs.

MARKER, QUESTION = "good", "what is good"
ANSWERS = [*tiny.PLAIN, "food", "film", "fílm", "fi\u0301lm", "door\u0301"]
HAY = [*ANSWERS, "the", "a", "is", "was", "very", "so", "and", ",", ".", "😀", "café", "e\u0301"]
WINDOWS = {"max_length": 20, "long": "windows", "overlap": 6, "max_windows": 6}
MEGABYTE = f"{MARKER} film " + "the food was so " * 62_500
ODD = [
    ("", "", []),
    (QUESTION, "", []),
    (QUESTION, "  \n", []),
    ("", f"so {MARKER} food", [(8, "food")]),
    ("is the " * 2000, f"so {MARKER} food", [(8, "food")]),
    ("is " * 100, "the " * 100 + f"{MARKER} food", [(405, "food")]),
    (QUESTION, MEGABYTE, [(5, "film")]),
    (QUESTION, "\u200b", []),
    (QUESTION, f"[SEP] {MARKER} film \ufffd", [(11, "film")]),
]


def learnable(count, seed, longest=40):
    """(question, context, answers): the answer is the word behind the marker; every fourth context has none."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        hay = [str(word) for word in random.choice(HAY, random.integers(4, longest))]
        given = []
        if number % 4:
            at = int(random.integers(len(hay) + 1))
            hay[at:at] = [MARKER, str(random.choice(ANSWERS))]
            given = [(len(" ".join(hay[: at + 1])) + 1, hay[at + 1])]
        rows.append((QUESTION, " ".join(hay), given))
    return rows


def write_rows(path, rows):
    lines = []
    for question, context, given in rows:
        cell = {"text": [text for _, text in given], "answer_start": [start for start, _ in given]}
        lines.append(json.dumps({"question": question, "context": context, "answers": cell}))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def run_file(folder, text, section=None, rows=600, layers=1, **training):
    tiny.write_checkpoint(folder / "checkpoint", num_hidden_layers=layers)
    settings = {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        "data": {
            "train": str(write_rows(folder / "train.jsonl", [*learnable(rows, 1), *ODD])),
            "validation": str(write_rows(folder / "validation.jsonl", [*learnable(80, 2), *ODD[:5]])),
        },
        "text": text,
        "task": {"name": "question_answering", "dropout": 0.0, **(section or {})},
        "training": {"batch_size": 16, "learning_rate": 0.01, "dropout": 0.0, **training},
    }
    return config.resolve(settings, RunConfig, source="run.yaml")


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """A run that has learnt the task, in windows, with a tuned threshold; and that when it was interrupted."""
    folder = tmp_path_factory.mktemp("reader")
    options = run_file(folder, WINDOWS, {"no_answer_threshold": "tuned"}, epochs=12, layers=2)
    with pytest.raises(Interrupted, match="stopped after step 50 of"):
        train(options, callbacks=[At(50, interrupt)])  # in the second epoch: there are 39 batches
    run = Run(folder / "run")
    found = {weights: run.model(weights).head.threshold.numpy() for weights in ("last", "best")}
    return train(options), found


@pytest.fixture(scope="module")
def reader(readers):
    return readers[0]


@pytest.fixture(scope="module")
def interrupted(readers):
    return readers[1]


@pytest.fixture(scope="module")
def exported(reader, tmp_path_factory):
    return export_run(reader, tmp_path_factory.mktemp("models") / "reader")


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    return {name: functools.partial(ask, loaded, name) for name in loaded.signatures}


def ask(loaded, name, questions, contexts):
    found = loaded.signatures[name](text=tf.constant(questions), text_pair=tf.constant(contexts))
    return {name: tensor.numpy() for name, tensor in found.items()}


UNSEEN = learnable(100, 3)


def with_text(run, **changes):
    """The same run reading its texts in another way."""
    other = Run(run.path)
    text = run.config.text.model_copy(update=changes)
    other.config = run.config.model_copy(update={"text": text})
    return other


def test_the_word_behind_the_marker_is_learnt(reader, tmp_path):
    report = evaluate(reader, write_rows(tmp_path / "unseen.jsonl", UNSEEN))
    before, after = (entry.scores for entry in report.entries)
    assert before["exact_match"] < 0.5
    assert after["exact_match"] >= 0.95
    assert after["no_answer_accuracy"] >= 0.95
    assert after["has_answer_exact_match"] >= 0.95
    assert "no answer" in report.text()
    assert len(report.mistakes) == round(100 * (1 - after["exact_match"]))


def test_answers_are_cut_out_of_the_callers_own_context(reader, exported, signatures):
    """Character by character, with emoji and accents before, in each unit and served."""
    questions, contexts = ([one[part] for one in UNSEEN] for part in (0, 1))
    with RunPredictor(reader.path) as predictor:
        found = predictor.predict(questions, contexts)
    assert {type(one) for one in found} == {Typed}
    right = 0
    for one, (_, context, given) in zip(found, UNSEEN):
        if one.answer is None:
            assert (one.start, one.end) == (None, None)
            assert one.no_answer > one.threshold
        else:
            assert context[one.start : one.end] == one.answer
            assert one.no_answer <= one.threshold
        for part in one.best:
            assert context[part.start : part.end] == part.text
            assert not unicodedata.combining(
                (context + " ")[part.end]
            )  # no letter is left without its accent
        right += given == ([] if one.answer is None else [(one.start, one.answer)])
    assert right >= 95
    assert any("😀" in context[: one.start] for one, (_, context, _) in zip(found, UNSEEN) if one.answer)
    assert any(one.answer and "\u0301" in one.answer for one in found)

    assert sorted(signatures) == ["serving_default", "utf16", "utf8"]
    for name, codec, size in (("utf8", "utf-8", 1), ("utf16", "utf-16-le", 2)):
        served = signatures[name](questions, contexts)
        for index, context in enumerate(contexts):
            own = context.encode(codec)
            for text, start, end in zip(*(served[name][index] for name in ("answers", "starts", "ends"))):
                assert own[size * start : size * end].decode(codec) == text.decode()
            start, end = served["start"][index], served["end"][index]
            assert (
                own[size * start : size * end].decode(codec) == served["answer"][index].decode()
                or start == -1
            )
    options = make_options(exported.parent, port=0)
    with (
        EmbeddedServer(options, say=lambda sentence: None) as server,
        PredictClient(server.address, model=exported.parent.name) as client,
    ):
        for one, again in zip(client.predict(questions, contexts), found):
            assert (one.answer, one.start, one.end) == (again.answer, again.start, again.end)
            assert one.score == pytest.approx(again.score, abs=1e-5)


def test_the_threshold_belongs_to_the_weights(reader, signatures):
    """Chosen on validation, kept with the best weights, exported and served."""
    model, split = reader.model("best"), Split.of(reader, "validation")
    found = Inference(reader.graph(model))(split.examples, split.cache, split.targets, "again")
    best = [text.decode() for text in found.predictions["answers"][:, 0]]
    want = official.tune_threshold(
        best, found.predictions["no_answer"], split.targets["gold"].tolist(), split.weights
    )
    threshold = float(model.head.threshold.numpy())
    assert threshold == pytest.approx(want, abs=1e-4)
    assert threshold not in (0.5, 0, 1)
    assert reader.model("initial").head.threshold.numpy() == 0.5
    assert all("threshold" not in variable.path for variable in model.trainable_variables)
    history = reader.store.state("best")["history"][-1]
    scores = found.scores(reader.task, split.targets, split.weights)
    assert {name: history[name] for name in scores} == pytest.approx(scores, abs=1e-5)
    served = signatures["serving_default"]([QUESTION], ["so good film"])
    assert served["threshold"].tolist() == [np.float32(threshold)]


def test_odd_rows_are_answered(reader, signatures):
    """No context, no question, one longer than the model, a megabyte: whole, exported, and in other windows."""
    questions, contexts = ([one[part] for one in ODD] for part in (0, 1))
    found = reader.predict(reader.model(), questions, contexts)
    kit.same(signatures["serving_default"](questions, contexts), found)
    ways = [
        reader,
        with_text(reader, long="head"),
        with_text(reader, long="head_tail"),
        with_text(reader, max_length=9, overlap=0),
    ]
    for run in ways:
        found = run.predict(run.model(), questions, contexts)
        for name, values in found.items():
            assert len(values) == len(ODD)
            assert values.dtype == object or np.isfinite(values).all(), name
        for row in (0, 1, 2, 7):
            assert (found["answer"][row], found["no_answer"][row], found["score"][row]) == (b"", 1, 1)
        for index, context in enumerate(contexts):
            for text, start, end in zip(*(found[name][index] for name in ("answers", "starts", "ends"))):
                assert context[start:end] == text.decode()
            if found["start"][index] >= 0:
                place = slice(found["start"][index], found["end"][index])
                assert context[place] == found["answer"][index].decode() != ""


def test_a_bound_that_all_questions_keep_changes_no_answer(reader):
    """The question has three tokens."""
    questions, contexts = ([one[part] for one in UNSEEN] for part in (0, 1))
    bounded = with_text(reader, max_first_text=3)
    model = bounded.model()
    assert model.windows.count(43) < reader.model().windows.count(43)
    want = reader.predict(reader.model(), questions, contexts)
    kit.same(bounded.predict(model, questions, contexts), want)
    for run, kept in ((bounded, 3), (with_text(reader, max_first_text=2), 2)):
        tokens = run.encode(questions, contexts)
        first = (tokens["token_type_ids"] == 0) & (tokens["attention_mask"] > 0)
        long = tokens["attention_mask"].sum(1) > 20
        assert set(first.sum(1)[long] - 2) == {kept}


def test_a_run_with_bounded_questions_is_served_as_it_was_trained(tmp_path):
    """With an overlap that only their bound leaves room for; questions are shorter, as long, longer, and empty."""
    text = {**WINDOWS, "overlap": 10, "max_first_text": 3}
    run = train(run_file(tmp_path, text, rows=60, epochs=1))
    assert run.truncation.first_text == 3
    cache = run.token_cache("train", run.examples("train"))
    loaded = tf.saved_model.load(str(export_run(run, tmp_path / "models")))
    questions = ["good", QUESTION, f"{QUESTION} film and food", ""]
    rows = [(question, context) for question in questions for _, context, _ in [*learnable(3, 5), ODD[6]]]
    asked = [list(part) for part in zip(*rows)]
    tokens = run.encode(*asked)
    firsts = ((tokens["token_type_ids"] == 0) & (tokens["attention_mask"] > 0)).sum(1) - 2
    long = tokens["attention_mask"].sum(1) > 20
    assert sorted(set(firsts[long])) == [0, 1, 3]
    assert cache.lengths.max() <= run.truncation.longest(pair=True)
    want = run.predict(run.model(), *asked)
    kit.same(ask(loaded, "serving_default", *asked), want)
    for row, (question, context) in enumerate(rows):
        alone = ask(loaded, "serving_default", [question], [context])
        kit.same(alone, {name: values[row : row + 1] for name, values in want.items()})


def test_odd_rows_are_trained_on_without_windows(tmp_path):
    text = {"max_length": 20, "long": "head_tail"}
    run = train(run_file(tmp_path, text, {"no_answer": False}, rows=40, epochs=1))
    assert not run.task.may_be_none
    assert math.isfinite(run.store.state("best")["history"][-1]["loss"])
    found = run.predict(run.model(), [QUESTION] * 2, ["so good film", ""])
    assert found["start"].tolist()[0] >= 0
    assert found["no_answer"].tolist() == [0, 1]


NEAR, FAR = "so good film", "the " * 30 + "good film"


def training(folder, rows, text, section=None, weights=None):
    """Lay out a run on such rows, and read its training split."""
    options = run_file(folder, text, section, rows=8)
    write_rows(folder / "train.jsonl", rows)
    splits = dict(options.task.load_splits(options.data))
    if weights is not None:
        splits["train"] = [
            dataclasses.replace(one, weight=weight) for one, weight in zip(splits["train"], weights)
        ]
    return Split.of(create_run(options, checkpoints.load(options.checkpoint), splits), "train")


def test_answers_that_are_cut_off_are_counted(tmp_path, capsys):
    """With the first one's line; those without an answer, and rows that weigh nothing, are none of them."""
    far = (QUESTION, FAR, [(len(FAR) - 4, "film")])
    rows = [
        (QUESTION, NEAR, [(8, "film")]),
        (QUESTION, FAR, []),
        far,
        (QUESTION, "so \u200b film", [(3, "\u200b")]),
        far,
        far,
    ]
    head = {"max_length": 20, "long": "head"}
    training(tmp_path / "a", rows, head, weights=[1, 1, 0, 1, 1, 2])
    said = (
        f"warning: 3 of 4 targets in the training rows are missing from the tokens, the first in {tmp_path}/a/train.jsonl:4: "
        "they were truncated, or the tokenizer drops their characters; set text.long to windows to read more of each text\n"
    )
    assert said in capsys.readouterr().err
    training(tmp_path / "b", [*rows[:3], *rows[4:]], WINDOWS)
    assert "targets in the training rows" not in capsys.readouterr().err
    training(tmp_path / "c", rows, {**WINDOWS, "max_windows": 2})
    assert "train.jsonl:3: they were truncated" in (err := capsys.readouterr().err)
    assert "characters; raise text.max_windows to read more of each text\n" in err


def test_many_rows_are_counted_in_parts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(batching, "_COUNTED_ROWS", 2)
    near, far = (QUESTION, NEAR, [(8, "film")]), (QUESTION, FAR, [(len(FAR) - 4, "film")])
    training(tmp_path, [near, near, near, far, near, far, far], {"max_length": 20, "long": "head"})
    assert "warning: 3 of 7 targets" in (err := capsys.readouterr().err)
    assert "train.jsonl:4: " in err


@pytest.mark.parametrize("no_answer", [True, False])
def test_without_any_answer_left_nothing_is_trained(tmp_path, no_answer):
    rows = [(QUESTION, FAR, [(len(FAR) - 4, "film")]), (QUESTION, NEAR, [])] * 3
    with pytest.raises(UserError) as caught:
        training(tmp_path, rows, {"max_length": 20, "long": "head"}, {"no_answer": no_answer})
    assert str(caught.value) == (
        f"none of the 3 targets in the training rows is left in the tokens, the first in {tmp_path}/train.jsonl:1: they were "
        "truncated, or the tokenizer drops their characters; set text.long to windows to read more of each text"
    )


def test_what_fits_into_a_window_is_answered_as_without_windows(reader):
    """The windows' weights in a model that reads its texts whole, and in wider windows."""
    short = [one for one in learnable(60, 4, longest=12) if len(one[1].split()) <= 13]
    questions, contexts = ([one[part] for one in short] for part in (0, 1))
    assert reader.encode(questions, contexts)["input_ids"].shape[1] <= 20
    want = reader.predict(reader.model(), questions, contexts)
    assert sum(want["start"] >= 0) > 30
    whole = with_text(reader, max_length=40, long="head")
    assert whole.model().windows is None
    for run in (whole, with_text(reader, max_length=30)):
        found = run.predict(run.model(), questions, contexts)
        for name, values in want.items():
            if values.dtype == object:
                assert found[name].tolist() == values.tolist(), name
            else:
                np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6, err_msg=name)
    # Beside a row that takes several windows.
    mixed = reader.predict(reader.model(), [*questions, QUESTION], [*contexts, "the " * 80])
    for name, values in want.items():
        if values.dtype == object:
            assert mixed[name][:-1].tolist() == values.tolist(), name
        else:
            np.testing.assert_allclose(mixed[name][:-1], values, rtol=1e-4, atol=1e-6, err_msg=name)


def test_an_interrupted_run_has_its_threshold(reader, interrupted):
    """Saved with the last weights in the middle of an epoch, and with the best ones so far; then chosen anew."""
    assert interrupted["last"] == interrupted["best"] != 0.5
    thresholds = {weights: reader.model(weights).head.threshold.numpy() for weights in ("last", "best")}
    assert interrupted["best"] not in thresholds.values()


def test_other_answers_make_other_targets(reader, tmp_path):
    """What a cache of tokens keeps of answers is made again when the answers change."""
    found = []
    for one in (row("so good film", (8, "film")), row("so good film", (3, "good"))):
        cache = reader.tokens([one], tmp_path / "cache")
        found.append(cache.batch(np.array([0]))["answer"][0].tolist())
    assert found[0] != found[1]
    assert sorted(found[0]) == sorted(found[1]) == [0] * (len(found[0]) - 1) + [3]
