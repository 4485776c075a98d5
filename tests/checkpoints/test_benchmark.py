"""The benchmark of loading runs; nothing is timed."""

from __future__ import annotations

import json

from benchmarks import load


def test_benchmark_runs(capsys):
    load.main(["--rounds", "1"], base=load.TINY)
    measured = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(m["model"], m["format"]) for m in measured] == [
        ("MiniLM", "huggingface"),
        ("BERT-base's size", "huggingface"),
        ("BERT-base's size", "google"),
    ]
    for figures in measured:
        for what in ("seconds", "megabytes"):
            assert figures[what] > 0
            # One round: the ratio of the medians is that of the round.
            assert (
                abs(figures[f"{what}_ratio"] - figures[what] / figures[f"alone_{what}"])
                < 0.05 * figures[f"{what}_ratio"] + 0.02
            )
