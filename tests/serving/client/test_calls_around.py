"""What goes with every call: headers, interceptors, traces; and the server's health."""

from __future__ import annotations

import asyncio
import collections
import subprocess
import sys

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tfpipeline.serving.client import (
    AsyncPredictClient,
    Health,
    InputError,
    NotFoundError,
    PredictClient,
    telemetry,
)


def sent(client):
    """The headers that the server got, as "name=value"."""
    return {value.decode() for value in client.predict_raw({}).outputs["headers"]}


@pytest.mark.parametrize("options", [{}, {"hedge_after": 20.0}], ids=str)
def test_headers(connect, options):
    headers = {"Authorization": "Bearer secret", "x-bin": b"\x00\xff"}
    client = connect("headers", headers=headers, **options)
    assert {"authorization='Bearer secret'", "x-bin=b'\\x00\\xff'"} <= sent(client)
    with pytest.raises(Exception, match="internal error") as caught:
        connect("status:INTERNAL", headers=headers).predict(["a"])
    assert "secret" not in str(caught.value) + repr(client)


Details = collections.namedtuple("Details", "method timeout metadata credentials wait_for_ready compression")


class Stamp(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, seen):
        self._seen = seen

    def intercept_unary_unary(self, continuation, details, request):
        self._seen.append(details.method)
        more = [*details.metadata, ("x-stamp", "1")]
        return continuation(Details(details.method, details.timeout, more, None, None, None), request)


class AsyncStamp(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, seen):
        self._seen = seen

    async def intercept_unary_unary(self, continuation, details, request):
        self._seen.append(details.method.decode() if isinstance(details.method, bytes) else details.method)
        details.metadata.add("x-stamp", "1")
        return await continuation(details, request)


@pytest.mark.parametrize("options", [{}, {"hedge_after": 20.0}], ids=str)
def test_interceptors(server, options):
    seen, want = [], "/tensorflow.serving.PredictionService/Predict"
    with PredictClient(
        server.target, model="headers", interceptors=[Stamp(seen)], headers={"a": "b"}, **options
    ) as client:
        assert {"x-stamp='1'", "a='b'"} <= sent(client)
    assert seen == [want]

    async def main():
        made = AsyncPredictClient(server.target, model="headers", interceptors=[AsyncStamp(seen)], **options)
        async with made as client:
            answer = await client.predict_raw({})
            assert b"x-stamp='1'" in list(answer.outputs["headers"])

    asyncio.run(main())
    assert seen == [want] * 2
    with pytest.raises(
        InputError, match=r"interceptors holds a AsyncStamp; PredictClient takes grpc\.UnaryUnaryClientInt"
    ):
        PredictClient(server.target, model="m", interceptors=[AsyncStamp([])])
    with pytest.raises(InputError, match=r"AsyncPredictClient takes grpc\.aio\.UnaryUnaryClientInterceptor"):
        AsyncPredictClient(server.target, model="m", interceptors=[Stamp([])])


@pytest.fixture(scope="module")
def recorder():
    """Where finished spans go; OpenTelemetry takes one provider per process."""
    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def named(exporter):
    return [span.name for span in exporter.get_finished_spans()]


PREDICT = "/tensorflow.serving.PredictionService/Predict"


def test_traces(connect, recorder, server):
    """By default, as this program uses OpenTelemetry; the server gets the trace's id."""
    recorder.clear()
    span = trace.get_tracer("test").start_as_current_span("around")
    with span as around, PredictClient(server.target, model="headers") as client:
        headers = sent(client)
    identity = f"{around.get_span_context().trace_id:032x}"
    assert any(header.startswith(f"traceparent='00-{identity}-") for header in headers)
    call, _ = recorder.get_finished_spans()
    assert (call.name, call.parent.span_id) == (PREDICT, around.get_span_context().span_id)
    recorder.clear()
    assert len(connect("sentiment", max_concurrency=2).predict(["a", "b"], batch_size=1)) == 2
    with pytest.raises(Exception, match="internal error"):
        connect("status:INTERNAL").predict(["a"])
    assert named(recorder) == [PREDICT] * 3
    assert not recorder.get_finished_spans()[-1].status.is_ok
    recorder.clear()
    assert connect("sentiment", telemetry=False).predict(["a"])
    assert named(recorder) == []


def test_channels_that_are_traced_anyway_are_traced_once(recorder, server):
    instrumentor = GrpcInstrumentorClient()
    instrumentor.instrument()
    try:
        recorder.clear()
        with PredictClient(server.target, model="sentiment", headers={"a": "b"}) as client:
            client.predict(["a"])
        assert named(recorder) == [PREDICT]
    finally:
        instrumentor.uninstrument()


def test_without_opentelemetry(monkeypatch):
    """A program that does not use it pays nothing; one that wants it is told what to install."""
    code = "import sys; from tfpipeline.serving.client import PredictClient; PredictClient('h:1', model='m'); print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation", None)
    assert telemetry.find(None) is None
    with pytest.raises(InputError, match="install it: pip install opentelemetry-instrumentation-grpc"):
        telemetry.find(True)


def test_health(connect):
    client = connect("m")
    assert client.health() is Health.SERVING
    assert client.health("sick") is Health.NOT_SERVING
    with pytest.raises(NotFoundError) as caught:
        client.health("unknown")
    assert "has no such service (health, " in str(caught.value)
    assert str(caught.value).endswith('; ask for "", the server as a whole')
    with pytest.raises(InputError, match='service is int; give a name, or "" for the whole server'):
        client.health(3)
