"""Warm-up requests in the embedded server; the records are made with the official messages."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from tfpipeline.serving.server import EmbeddedServer, make_options, saved_model, versions, warmup
from tfpipeline.serving.server.status import StatusError


def log(signature, **inputs):
    made = prediction_log_pb2.PredictionLog()
    request = made.predict_log.request
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made


def write(version, *logs):
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for one in logs:
            file.write(one.SerializeToString())
    return path


GOOD = [log("", x=[1.0, 2.0]), log("upper", text=["a"])]
BAD = log("picky", x=[-1.0])


class Recorder:
    """A model that only notes what it is asked."""

    def __init__(self, signatures):
        self.signatures, self.asked = signatures, []

    def run(self, feeds, fetches):
        self.asked.append(
            (sorted(feeds), sorted(fetches), {name: value.tolist() for name, value in feeds.items()})
        )


@pytest.fixture
def recorder(saved_models):
    model = saved_model.SavedModel(saved_models / "plus2")
    yield Recorder(model.signatures)
    model.close()


def test_requests_are_asked_in_order_with_all_outputs(recorder, tmp_path):
    path = write(tmp_path, *GOOD)
    assert warmup.replay(recorder, path) == 2
    half, upper = (recorder.signatures[name] for name in ("serving_default", "upper"))
    assert recorder.asked == [
        ([half.inputs["x"].name], [half.outputs["y"].name], {half.inputs["x"].name: [1.0, 2.0]}),
        ([upper.inputs["text"].name], [upper.outputs["upper"].name], {upper.inputs["text"].name: [b"a"]}),
    ]


def test_no_file_is_no_warm_up(recorder, tmp_path):
    assert warmup.replay(recorder, tmp_path / "none") == 0
    assert recorder.asked == []


def test_a_server_that_stops_does_not_go_on(recorder, tmp_path):
    answers = iter([False, True])
    warmup.replay(recorder, write(tmp_path, *GOOD, *GOOD), lambda: next(answers))
    assert len(recorder.asked) == 1


@pytest.mark.parametrize(
    ("logs", "code", "message"),
    [
        (
            [log("none", x=[1.0])],
            "FAILED_PRECONDITION",
            'warm-up request 1 fails: Serving signature key "none" not found.',
        ),
        ([*GOOD, log("", y=[1.0])], "INVALID_ARGUMENT", "warm-up request 3 fails: "),
        (
            [prediction_log_pb2.PredictionLog(session_run_log={})],
            "UNIMPLEMENTED",
            "warm-up request 1 fails: Unsupported log_type for warmup: session_run_log",
        ),
        (
            [*GOOD] * 500 + [GOOD[0]],
            "INVALID_ARGUMENT",
            "Number of warmup records exceeds the maximum (1000) at ",
        ),
    ],
)
def test_requests_that_fail_the_load(recorder, tmp_path, logs, code, message):
    with pytest.raises(StatusError) as caught:
        warmup.replay(recorder, write(tmp_path, *logs))
    assert caught.value.code is grpc.StatusCode[code]
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"no record" * 9, "DATA_LOSS", "TFRecord format"),
        (None, "INVALID_ARGUMENT", "Failed to parse warmup record from"),
    ],
)
def test_a_file_that_is_none_of_requests(recorder, tmp_path, content, code, message):
    path = tmp_path / "requests"
    if content is None:
        with tf.io.TFRecordWriter(str(path)) as file:
            file.write(b"\xff\xff")
    else:
        path.write_bytes(content)
    with pytest.raises(StatusError, match=message) as caught:
        warmup.replay(recorder, path)
    assert caught.value.code is grpc.StatusCode[code]


def test_a_version_that_fails_its_warm_up_is_closed(tmp_path, publish, monkeypatch):
    version = publish(tmp_path / "m", 1) / "1"
    write(version, *GOOD, BAD)
    closed = []
    monkeypatch.setattr(saved_model.SavedModel, "close", lambda model: closed.append(model))
    with pytest.raises(StatusError, match="warm-up request 3 fails: "):
        warmup.load_warm(version)
    assert len(closed) == 1


def test_a_version_is_available_after_its_warm_up_and_not_if_that_fails(
    tmp_path, publish, monkeypatch, eventually
):
    write(publish(tmp_path / "m", 1) / "1", *GOOD)
    asked, entered, go_on = [], threading.Event(), threading.Event()
    run = saved_model.SavedModel.run

    def slow(model, feeds, fetches):
        asked.append(threading.current_thread().name)
        if len(asked) == len(GOOD) + 1:  # the first request of version 2
            entered.set()
            assert go_on.wait(20)
        return run(model, feeds, fetches)

    monkeypatch.setattr(saved_model.SavedModel, "run", slow)
    monkeypatch.setattr(versions, "SETTLE_SECONDS", 0.1)
    options = make_options(tmp_path / "m", port=0, poll_seconds=0.02)
    said = []
    with EmbeddedServer(options, say=said.append) as server, grpc.insecure_channel(server.address) as channel:
        assert asked == ["versions of m"] * len(GOOD)
        assert server.versions() == [1]
        staged = publish(tmp_path / "staged", 2, "plus3") / "2"
        write(staged, *GOOD)
        staged.rename(tmp_path / "m" / "2")
        assert entered.wait(20)
        assert server.versions() == [1]  # it is loaded, and answers nobody yet
        go_on.set()
        eventually(lambda: server.versions() == [2])
        staged = publish(tmp_path / "staged", 3) / "3"
        write(staged, *GOOD, BAD)
        staged.rename(tmp_path / "m" / "3")
        eventually(lambda: any("cannot be loaded (" in sentence for sentence in said))
        assert server.versions() == [2]
        assert "m/3 cannot be loaded (warm-up request 3 fails: " in said[-1]
        assert said[-1].endswith("version 2 keeps serving")
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), [4.0])
