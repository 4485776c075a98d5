"""The table that `make bench` prints; nothing is timed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks import table

ROOT = Path(__file__).parent.parent
LINES = [
    "without KerasHub: no module",
    json.dumps({"benchmark": "tokenize", "corpus": "tweets", "batch": 1, "peer": "p", "milliseconds": 9.0}),
    json.dumps(
        {
            "benchmark": "tokenize",
            "corpus": "tweets",
            "batch": 1,
            "peer": "p",
            "milliseconds": 2.0,
            "peer_milliseconds": 3.0,
            "speed_ratio": 1.5,
        }
    ),
    json.dumps({"benchmark": "train", "mean_length": 7, "way": "ours", "examples_per_second": 8.5}),
    json.dumps(
        {"benchmark": "train", "mean_length": 7, "way": "x|y", "examples_per_second": 4.0, "ratio": 2.1}
    ),
    json.dumps(
        {
            "benchmark": "load",
            "model": "m",
            "seconds": 1.0,
            "alone_seconds": 0.5,
            "seconds_ratio": 2.0,
            "megabytes": 90.0,
            "alone_megabytes": 100.0,
            "megabytes_ratio": 0.9,
        }
    ),
    json.dumps(
        {
            "benchmark": "serve",
            "case": "tweets",
            "callers": 16,
            "way": "w",
            "requests_per_second": 7.5,
            "p50_milliseconds": 3.0,
            "speed_ratio": 0.5,
        }
    ),
    json.dumps({"benchmark": "report", "peak_mb": 9.0, "base_mb": 4.0}),
    json.dumps({"benchmark": "export", "peak_mb": 8.0, "base_mb": 4.0, "peak_ratio": 2.0}),
]
TABLE = """\
| benchmark | ours | peer | ratio |
|---|---|---|---|
| tokenize, corpus tweets, batch 1, peer p | 2.0 ms | 3.0 ms | 1.5 |
| train, way ours | 8.5 examples per second |  |  |
| train, way x/y | 4.0 examples per second |  | 2.1 |
| load, model m | 1.0 s | 0.5 s | 2.0 |
| load, model m | 90.0 MB | 100.0 MB | 0.9 |
| serve, case tweets, callers 16, way w | 7.5 requests per second |  | 0.5 |
| report | 9.0 peak MB | 4.0 base MB |  |
| export | 8.0 peak MB | 4.0 base MB | 2.0 |"""


def test_rows_of_every_kind_of_figure(tmp_path, capsys):
    """Of a measurement that is there twice the last one; other lines are passed over."""
    (tmp_path / "a.jsonl").write_text("\n".join(LINES[:3]))
    (tmp_path / "b.jsonl").write_text("\n".join(LINES[3:]))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.main([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--to", str(page)])
    assert capsys.readouterr().out == f"{TABLE}\n"
    assert page.read_text() == f"before\n{table.BEGIN}\n{TABLE}\n{table.END}\nafter\n"


def test_make_bench_runs_every_benchmark():
    written = (ROOT / "Makefile").read_text("utf-8")
    (listed,) = re.findall(r"^BENCHMARKS := (.*)$", written, re.MULTILINE)
    named = {*listed.split(), *re.findall(r"-m benchmarks\.(\w+)", written)}
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("_")}
    assert named == modules
