"""Bad input on both ports of the embedded server: a clear refusal, and everyone else is answered as before."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfpipeline.serving.server import EmbeddedServer, embedded, make_options

CODE = grpc.StatusCode
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
METHOD = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def server(saved_models, tmp_path_factory):
    """One server for all tests of this module, with fewer threads than bad callers."""
    model_dir = tmp_path_factory.mktemp("bad") / "m"
    model_dir.mkdir()
    (model_dir / "1").symlink_to(saved_models / "plus2")
    options = make_options(model_dir, port=0, rest_port=0, threads=4)
    with EmbeddedServer(options, say=lambda sentence: None) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(autouse=True)
def others_are_answered(server, channel):
    """After every test, both ports answer, and no thread is stuck."""
    yield
    for _ in range(8):  # twice the number of threads
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
        assert list(answer.outputs["y"].float_val) == [3.0]
        assert post(server, b'{"instances": [2]}') == (200, {"predictions": [3.0]})


def post(server, body, path="/v1/models/m:predict", headers=None):
    connection = http.client.HTTPConnection(server.rest_address, timeout=20)
    try:
        connection.request("POST", path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def predict(channel, name="m", signature="", metadata=(), **inputs):
    """The outputs as arrays, or (code, details)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    try:
        answer = stub.Predict(request, timeout=20, metadata=metadata)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return {alias: tf.make_ndarray(value) for alias, value in answer.outputs.items()}


def raw(channel, message):
    """The refusal of a message of any bytes."""
    call = channel.unary_unary(METHOD, request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20)
    return caught.value.code()


def connect(address, sent=b""):
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(sent)
    return connection


