"""The benchmark of a real server runs; nothing is timed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from benchmarks import infer_served
from tests import tiny
from tfpipeline.serving.server.run import BINARY


def test_says_that_there_is_no_server(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    infer_served.main([])
    assert capsys.readouterr().out == (
        "infer_served: no tensorflow_model_server on the PATH, nothing is measured\n"
    )


def test_stream_has_the_texts_asked_for():
    words = np.array(["one", "two", "three"])
    requests = infer_served.stream(words, 2, 5, 1000, np.random.default_rng(0))
    rows = [len(request["text"]) for request in requests]
    assert sum(rows) == 1000
    assert set(rows[:-1]) == {2, 3, 4, 5}
    counts = np.array([len(text.split()) + 2 for request in requests for text in request["text"]])
    assert counts.max() <= infer_served.MOST_TOKENS
    assert counts.mean() == pytest.approx(infer_served.MEAN_TOKENS, rel=0.1)


@pytest.mark.contract
@pytest.mark.skipif(shutil.which(BINARY) is None, reason=f"{BINARY} is not on the PATH")
def test_every_way_is_measured(tmp_path, capfd):
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", max_position_embeddings=128)
    infer_served.main(["--checkpoint", str(checkpoint), "--rounds", "1", "--texts", "70"])
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    ways = ("in process", "server", "server, batched")
    cases = [line["case"] for line in found if line["way"] == "in process"]
    assert len(set(cases)) == len(infer_served.STREAMS) + len(infer_served.SHAPES)
    assert {way: sum(line["way"] == way for line in found) for way in ways} == {
        "in process": len(cases),
        "server": len(cases),
        "server, batched": len(infer_served.STREAMS),
    }
