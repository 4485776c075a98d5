"""The benchmark of loading runs, and its arithmetic is right; nothing is timed."""

from __future__ import annotations

import json

import pytest

from benchmarks import load
from tests import tiny

WHAT = ("seconds", "megabytes", "first_seconds")


def test_every_model_and_format_is_measured(capsys, monkeypatch):
    """Of three rounds the medians, the first round left out."""
    ours, alone = ([100.0, 3.0, 6.0, 4.0], [100.0, 2.0, 1.0, 9.0])
    done = []

    def figures(way, directory, first):
        assert first.is_dir()
        assert directory.is_dir()
        rounds = [one for one in done if one == (way, directory)]
        done.append((way, directory))
        return dict.fromkeys(WHAT, (ours if way == "ours" else alone)[len(rounds)])

    monkeypatch.setattr(load, "_load", figures)
    load.main(["--rounds", "3"], base=load.TINY)
    measured = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(m["model"], m["format"]) for m in measured] == [
        ("MiniLM", "huggingface"),
        ("BERT-base's size", "huggingface"),
        ("BERT-base's size", "google"),
    ]
    for found in measured:
        assert [(found[what], found[f"alone_{what}"]) for what in WHAT] == [(4.0, 2.0)] * 3
        assert found["seconds_ratio"] == found["megabytes_ratio"] == 2.0


@pytest.mark.parametrize("way", ["ours", pytest.param("alone", marks=pytest.mark.soak)])
def test_a_process_measures(tmp_path, way):
    found = load._load(way, tiny.write_checkpoint(tmp_path / "a"), tiny.write_checkpoint(tmp_path / "b"))
    assert sorted(found) == sorted(WHAT)
    assert all(found[what] >= 0 for what in WHAT)
    assert found["seconds"] > 0
