"""The training benchmarks run; nothing is timed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import data, peft_train, train
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


def test_lora_is_measured_beside_full_fine_tuning(capsys):
    shape = ["--layers", "1", "--hidden", "16", "--vocabulary", "50", "--batch-size", "2", "--length", "8"]
    peft_train.main([*shape, "--rounds", "1"])
    full, lora = measured(capsys)
    assert (full["way"], lora["way"]) == (peft_train.FULL, "lora")
    assert "time_ratio" not in full
    assert lora["time_ratio"] == pytest.approx(lora["milliseconds"] / full["milliseconds"], rel=0.1)
    added = [way["peak_mb"] - way["base_mb"] for way in (full, lora)]
    assert min(added) > 0
    assert lora["memory_ratio"] == pytest.approx(added[1] / added[0], abs=0.002)


def test_a_broken_way_ends_the_comparison():
    with pytest.raises(RuntimeError, match="a process of the benchmark ended with exit code 1"):
        peft_train.measure(
            {"odd": {"freeze": ["first:9"]}},
            shape={"layers": 1, "hidden": 16},
            examples=2,
            length=8,
            rounds=1,
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
