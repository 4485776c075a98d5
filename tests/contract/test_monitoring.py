"""Metrics and health: what dashboards and load balancers read is the same on both servers."""

from __future__ import annotations

import http.client

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.test_requests import predict

pytestmark = pytest.mark.contract


def metrics(server):
    """(name, labels) -> value, of metrics with a label for the model `half`."""
    connection = http.client.HTTPConnection(server.rest_address, timeout=30)
    connection.request("GET", "/monitoring/prometheus/metrics")
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        # The parser appends it to the name of a counter.
        (sample.name.removesuffix("_total"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_under_the_same_names(server):
    def counted():
        found = metrics(server)

        def value(name, **labels):
            return found.get((f":tensorflow:serving:{name}", frozenset(labels.items())), 0)

        latency = {"model_name": "half", "API": "Predict", "entrypoint": "GRPC"}
        return [
            value("request_count", model_name="half", status="OK"),
            value("request_count", model_name="half", status="INVALID_ARGUMENT"),
            value("request_latency_count", **latency),
            value("request_latency_bucket", **latency, le="+Inf"),
            value("request_latency_count", model_name="half", API="predict", entrypoint="REST"),
            value("runtime_latency_count", model_name="half", API="Predict", runtime="TF1"),
        ]

    before = counted()
    for values in ([1.0], [2.0], ["a"]):
        try:
            server.predictions.Predict(predict(x=values), timeout=30)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017 - one of three is refused
    connection = http.client.HTTPConnection(server.rest_address, timeout=30)
    connection.request("POST", "/v1/models/half:predict", b'{"instances": [1]}')
    assert connection.getresponse().status == 200
    connection.close()
    more = [after - earlier for after, earlier in zip(counted(), before)]
    assert more[:5] == [3, 1, 2, 2, 1]
    assert more[5] >= 3


def test_buckets_and_loads_have_the_same_labels(server):
    server.predictions.Predict(predict(x=[1.0]), timeout=30)
    found = metrics(server)
    limits = [
        float(dict(labels)["le"])
        for name, labels in found
        if name == ":tensorflow:serving:request_latency_bucket" and ("API", "Predict") in labels
    ]
    assert limits[:4] == [10, 18, 32.4, 58.32]
    assert len(limits) == 34
    loads = [
        (dict(labels), value)
        for (name, labels), value in found.items()
        if name == ":tensorflow:cc:saved_model:load_attempt_count"
    ]
    assert loads == [({"model_path": str(server.model_dir / "3"), "status": "success"}, 1)]


@pytest.mark.parametrize("name", ["", "PredictionService", "ModelService"])
def test_health(server, name):
    request = health_pb2.HealthCheckRequest(service=name)
    answer = health_pb2_grpc.HealthStub(server.channel).Check(request, timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_another_service(server):
    with pytest.raises(grpc.RpcError) as caught:
        request = health_pb2.HealthCheckRequest(service="other")
        health_pb2_grpc.HealthStub(server.channel).Check(request, timeout=30)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
