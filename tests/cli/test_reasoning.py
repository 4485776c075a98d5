"""`tfpipeline reasoning`."""

from __future__ import annotations

import json

import pytest


def test_problems_are_written_and_a_constructed_model_solves_them(tfpipeline, tmp_path):
    model, rows = tmp_path / "model", tmp_path / "rows.jsonl"
    made = tfpipeline("reasoning", "construct", "--to", model, "--depth", "2")
    assert (made.returncode, made.stdout.strip()) == (0, str(model))
    asked = ["--depths", "0-2", "--predicates", "4-6", "--style", "en-symbols", "--count", "12"]
    drawn = tfpipeline("reasoning", "generate", "--to", rows, *asked, "--checkpoint", model)
    assert (drawn.returncode, drawn.stdout.strip()) == (0, str(rows))
    labels = [json.loads(line)["label"] for line in rows.read_text().splitlines()]
    assert sorted(labels) == [0] * 6 + [1] * 6
    done = tfpipeline("evaluate", model, "--set", "data.text_pair=text_pair", "--data", rows, "--no-baseline")
    assert done.returncode == 0
    assert "fine-tuned checkpoint  1.0000" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sampler", "rule"], 'unknown sampler "rule"'),
        (["--depths", "3-1"], "depths are 3 to 1; they begin at 0, and the least comes first"),
        (["--depths", "deep"], '--depths is "deep"; write two numbers, such as 0-6'),
        (["--predicates", "5-99"], "99 predicates are wanted, but there are names for 30; want fewer"),
        (["--style", "fr-symbols"], 'unknown style "fr-symbols"'),
    ],
)
def test_what_cannot_be_drawn(tfpipeline, tmp_path, options, message):
    done = tfpipeline("reasoning", "generate", "--to", tmp_path / "rows.jsonl", *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())
