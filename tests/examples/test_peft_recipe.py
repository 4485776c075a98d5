"""The comparison of methods that train a fraction: its table, and what is kept of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import peft_train
from examples.peft import recipe
from tests import tiny


def test_differences_are_paired():
    """Rows on which all runs agree say nothing of the difference, however many are wrong."""
    full = [[1, 0, 1, 0] * 50, [1, 0, 0, 0] * 50]
    same = recipe.difference(full, full)
    assert same == (0, 0, 0)
    better, low, high = recipe.difference([[1, 0, 1, 0] * 50], full)
    assert better == pytest.approx(0.25 / 2)
    spread = np.sqrt(0.25 * 0.75 / 200) / 2  # of the mean of 200 rows that differ by 0 or 1/2
    assert low == pytest.approx(better - 1.96 * spread, abs=0.01)
    assert high == pytest.approx(better + 1.96 * spread, abs=0.01)


def run(right, trained):
    parts = {"train": 900, "validation": 100, "test": len(right)}
    return {
        "right": right, "baseline": [1, 0, 0, 0], "trained": trained, "parameters": 1_000_000,
        "bytes": 4 * trained, "rows": parts,
    }  # fmt: skip


def test_the_table():
    found = {
        ("tweets", "full"): [run([1, 1, 1, 0], 990_000), run([1, 1, 0, 0], 990_000)],
        ("tweets", "lora"): [run([1, 1, 1, 0], 14_400), run([1, 1, 1, 0], 14_400)],
    }
    cost = {way: {"milliseconds": 100.4, "peak_mb": 900.2} for way in ("full", "lora")}
    head, _, full, lora, baseline = recipe.table(["tweets"], ["full", "lora"], found, cost)
    assert head.count("|") == full.count("|") == lora.count("|") == baseline.count("|")
    assert full == (
        "| full fine-tuning | 0.625 (0.500 to 0.750) |  | 990,000 | 99 % | 100 ms | 900 MB | 3.96 MB |"
    )
    assert lora.startswith("| LoRA, rank 8 | 0.750 | +12.5 (")
    assert lora.endswith(") | 14,400 | 1.4 % | 100 ms | 900 MB | 57.6 kB |")
    assert baseline.startswith("| TF-IDF + logistic regression | 0.250 | -37.5 (")
    said = recipe.remark(["tweets"], 2, found)
    assert "of 2 seeds; 900 rows trained on, 100 to choose the epoch, tested on 4 of tweets." in said


def test_what_is_kept_of_a_run(tmp_path, monkeypatch, capsys):
    example = tmp_path / "peft"
    example.mkdir()
    tiny.write_run_file(example, train=40, epochs=1)
    monkeypatch.setattr(recipe, "EXAMPLES", tmp_path)
    files = example / "train.csv", example / "test.csv"
    output = tmp_path / "out"
    found = recipe.result(output, files, ["peft={method: lora, rank: 2}"])
    assert len(found["right"]) == len(found["baseline"]) == found["rows"]["test"] == 30
    # [16, 2] and [2, 16] of query and value; the head.
    assert found["trained"] == 2 * 2 * 32 + 16 * 3 + 3
    assert found["bytes"] == 4 * found["trained"]
    assert not (output / "checkpoints").exists()
    validated = json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])
    assert validated["step"] == 3
    capsys.readouterr()
    assert recipe.result(output, files, []) == found
    assert capsys.readouterr().err == ""


def test_costs_are_measured_once_for_all_ways(tmp_path, monkeypatch):
    asked = []

    def measure(ways, **options):
        asked.append((ways, options))
        return {way: {"milliseconds": 1.0, "peak_mb": 2.0} for way in ways}

    monkeypatch.setattr(recipe, "FOLDER", tmp_path)
    monkeypatch.setattr(peft_train, "measure", measure)
    assert recipe.costs(["full", "lora"]) == recipe.costs(["full"])
    ((ways, options),) = asked
    assert ways["full"] == {"peft": None, "freeze": []}
    assert ways["lora"]["peft"]["rank"] == 8
    assert options["examples"] == 16
    recipe.costs(["full", "frozen"])
    assert asked[1][0]["frozen"] == {"peft": None, "freeze": ["all"]}
