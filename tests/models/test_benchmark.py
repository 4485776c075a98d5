"""The benchmark of the served graph runs; nothing is timed."""

from __future__ import annotations

import json

from benchmarks import infer
from tests import tiny


def test_every_way_is_measured_and_answers_alike(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(infer, "SHAPES", ((1, 4), (2, 3)))
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", max_position_embeddings=infer.CAP)
    infer.main(["--checkpoint", str(checkpoint), "--rounds", "1"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    differences = {line["way"]: line["difference"] for line in found if "difference" in line}
    for way, difference in differences.items():
        assert difference < (0.1 if way == "bfloat16" else 1e-5), way
    cases = {line["case"] for line in found if line.get("peer") == infer.PADDED and line["way"] == "float32"}
    assert cases == {"1 x 4", "2 x 3", "geometric mean", "stream"}
