"""Problems as rows of data."""

from __future__ import annotations

import json

import pytest

from tests import tiny
from tfpipeline import UserError
from tfpipeline.reasoning.problem import read
from tfpipeline.reasoning.writing import span, write_problems


def test_rows_are_data_for_the_task_pair_and_problems(tmp_path):
    path = write_problems(
        tmp_path / "rows.jsonl", count=40, depths=(0, 1), predicates=(5, 6), style="zh-names"
    )
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(rows) == 40
    assert {row["label"] for row in rows} == {0, 1}
    assert all(row["text"].count("。") == len(row["rules"]) + len(row["facts"]) for row in rows)
    assert all(row["text_pair"] == f"{row['query']}来。" for row in rows)
    assert [problem.query for problem in read(path)] == [row["query"] for row in rows]


def test_problems_that_a_checkpoint_cannot_read_are_left_out_and_counted(tmp_path, capsys):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint")  # 40 positions
    path = write_problems(
        tmp_path / "rows.jsonl", count=8, depths=(0, 0), predicates=(4, 4), checkpoint=checkpoint
    )
    assert "problems of more than 40 tokens were left out" in capsys.readouterr().err
    assert max(len(problem.rules) for problem in read(path)) <= 5  # each rule has at least six tokens


def test_the_same_options_write_the_same(tmp_path):
    one = write_problems(tmp_path / "a.jsonl", count=20, depths=(0, 1), seed=3)
    other = write_problems(tmp_path / "b.jsonl", count=20, depths=(0, 1), seed=3)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("rows.csv", {}, "is the file to write; give it the ending .jsonl"),
        ("there.jsonl", {}, "exists; choose another file, or remove it first"),
        (
            "rows.jsonl",
            {"max_length": 9},
            "--max-length counts the tokens of a checkpoint; name it with --checkpoint",
        ),
        (
            "rows.jsonl",
            {"processes": 2, "checkpoint": "x"},
            "--processes cannot be used with --checkpoint, whose tokens one process counts",
        ),
        ("rows.jsonl", {"style": "en-colors"}, 'unknown style "en-colors"; did you mean "en-colours"?'),
    ],
)
def test_what_cannot_be_written(tmp_path, to, options, message):
    (tmp_path / "there.jsonl").write_text("")
    with pytest.raises(UserError) as caught:
        write_problems(tmp_path / to, count=5, **options)
    assert str(caught.value).endswith(message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.jsonl"]


def test_spans():
    assert span("--depths", "0-6") == (0, 6)
    assert span("--depths", " 3 ") == (3, 3)
    with pytest.raises(UserError) as caught:
        span("--depths", "0..6")
    assert str(caught.value) == '--depths is "0..6"; write two numbers, such as 0-6'
