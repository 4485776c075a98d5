"""The health and reflection services, as load balancers and grpcurl use them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tfpipeline.serving.server import EmbeddedServer, make_options
from tfpipeline.serving.server.health import add_health

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = (
    "",
    "PredictionService",
    "ModelService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)


class Switch:
    """Whether the models are available."""

    on = True

    def __call__(self):
        return self.on


@pytest.fixture
def switched():
    """(stub, switch, health service) of a server with one thread."""
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool)
    switch = Switch()
    service = add_health(server, switch)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel), switch, service
        service.stop()
        server.stop(0).wait()
    pool.shutdown()


def check(stub, name=""):
    return stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status


def test_it_is_serving_only_while_the_models_are_available(switched):
    stub, switch, _ = switched
    assert {check(stub, name) for name in NAMES} == {SERVING}
    switch.on = False
    assert {check(stub, name) for name in NAMES} == {NOT_SERVING}  # at once
    switch.on = True
    assert check(stub) == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check(stub, "nobody")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_watchers_are_told_and_hold_no_thread(switched):
    stub, switch, service = switched
    request = health_pb2.HealthCheckRequest()
    watches = [stub.Watch(request, timeout=30) for _ in range(5)]  # more than there are threads
    assert [next(watch).status for watch in watches] == [SERVING] * 5
    switch.on = False
    assert [next(watch).status for watch in watches] == [NOT_SERVING] * 5
    switch.on = True
    assert [next(watch).status for watch in watches] == [SERVING] * 5
    service.stop()
    for watch in watches:
        assert [answer.status for answer in watch] == [NOT_SERVING]  # the last answer, then the end


def test_the_embedded_server_has_both_services(tmp_path, publish):
    before = set(threading.enumerate())
    options = make_options(publish(tmp_path / "m", 1), port=0)
    with (
        EmbeddedServer(options, say=lambda sentence: None) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert check(stub) == SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection.ServerReflectionInfo(iter([asked]), timeout=20)
        assert [service.name for service in answer.list_services_response.service] == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "tensorflow.serving.ModelService",
            "tensorflow.serving.PredictionService",
        ]
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(watch).status == SERVING
        start = time.monotonic()
        server.stop(grace=20)
        assert time.monotonic() - start < 10  # someone who watches does not hold it up
        assert [answer.status for answer in watch] == [NOT_SERVING]
    left = [thread for thread in set(threading.enumerate()) - before if "channel" not in thread.name.lower()]
    assert left == []
