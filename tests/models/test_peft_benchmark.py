"""The benchmark of many adapters runs; nothing is timed."""

from __future__ import annotations

import json

from benchmarks import peft
from tests import tiny


def test_adapters_cost_their_own_size_and_answer_as_when_merged(tmp_path, capsys):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", max_position_embeddings=peft.CAP)
    peft.main(["--checkpoint", str(checkpoint), "--rounds", "1", "--counts", "2", "5"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["adapters"] for line in found] == [2, 5]
    for line in found:
        assert line["difference"] < 1e-4
        # Two layers; query and value: [16, 8] and [8, 16] each; a head of [16, 3] and 3.
        assert line["arithmetic"] == round(4 * (2 * 2 * 2 * 16 * 8 + 16 * 3 + 3) / 1000, 1)
