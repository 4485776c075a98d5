"""The benchmarks of the tasks run; nothing is timed."""

from __future__ import annotations

import json

import pytest

from benchmarks import decode, prepare
from tests import tiny
from tfpipeline import tasks


def test_every_task_is_measured(tmp_path, capsys):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    decode.main(["--checkpoint", str(checkpoint), "--rounds", "1", "--tokens", "8"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["task"] for line in found] == list(tasks.names())
    for line in found:
        assert line["share"] == pytest.approx(line["milliseconds"] / line["model_milliseconds"], rel=0.02)


def test_rows_of_several_heads_are_measured(capsys):
    prepare.main(["--rows", "40", "--rounds", "1"])
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert (line["rows"], line["heads"]) == (40, 3)
    assert line["ratio"] > 0
