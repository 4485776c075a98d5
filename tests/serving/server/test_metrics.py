"""Metrics under TensorFlow Serving's names."""

from __future__ import annotations

import http.client
import re

import grpc
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfpipeline.serving.server import EmbeddedServer, make_options
from tfpipeline.serving.server.metrics import ServerMetrics
from tfpipeline.serving.server.options import METRICS_PATH
from tfpipeline.serving.server.status import not_found

CODE = grpc.StatusCode


def get(address, method, path, body=None):
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read()
    finally:
        connection.close()


def samples(text):
    """`name{label="value",...}` -> value, labels sorted."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def metrics():
    return ServerMetrics({"m"}.__contains__, lambda: [("m", 3, "AVAILABLE"), ("m", 2, "END")])


def test_requests_are_counted_by_model_and_status(metrics):
    metrics.answered("m", "Predict", "GRPC", CODE.OK, 0.000_02)
    metrics.answered("m", "predict", "REST", CODE.OK, 0.5)
    metrics.answered("m", "Predict", "GRPC", CODE.INVALID_ARGUMENT, 0.5)
    found = samples(metrics.text())
    assert found[':tensorflow:serving:request_count{model_name="m",status="OK"}'] == 2
    assert found[':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"}'] == 1
    latency = ":tensorflow:serving:request_latency"
    grpc_labels = 'API="Predict",entrypoint="GRPC"'
    assert found[f'{latency}_count{{{grpc_labels},model_name="m"}}'] == 1  # errors are not in it
    assert found[f'{latency}_sum{{{grpc_labels},model_name="m"}}'] == pytest.approx(20)  # microseconds
    assert found[f'{latency}_bucket{{{grpc_labels},le="18.0",model_name="m"}}'] == 0
    assert found[f'{latency}_bucket{{{grpc_labels},le="32.4",model_name="m"}}'] == 1
    assert found[f'{latency}_sum{{API="predict",entrypoint="REST",model_name="m"}}'] == pytest.approx(5e5)
    assert found['tfpipeline_model_version_state{model_name="m",state="END",version="2"}'] == 1


def test_names_of_no_model_take_no_memory(metrics):
    for number in range(100):
        metrics.answered(f"../{number}", "Predict", "GRPC", CODE.NOT_FOUND, 0.1)
    found = [key for key in samples(metrics.text()) if "request_count" in key]
    assert found == [':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"}']


def test_loads_are_counted_by_result(metrics, tmp_path):
    class Model:
        signatures = "all of them"

        def run(self, feeds, fetches):
            return [fetches]

    def load(path):
        if path.name == "2":
            raise not_found("gone")
        return Model()

    model = metrics.loading(load)("m", tmp_path / "1")
    with pytest.raises(type(not_found(""))):
        metrics.loading(load)("m", tmp_path / "2")
    assert model.signatures == "all of them"
    assert model.run({"x": [1, 2, 3]}, ["y"]) == [["y"]]
    found = samples(metrics.text())
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert found[f'{loads}{{model_path="{tmp_path}/1",status="success"}}'] == 1
    assert found[f'{loads}{{model_path="{tmp_path}/2",status="fail"}}'] == 1
    assert found[":tensorflow:serving:batching_session:processed_batch_size_sum{}"] == 3


def test_both_ports_are_counted(tmp_path, publish):
    options = make_options(publish(tmp_path / "m", 4), port=0, rest_port=0, metrics_port=0)
    with (
        EmbeddedServer(options, say=lambda sentence: None) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
        stub.Predict(request, timeout=20)
        stub.Predict(request, timeout=20)
        request.model_spec.name = "none"
        with pytest.raises(grpc.RpcError):
            stub.Predict(request, timeout=20)
        assert get(server.rest_address, "POST", "/v1/models/m:predict", b'{"instances": [1]}')[0] == 200
        assert get(server.rest_address, "POST", "/v1/models/m:predict", b"{}")[0] == 400

        assert server.metrics_address != server.rest_address
        status, kind, text = get(server.metrics_address, "GET", METRICS_PATH)
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert get(server.rest_address, "GET", METRICS_PATH)[0] == 200
        assert get(server.metrics_address, "GET", "/v1/models/m")[0] == 404
    found = samples(text)
    assert found[':tensorflow:serving:request_count{model_name="m",status="OK"}'] == 3
    assert found[':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"}'] == 1
    assert found[':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"}'] == 1
    latency = ":tensorflow:serving:request_latency_count"
    assert found[f'{latency}{{API="Predict",entrypoint="GRPC",model_name="m"}}'] == 2
    assert found[f'{latency}{{API="predict",entrypoint="REST",model_name="m"}}'] == 1
    assert found[":tensorflow:serving:batching_session:processed_batch_size_sum{}"] == 5
    queue = ":tensorflow:serving:batching_session:queuing_latency"
    assert found[f'{queue}_count{{thread_pool_name="model_server_batch_threads"}}'] == 3
    assert found['tfpipeline_model_version_state{model_name="m",state="AVAILABLE",version="4"}'] == 1
    assert found["process_resident_memory_bytes{}"] > 2**20
    assert not re.search(rb"_created|request_count_total", text)
