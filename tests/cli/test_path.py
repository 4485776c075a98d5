"""The whole path by its commands: convert, train, evaluate, export, serve, predict."""

from __future__ import annotations

import json
import signal
import socket
import subprocess

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from examples.vader_tweets import demo
from tests.cli.conftest import PROGRAM
from tfpipeline.serving.client import PredictClient

TEXTS = ["the food was good", "a very awful film", "the table and the door"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(trained):
    """``tfpipeline serve`` on the exported model; yields its port."""
    folder, _ = trained
    port = free_port()
    command = [str(PROGRAM), "serve", str(folder / "models" / "tiny"), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        demo.wait_for(port, "tiny", process)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert f"serving tiny version 1 on 127.0.0.1:{port}" in output + errors


def lines(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_nothing_but_our_own_lines_is_shown(trained):
    _, outputs = trained
    for name, done in outputs.items():
        for line in (done.stdout + done.stderr).splitlines():
            assert not any(
                word in line
                for word in ("oneDNN", "cuda", "absl", "tensorflow/", "WARNING", "E0000", "I0000")
            ), (name, line)


def test_the_report_shows_before_after_and_the_baseline(trained):
    report = trained[1]["evaluate"].stdout
    for words in (
        "TF-IDF + logistic regression (test rows, 30 rows)",
        "before fine-tuning",
        "after fine-tuning",
        "macro avg",
    ):
        assert words in report
    accuracy = {line[:28].strip(): float(line[-6:]) for line in report.splitlines()[-3:]}
    assert accuracy["after fine-tuning"] >= 0.9 > 0.6 >= accuracy["before fine-tuning"]


def test_a_server_a_saved_model_and_a_run_answer_alike(trained, server, tfpipeline, in_a_process):
    folder, _ = trained
    served = lines(in_a_process("predict", "--target", f"127.0.0.1:{server}", "--model", "tiny", *TEXTS))
    assert [answer["label"] for answer in served] == ["positive", "negative", "neutral"]
    assert [answer["text"] for answer in served] == TEXTS
    for source, ask in {"models/tiny": tfpipeline, "models/tiny/1": tfpipeline, "run": in_a_process}.items():
        local = lines(ask("predict", "--from", folder / source, *TEXTS))
        for one, other in zip(served, local, strict=True):
            assert one["label"] == other["label"]
            for label, probability in one["probabilities"].items():
                assert abs(probability - other["probabilities"][label]) < 1e-5


def test_texts_from_standard_input_and_files(trained, server, tfpipeline, tmp_path):
    ask = ["predict", "--target", f"127.0.0.1:{server}", "--model", "tiny", "--batch-size", "2"]
    expected = lines(tfpipeline(*ask, *TEXTS))
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    (tmp_path / "a.csv").write_text("id,review\n" + "".join(f"1,{text}\n" for text in TEXTS))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"review": text}) + "\n" for text in TEXTS))
    ways = [
        tfpipeline(*ask, input="\n".join(TEXTS) + "\n"),
        tfpipeline(*ask, "--input", tmp_path / "a.txt"),
        tfpipeline(*ask, "--input", tmp_path / "a.csv", "--column", "review"),
        tfpipeline(*ask, "--input", tmp_path / "a.jsonl", "--column", "review"),
    ]
    for done, column in zip(ways, ["text", "text", "review", "review"], strict=True):
        found = lines(done)
        assert [answer[column] for answer in found] == TEXTS
        for one, other in zip(found, expected, strict=True):
            assert one["label"] == other["label"]
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_a_server_under_load(trained, server, tfpipeline, tmp_path):
    (tmp_path / "a.csv").write_text("id,review\n" + "".join(f"1,{text}\n" for text in TEXTS))
    ask = [
        "bench-serving",
        "--target",
        f"127.0.0.1:{server}",
        "--model",
        "tiny",
        "--input",
        tmp_path / "a.csv",
    ]
    short = ["--column", "review", "--seconds", "0.3", "--warmup", "0", "--batch-size", "2"]
    files = ["--output", tmp_path / "figures.json", "--plot", tmp_path / "figures.svg"]
    done = tfpipeline(*ask, *short, "--callers", "2", "--rate", "20", *files, check=True)
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:3]] == [["2", "callers"], ["20", "/"]]
    figures = json.loads((tmp_path / "figures.json").read_text())
    closed, scheduled = figures["measurements"]
    assert closed["answered"] >= 2
    assert scheduled["answered"] >= 1
    assert closed["batch_size"] == scheduled["batch_size"] == 2
    assert closed["failed"] == scheduled["failed"] == {}
    assert 0 < closed["measured_ms"]["p50"] <= closed["measured_ms"]["p99"] <= 300 + 1e3 * closed["seconds"]
    assert (tmp_path / "figures.svg").stat().st_size > 1000
    refused = tfpipeline(*ask[:4], "absent", *ask[5:], *short)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert 'model "absent"' in refused.stderr


def test_the_official_stubs_get_the_same_answers(trained, server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(TEXTS))
    with grpc.insecure_channel(f"127.0.0.1:{server}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        official = stub.Predict(request, timeout=30)
    with PredictClient(f"127.0.0.1:{server}", model="tiny") as client:
        ours = client.predict(TEXTS)
        assert [status.version for status in client.model_status()] == [1]
        assert sorted(client.metadata().signatures) == ["input_ids", "serving_default"]
    assert official.model_spec.version.value == 1
    labels, probabilities = (tf.make_ndarray(official.outputs[name]) for name in ("label", "probabilities"))
    assert [label.decode() for label in labels] == [answer.label for answer in ours]
    np.testing.assert_allclose(
        probabilities, [list(answer.probabilities.values()) for answer in ours], atol=1e-6
    )


def test_everything_run_again_reuses_what_is_there(trained, tfpipeline):
    folder, _ = trained
    before = {
        path: path.stat().st_mtime_ns for part in ("google", "models") for path in (folder / part).rglob("*")
    }
    again = [
        tfpipeline("convert", folder / "checkpoint", folder / "google"),
        tfpipeline("train", folder / "run.yaml", "--set", f"checkpoint={folder / 'google'}"),
        tfpipeline("export", folder / "run", "--to", folder / "models" / "tiny"),
    ]
    assert [done.returncode for done in again] == [0, 0, 0]
    assert all("nothing to do" in done.stdout + done.stderr for done in again)
    assert {path: path.stat().st_mtime_ns for path in before} == before
