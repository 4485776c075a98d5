"""The training benchmarks run; nothing is timed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import data, train
from tests import tiny


def measured(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def test_training_is_measured(tmp_path, capsys):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    options = ["--examples", "32", "--batch-size", "4", "--length", "16", "--rounds", "1", "--bfloat16"]
    train.main(["--checkpoint", str(checkpoint), *options])
    found = {(line["lengths"], line["way"]): line for line in measured(capsys)}
    for lengths in train.LENGTHS:
        ours, half = found[lengths, train.OURS], found[lengths, train.OURS_BF16]
        assert "ratio" not in ours
        assert half["ratio"] == pytest.approx(
            ours["examples_per_second"] / half["examples_per_second"], rel=0.01
        )


def test_lengths_are_as_said():
    drawn = train.lengths_of("realistic", 20_000, 128)
    assert drawn.mean() == pytest.approx(39, abs=1.5)  # what lies above 128 is cut
    assert (drawn.min(), drawn.max()) == (4, 128)
    longest = drawn[:19_968].reshape(-1, 32).max(1).mean()
    assert longest / drawn.mean() == pytest.approx(2.75, abs=0.3)
    assert set(train.lengths_of("fixed", 5, 16)) == {16}


def test_a_way_that_is_not_a_number_stops():
    with pytest.raises(ArithmeticError, match="broken: the loss is nan"):
        train.measure({"broken": lambda: float("nan")}, 1)


def test_the_data_pipeline_is_measured(tmp_path, capsys):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    data.main(["--checkpoint", str(checkpoint), "--rows", "600"])
    rows, share = measured(capsys)
    assert (rows["rows"], rows["batches"]) == (600, int(np.ceil(594 / 32)))
    assert rows["peak_mb"] >= rows["base_mb"] > 0
    assert share["batch_share_of_step"] == pytest.approx(
        share["batch_milliseconds"] / share["step_milliseconds"], rel=0.05, abs=1e-3
    )
