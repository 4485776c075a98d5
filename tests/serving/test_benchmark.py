"""The benchmarks of servers run; nothing is timed."""

from __future__ import annotations

import contextlib
import json
import shutil

import numpy as np
import pytest

from benchmarks import infer_served, serve
from tests import tiny
from tfpipeline.serving.server import EmbeddedServer, make_options
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


def test_rounds_are_compared_pairwise_and_the_first_is_left_out(monkeypatch):
    """Way b takes twice as long as the embedded server in each round, however long the round is."""
    now = [0.0]
    monkeypatch.setattr(serve.time, "perf_counter", lambda: now[0])

    def way(seconds):
        def ask(inputs):
            now[0] += seconds * inputs["slow"]

        return ask

    rounds = [[{"slow": slow}] * 4 for slow in (1000, 1, 5, 2)]
    found = serve.measure({serve.EMBEDDED: way(0.01), "b": way(0.02)}, rounds, 1)
    assert found["b"] == {
        "requests_per_second": 25.0,  # the median round takes 4 times 2 * 0.02 s
        "p50_milliseconds": 40.0,
        "p99_milliseconds": pytest.approx(100.0),
        "speed_ratio": 0.5,
    }
    assert found[serve.EMBEDDED]["speed_ratio"] == 1.0


def test_every_server_is_asked_in_every_case(tmp_path, monkeypatch, capfd):
    """With servers in this process in place of the real ones."""
    checkpoint = tiny.write_checkpoint(tmp_path / "checkpoint", max_position_embeddings=128)
    monkeypatch.setattr(serve, "texts", lambda *names: ["one two", "three"])
    monkeypatch.setattr(serve, "find_binary", lambda given: None)
    monkeypatch.setattr(serve, "_peers", lambda chosen, checkpoint, folder: iter(()))

    @contextlib.contextmanager
    def embedded(model_dir, binary):
        with EmbeddedServer(make_options(model_dir, port=0), say=lambda sentence: None) as server:
            yield server.address

    monkeypatch.setattr(serve, "tfpipeline_serve", embedded)
    serve.main(["--checkpoint", str(checkpoint), "--rounds", "1", "--requests", "3"])
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [(line["case"], line["callers"], line["way"]) for line in found] == [
        (case, callers, way)
        for case in ("tweets", "reviews", "16 ids")
        for callers, ways in ((1, ("embedded", "in process")), (16, ("embedded",)))
        for way in ways
    ]
