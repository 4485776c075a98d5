"""The benchmark of reports runs; nothing is timed."""

from __future__ import annotations

import json

from benchmarks import report


def test_a_report_is_measured(capsys):
    report.main(["--labels", "43", "--rows", "2"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(line["task"], line["labels"], line["rows"]) for line in found] == [
        ("classification", 43, 86),
        ("multilabel", 43, 86),
    ]
    for line in found:
        assert line["base_mb"] <= line["peak_mb"]
