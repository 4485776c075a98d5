"""The benchmark runs, and its arithmetic is right; nothing is timed."""

from __future__ import annotations

import json

from benchmarks import _measure, tokenize


def test_benchmark_runs(capsys, monkeypatch):
    monkeypatch.setattr(tokenize, "BATCH_SIZES", (1, 5))
    tokenize.main(["--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    measured = [json.loads(line) for line in lines if line.startswith("{")]
    assert {m["benchmark"] for m in measured} == {"tokenize/build", "tokenize"}
    beside = {(m["corpus"], m["batch"]) for m in measured if m.get("peer") == tokenize.REFERENCE}
    assert beside == {("tweets", 1), ("tweets", 5), ("reviews", 1), ("reviews", 5)}
    peers = {m.get("peer") for m in measured}
    # Either it was measured, or a line says why not.
    assert tokenize.FAST_BERT in peers or any("not installed" in line for line in lines)


def test_ratios_leave_the_first_round_out():
    # slow takes 4 s each time, quick 2 s, save in the first round, where it takes 100 s.
    now = [0.0]

    def take(seconds):
        now[0] += seconds

    rounds = iter([100.0, 2.0, 2.0])
    ways = {"slow": lambda _: take(4.0), "quick": lambda _: take(next(rounds))}
    found = _measure.side_by_side(ways, [0, 1, 2], baseline="slow", clock=lambda: now[0])
    assert found == {
        "slow": {"milliseconds": 4000.0, "speed_ratio": 1.0},
        "quick": {"milliseconds": 2000.0, "speed_ratio": 2.0},
    }
