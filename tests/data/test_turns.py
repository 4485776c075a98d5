"""Dialogues in cells."""

from __future__ import annotations

import pytest

from tfpipeline import prediction_inputs
from tfpipeline.data.records import FileOptions
from tfpipeline.data.turns import Turn, read_turns
from tfpipeline.errors import UserError


@pytest.mark.parametrize(
    ("cell", "turns"),
    [
        ('["Hello!", " Hi. "]', [Turn("Hello!"), Turn("Hi.")]),
        ('[{"speaker": "A", "text": "Hello!"}]', [Turn("Hello!", "A")]),
        ('[{"role": "user", "content": "Hello!"}, {"text": "Hi"}]', [Turn("Hello!", "user"), Turn("Hi")]),
        ('[{"speaker": 1, "text": "Hello!"}]', [Turn("Hello!", "1")]),
    ],
)
def test_forms_of_a_dialogue(cell, turns):
    assert read_turns(cell, "a.jsonl:3", "turns") == turns


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", 'a.jsonl:3: the column "turns" holds nothing, not a list of turns; write'),
        ("[]", r'holds "\[\]", not a list of turns'),
        ("Hello!", 'holds "Hello!", not a list of turns'),
        ('{"text": "Hi"}', "not a list of turns"),
        ('["Hi", 5]', 'the column "turns": turn 2 is "5", not a turn'),
        ('["Hi", {"speaker": "A"}]', "turn 2 is .*, not a turn"),
        ('["Hi", " "]', "turn 2 is empty; remove it"),
    ],
)
def test_what_is_no_dialogue(cell, message):
    with pytest.raises(UserError, match=message):
        read_turns(cell, "a.jsonl:3", "turns")


def test_predictions_join_the_turns_of_a_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"turns": [{"speaker": "A", "text": "Hello!"}, "Hi."]}\n{"turns": ["So?", "Yes."]}\n')
    columns = prediction_inputs.Columns("turns", separator=" [SEP] ")
    rows = prediction_inputs.of_file(path, columns, FileOptions())
    assert [row.texts["text"] for row in rows] == ["Hello! [SEP] Hi.", "So? [SEP] Yes."]
