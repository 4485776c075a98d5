"""The benchmark of loading runs; nothing is timed."""

from __future__ import annotations

import json

from benchmarks import load

_HALF = 0.00051  # of the last digit


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
            # One round: the ratio of the medians is that of the round, up to the third digit of both.
            ours, alone = figures[what], figures[f"alone_{what}"]
            least, most = (ours - _HALF) / (alone + _HALF), (ours + _HALF) / max(alone - _HALF, 1e-9)
            assert least - 0.005 <= figures[f"{what}_ratio"] <= most + 0.005
