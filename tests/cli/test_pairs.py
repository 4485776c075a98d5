"""Questions with their context, from the command line."""

from __future__ import annotations

import json

import pytest

from tests.tasks import kit

CONTEXT = "😀 the food was good , the film bad"
QUESTIONS = ["the food", "a door"]


@pytest.fixture(scope="module")
def reader(shared):
    """A run of question answering that has learnt next to nothing."""
    return kit.trained(shared, kit.sample(kit.SAMPLES / "question_answering.yaml")).run.path


def test_one_context_for_all_texts_or_a_column_of_a_file(reader, tfpipeline, tmp_path):
    squad = {
        "version": "1.1",
        "data": [
            {
                "title": "t",
                "paragraphs": [
                    {
                        "context": CONTEXT,
                        "qas": [
                            {"id": str(number), "question": question, "answers": []}
                            for number, question in enumerate(QUESTIONS)
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    ask = ["predict", "--from", reader]
    ways = [
        tfpipeline(*ask, *QUESTIONS, "--pair", CONTEXT),
        tfpipeline(*ask, "--pair", CONTEXT, input="".join(f"{question}\n" for question in QUESTIONS)),
        tfpipeline(
            *ask, "--input", tmp_path / "squad.json", "--column", "question", "--pair-column", "context"
        ),
    ]
    answers = [[json.loads(line) for line in done.stdout.splitlines()] for done in ways]
    for number, row in enumerate(answers[2]):  # with the file's own columns
        assert (row.pop("id"), row.pop("title")) == (str(number), "t")
        row["text"], row["text_pair"] = row.pop("question"), row.pop("context")
        assert row.keys() >= answers[0][number].keys()
    answers[2] = [{name: row[name] for name in answers[0][0]} for row in answers[2]]
    assert answers[0] == answers[1] == answers[2]
    for question, answer in zip(QUESTIONS, answers[0], strict=True):
        assert (answer["text"], answer["text_pair"]) == (question, CONTEXT)
        assert len(answer["best"]) == 5
        for span in answer["best"]:
            assert CONTEXT[span["start"] : span["end"]] == span["text"] != ""


def test_places_in_the_unit_of_the_signature(reader, tfpipeline):
    """A run counts as its exported model would: the context begins with an emoji, which differs in all
    units.
    """
    units = {"serving_default": ("utf-32-le", 4), "utf8": ("utf-8", 1), "utf16": ("utf-16-le", 2)}
    starts = []
    for signature, (encoding, size) in units.items():
        done = tfpipeline(
            "predict", "--from", reader, "the food", "--pair", CONTEXT, "--signature", signature
        )
        answer, given = json.loads(done.stdout), CONTEXT.encode(encoding)
        for span in answer["best"]:
            assert given[size * span["start"] : size * span["end"]].decode(encoding) == span["text"] != ""
        starts.append(max(span["start"] for span in answer["best"]))
    assert len(set(starts)) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["x"], "the run takes text, text_pair, but was given text; give the second text with --pair"),
        (["--pair", "x", "--input", "a.csv"], "--pair is for texts that come from no file; name the column"),
        (
            ["x", "--pair", "y", "--signature", "utf32"],
            'has no signature "utf32"; it has: serving_default, utf16, utf8',
        ),
    ],
)
def test_what_a_reader_refuses(reader, tfpipeline, arguments, sentence):
    done = tfpipeline("predict", "--from", reader, *arguments, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "given", "name"),
    [
        ([b"caf\xe9", "--pair", CONTEXT], b"", "text"),
        (["the food", "--pair", b"caf\xe9"], b"", "text_pair"),
        (["--pair", CONTEXT], b"caf\xe9\n", "text"),
    ],
)
def test_bytes_that_are_no_text(reader, tfpipeline, arguments, given, name):
    """In Latin-1, say: the sentence that a server's client has for them."""
    done = tfpipeline("predict", "--from", reader, *arguments, input=given)
    assert (done.returncode, done.stdout) == (2, "")
    assert f'row 0 of input "{name}" holds the lone surrogate U+DCE9 at character 3' in done.stderr
    assert "Traceback" not in done.stderr


def test_cells_that_are_lists_of_tokens(reader, tfpipeline, tmp_path):
    """They are joined as training joins them; of other structures there is no text."""
    tokens = {"question": ["the", "food"], "context": CONTEXT.split(" ")}
    (tmp_path / "rows.jsonl").write_text(json.dumps(tokens))
    columns = ["--column", "question", "--pair-column", "context", "--input", tmp_path / "rows.jsonl"]
    done = [
        tfpipeline("predict", "--from", reader, *columns),
        tfpipeline("predict", "--from", reader, "the food", "--pair", CONTEXT),
    ]
    rows = [json.loads(one.stdout) for one in done]
    assert rows[0].pop("question") == rows[1].pop("text") == "the food"
    assert rows[0].pop("context") == rows[1].pop("text_pair") == CONTEXT
    assert rows[0] == rows[1]
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "context": {"a": 1}}')
    ask = ["--target", "127.0.0.1:9", "--model", "m", *columns]
    refused = tfpipeline("predict", *ask)
    assert refused.returncode == 2
    assert (
        'rows.jsonl:1: the column "context" holds {"a": 1}; expected a text, or a list of' in refused.stderr
    )
