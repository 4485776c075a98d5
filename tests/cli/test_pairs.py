"""Questions with their context, from the command line."""

from __future__ import annotations

import json

import pytest

from tests.tasks import kit
from tfpipeline.training import train

CONTEXT = "😀 the food was good , the film bad"
QUESTIONS = ["the food", "a door"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A run of question answering that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("reader")
    given = kit.sample(kit.SAMPLES / "question_answering.yaml")
    return train(kit.write_run_file(folder, given, epochs=1)).path


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
    assert answers[0] == answers[1] == answers[2]
    for question, answer in zip(QUESTIONS, answers[0], strict=True):
        assert (answer["text"], answer["text_pair"]) == (question, CONTEXT)
        assert len(answer["best"]) == 5
        for span in answer["best"]:
            assert CONTEXT[span["start"] : span["end"]] == span["text"] != ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["x"], "the run takes text, text_pair, but was given text; give the second text with --pair"),
        (["--pair", "x", "--input", "a.csv"], "--pair is for texts that come from no file; name the column"),
    ],
)
def test_a_second_text_that_is_missing_or_given_twice(reader, tfpipeline, arguments, sentence):
    done = tfpipeline("predict", "--from", reader, *arguments, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