def received(connection, until=b""):
    """Everything until the connection is closed, or a mark has arrived."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            got += part
            if until and until in got:
                break
    return got


def frame(kind, payload=b"", flags=0, stream=0):
    """One frame of HTTP/2 (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def call_headers():
    """The headers of a Predict call, not compressed (RFC 7541, section 6.2.2)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": "m",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    return frame(HEADERS, block, flags=4, stream=1)


def garbage(number):
    rng = random.Random(number)
    return [
        rng.randbytes(rng.randrange(1, 5000)),
        PREFACE + rng.randbytes(rng.randrange(1, 5000)),
        PREFACE + frame(SETTINGS) + rng.randbytes(rng.randrange(1, 5000)),
        PREFACE + frame(SETTINGS) + call_headers() + frame(DATA, rng.randbytes(300), 1, 1),
        b"GET / HTTP/1.1\r\nHost: m\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\n" + rng.randbytes(3000) + b"\r\n\r\n",
    ][number % 6]


@pytest.mark.parametrize("port", ["address", "rest_address"])
def test_garbage_bytes(server, port):
    for number in range(12):
        with connect(getattr(server, port), garbage(number)) as connection:
            connection.shutdown(socket.SHUT_WR)
            received(connection)


def test_messages_that_are_no_messages(server, channel, caplog):
    rng = random.Random(5)
    for size in (1, 10, 1000, 100_000):
        assert raw(channel, b"\xff" + rng.randbytes(size)) == CODE.INTERNAL
        status, answer = post(server, b"\xff" + rng.randbytes(size))
        assert status == 400
        assert answer["error"].startswith("JSON Parse error: ")
    assert caplog.text == ""  # callers cannot fill the log


def test_a_message_that_claims_four_gigabytes_is_refused_before_it_is_read(server):
    size = b"\x00" + (2**32 - 1).to_bytes(4, "big")
    sent = PREFACE + frame(SETTINGS) + call_headers() + frame(DATA, size + b"x" * 100, 0, 1)
    with connect(server.address, sent) as connection:
        answer = received(connection, until=b"larger than max")
    assert b"Received message larger than max (4294967295 vs. 2147483647)" in answer

    sent = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 4294967295\r\n\r\n"
    with connect(server.rest_address, sent) as connection:
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error": "The body is longer than 256 MB; send fewer rows at once, or use gRPC"' in answer


def test_headers_that_are_too_long(server, channel):
    code, details = predict(channel, metadata=[("long", "x" * 100_000)], x=[1.0])
    assert code == CODE.RESOURCE_EXHAUSTED
    assert "metadata size exceeds" in details
    sent = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nLong: " + b"x" * 1_000_000 + b"\r\n\r\n"
    with connect(server.rest_address, sent) as connection:
        assert received(connection)[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b"")


def tensor(dtype, *shape, **fields):
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "code", "details"),
    [
        (tf.make_tensor_proto(["a"]), CODE.INVALID_ARGUMENT, "string"),
        (tf.make_tensor_proto([1]), CODE.INVALID_ARGUMENT, "int32"),
        (tensor_pb2.TensorProto(dtype=9999), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        (tensor_pb2.TensorProto(), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        (tensor(tf.float32, -3, float_val=[1]), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        (tensor(tf.float32, 2**62, 2**62), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        # The last value is repeated: a few bytes that ask for all of the memory.
        (tensor(tf.float32, 2**40, float_val=[1]), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        (tensor(tf.float32, 2**30, float_val=[1]), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        (tensor(tf.string, 2**28, string_val=[b""]), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        (tensor(tf.float32, 3, tensor_content=b"12345"), CODE.INVALID_ARGUMENT, "tensor parsing error: x"),
        (tensor(tf.resource, 1), CODE.INVALID_ARGUMENT, "x"),
        (tensor(tf.variant, 1), CODE.INVALID_ARGUMENT, "x"),
    ],
)
def test_tensors_that_are_none(channel, proto, code, details):
    got = predict(channel, x=proto)
    assert isinstance(got, tuple), got
    assert got[0] == code
    assert details in got[1]


def test_nan_goes_through_and_an_empty_batch_is_empty(server, channel):
    (answer,) = predict(channel, x=[np.nan, np.inf, 2.0]).values()
    np.testing.assert_array_equal(answer, np.float32([np.nan, np.inf, 3.0]))
    assert predict(channel, x=np.zeros([0], np.float32))["y"].shape == (0,)
    assert predict(channel, signature="upper", text=tensor(tf.string, 0))["upper"].shape == (0,)
    status, answer = post(server, b'{"inputs": [NaN, 2]}')
    assert (status, str(answer)) == (200, "{'outputs': [nan, 3.0]}")
    assert post(server, b'{"inputs": []}') == (200, {"outputs": []})
    assert post(server, b'{"instances": []}')[0] == 400


def test_bytes_that_are_not_utf8(server, channel):
    text = [b"\xff\xfea", b"\x00b", b"\xed\xa0\x80"]
    assert predict(channel, signature="upper", text=text)["upper"].tolist() == [
        b"\xff\xfeA",
        b"\x00B",
        b"\xed\xa0\x80",
    ]
    # As the name of a model, which is a string of protobuf: field 1 of the message, field 1 of the spec.
    assert raw(channel, b"\x0a\x04\x0a\x02\xff\xfe") == CODE.INTERNAL


NAMES = ["..", "../m", "/etc/passwd", "m/1", "m\0", "%2e%2e", "m;rm", "M", "x" * 100_000]


@pytest.mark.parametrize("name", NAMES, ids=[name[:12] for name in NAMES])
def test_path_tricks_in_names(server, channel, name):
    code, details = predict(channel, name=name, x=[1.0])
    assert code == CODE.NOT_FOUND
    assert details.startswith("Servable not found for request: Latest(")
    assert len(details) < 1100


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "/v1/models/../../../etc/passwd",
        "/v1/models/m/versions/../1",
        "/v1/models/m%00",
        "/v1/models//m",
        "/v1/models/m/versions/-1:predict",
        "/v1/models/m/labels/..%2f1:predict",
        "/v1//models/m:predict",
        "//v1/models/m:predict",
        "/v1/models/" + "a/" * 5000,
    ],
)
def test_path_tricks_in_paths(server, path):
    status, answer = post(server, b'{"instances": [2]}', path)
    assert status in (400, 404)
    assert list(answer) == ["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"instances": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}",
        b'{"instances": [' + b"1" * 5000 + b"]}",
        b'{"instances": [1e99999]}',
        b'{"signature_name": "' + b"n" * 100_000 + b'", "instances": [1]}',
        b'{"instances": [{"' + b"k" * 100_000 + b'": 1}]}',
        b"{" + b",".join(b'"%d": 1' % i for i in range(20_000)) + b"}",
    ],
    ids=range(8),
)
def test_json_made_to_hurt(server, body):
    start = time.monotonic()
    status, answer = post(server, body)
    assert status == 400
    assert len(answer["error"]) < 500_000
    assert time.monotonic() - start < 10


def test_a_hundred_half_open_connections_on_each_port(server):
    starts = [
        (server.address, b""),
        (server.address, PREFACE[:9]),
        (server.address, PREFACE + frame(SETTINGS)),
        (server.address, PREFACE + frame(SETTINGS) + call_headers()),
        (server.rest_address, b""),
        (server.rest_address, b"POST /v1/models/m:pre"),
        (server.rest_address, b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\n"),
        (server.rest_address, b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 9\r\n\r\n{"),
    ]
    with contextlib.ExitStack() as stack:
        for address, sent in starts * 25:
            stack.enter_context(connect(address, sent))
        assert post(server, b'{"instances": [2]}') == (200, {"predictions": [3.0]})
        with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as new:
            assert predict(new, x=[2.0])["y"].tolist() == [3.0]


def test_a_call_whose_caller_does_not_answer_is_given_up(tmp_path, publish, monkeypatch):
    quick = {"grpc.keepalive_time_ms": 1000, "grpc.http2.ping_timeout_ms": 500}
    options = [(name, quick.get(name, value)) for name, value in embedded.GRPC_OPTIONS]
    monkeypatch.setattr(embedded, "GRPC_OPTIONS", options)
    model_dir = publish(tmp_path / "m", 1)
    with EmbeddedServer(make_options(model_dir, port=0), say=lambda sentence: None) as one:
        with connect(one.address, PREFACE + frame(SETTINGS) + call_headers()) as connection:
            start = time.monotonic()
            received(connection)  # until it is closed
        assert 0.5 < time.monotonic() - start < 15


def test_slow_readers_hold_up_nobody(server):
    text = b"a" * 8_000_000  # more than the sockets' buffers hold
    body = b'{"signature_name": "upper", "inputs": ["' + text + b'"]}'
    sent = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(server.rest_address, sent)) for _ in range(4)]
        assert post(server, b'{"instances": [2]}') == (200, {"predictions": [3.0]})
        for connection in slow:  # nothing of their answers is lost
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert json.loads(response.read()) == {"outputs": [text.upper().decode()]}


@pytest.mark.soak
def test_good_callers_never_notice_bad_ones(server, channel):
    """For a minute, 8 good callers beside 8 bad ones: every good call is answered, and memory stays bounded."""
    end = time.monotonic() + 60
    counts = {"good": 0, "bad": 0}
    lock = threading.Lock()

    def count(kind):
        with lock:
            counts[kind] += 1

    def good(number):
        while time.monotonic() < end:
            x = float(number)
            answer = predict(channel, x=[x, -x]) if number % 2 else post(server, b'{"inputs": [%d]}' % number)
            if number % 2 and isinstance(answer, tuple) and answer[0] == CODE.RESOURCE_EXHAUSTED:
                time.sleep(0.01)  # more callers than threads: told so, and asks again
                continue
            if number % 2:
                assert answer["y"].tolist() == [x / 2 + 2, 2 - x / 2]
            else:
                assert answer == (200, {"outputs": [x / 2 + 2]})
            count("good")

    def bad(number):
        turn = number
        while time.monotonic() < end:
            address = server.address if turn % 2 else server.rest_address
            with contextlib.suppress(OSError), connect(address, garbage(turn)) as connection:
                if turn % 5:
                    connection.shutdown(socket.SHUT_WR)
                    received(connection)
            turn += 1
            count("bad")

    def resident():
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    before = resident()
    with ThreadPoolExecutor(16) as pool:
        for one in [pool.submit(work, number) for number in range(8) for work in (good, bad)]:
            one.result()
    assert counts["good"] > 1000
    assert counts["bad"] > 1000
    assert resident() - before < 200
