"""Limits of the embedded server: calls in flight, threads, and the age of connections."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfpipeline.serving.server import BatchingOptions, EmbeddedServer, make_options, saved_model


@pytest.fixture
def gate(monkeypatch):
    """Predictions wait until the gate is opened; `waiting` counts those that have begun."""

    class Gate(threading.Event):
        waiting = 0

    gate, run = Gate(), saved_model.SavedModel.run

    def slow(model, feeds, fetches):
        gate.waiting += 1
        assert gate.wait(30)
        return run(model, feeds, fetches)

    monkeypatch.setattr(saved_model.SavedModel, "run", slow)
    yield gate
    gate.set()


def serve(model_dir, **options):
    batching = BatchingOptions(max_rows=1)
    return EmbeddedServer(
        make_options(model_dir, port=0, batching=batching, **options), say=lambda sentence: None
    )


def predict(channel):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    try:
        return list(stub.Predict(request, timeout=30).outputs["y"].float_val)
    except grpc.RpcError as error:
        return error.code()


def test_calls_above_the_limit_are_refused_and_status_calls_are_not(tmp_path, publish, gate, eventually):
    model_dir = publish(tmp_path / "m", 1)
    with (
        serve(model_dir, threads=1, max_concurrency=3) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(8) as pool,
    ):
        calls = [pool.submit(predict, channel) for _ in range(8)]
        eventually(lambda: sum(call.done() for call in calls) == 5)
        assert gate.waiting == 1  # one thread answers; the two others in flight wait for it
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "m"
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=20)
        assert answer.model_version_status[0].state == 30
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        gate.set()
        answers = [call.result(30) for call in calls]
        assert answers.count([3.0]) == 3
        assert answers.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 5
        assert predict(channel) == [3.0]  # refused calls gave their places back
        assert server._metrics.text().count(b'status="RESOURCE_EXHAUSTED"} 5') == 1


def test_an_old_connection_is_closed_once_its_calls_are_answered(tmp_path, publish, gate):
    with (
        serve(publish(tmp_path / "m", 1), max_connection_age=0.3) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        seen = []
        channel.subscribe(lambda state: seen.append(state.name))
        call = pool.submit(predict, channel)
        time.sleep(1.0)  # the connection is older than that now, and the call goes on
        assert not call.done()
        gate.set()
        assert call.result(30) == [3.0]
        end = time.monotonic() + 10
        while "IDLE" not in seen[1:] and time.monotonic() < end:
            time.sleep(0.05)
        assert "IDLE" in seen[seen.index("READY") :]
        assert predict(channel) == [3.0]  # over a new one
