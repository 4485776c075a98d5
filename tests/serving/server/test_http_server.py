"""The HTTP server alone: whole requests, slow and broken callers, and how it ends. No TensorFlow runs."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tfpipeline.serving.server import http_server
from tfpipeline.serving.server.http_server import HttpServer, Request, Response
from tfpipeline.serving.server.sockets import bind


def refuse(status, message):
    return Response(status, message.encode())


@pytest.fixture
def serve():
    """(answer, threads=1) -> a started server; all are stopped."""
    servers = []

    def serve(answer, threads=1):
        server = HttpServer(bind("127.0.0.1", 0), answer, refuse, threads=threads, name="tests")
        servers.append(server)
        server.start()
        return server

    yield serve
    for server in servers:
        server.stop(0)


def echo(request: Request) -> Response:
    return Response(200, f"{request.method} {request.path} {request.query} ".encode() + request.body)


def ask(server, method="GET", path="/", body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def open_connection(server, sent=b""):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(sent)
    return connection


def test_a_request_arrives_as_it_was_sent(serve):
    server = serve(echo)
    assert ask(server, "POST", "/a%2fb?c=%20d", b"\x00body") == (200, b"POST /a%2fb c=%20d \x00body")
    assert ask(server, "PUT", "/", gzip.compress(b"long" * 9), {"Content-Encoding": "gzip"}) == (
        200,
        b"PUT /  " + b"long" * 9,
    )
    assert ask(server, "HEAD", "/") == (200, b"")
    # In parts, of which the server cannot know the length before.
    parts = iter([b"one ", b"two"])
    assert ask(server, "POST", "/", parts) == (200, b"POST /  one two")
    # With the whole address, as to a proxy.
    assert ask(server, "GET", "HTTP://example.com:8501/a?b=http://c/d") == (200, b"GET /a b=http://c/d ")
    assert ask(server, "GET", "http://example.com") == (200, b"GET /  ")


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"x" * 2001, {}, 413, b"The body is longer than 0 MB; send fewer rows at once, or use gRPC"),
        (iter([b"x" * 1500] * 2), {}, 413, b"The body is longer than"),
        (gzip.compress(b"x" * 2001), {"Content-Encoding": "gzip"}, 413, b"The body is longer than"),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400, b"The body is not valid gzip ("),
        (gzip.compress(b"x")[:-9], {"Content-Encoding": "gzip"}, 400, b"The body is not valid gzip ("),
        (
            gzip.compress(b"x") * 2,
            {"Content-Encoding": "gzip"},
            400,
            b"The body is not valid gzip (something",
        ),
    ],
    # gzip writes the time into its header, so a name made of the body would differ between workers.
    ids=["long", "long in parts", "long when unpacked", "no gzip", "cut gzip", "two gzips"],
)
def test_a_body_that_is_too_long_or_broken_is_refused(serve, monkeypatch, body, headers, status, message):
    monkeypatch.setattr(http_server, "MAX_BODY_BYTES", 2000)
    server = serve(echo)
    got, answer = ask(server, "POST", "/", body, headers)
    assert got == status
    assert answer.startswith(message)
    assert ask(server) == (200, b"GET /  ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff" * 500 + b"\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(serve, sent):
    server = serve(echo)
    with open_connection(server, sent) as connection:
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:  # it closes before it has read everything
            pass
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert ask(server) == (200, b"GET /  ")


def test_unfinished_requests_and_slow_readers_hold_no_thread(serve):
    big = b"x" * 20_000_000  # more than the sockets' buffers hold
    server = serve(lambda request: Response(200, big if request.path == "/big" else b"small"), threads=1)
    waiting = [open_connection(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le") for _ in range(50)]
    waiting += [
        open_connection(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        for _ in range(50)
    ]
    waiting += [open_connection(server, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
    try:
        assert ask(server) == (200, b"small")
        # A reader who comes back gets everything, in order.
        with waiting.pop() as slow:
            response = http.client.HTTPResponse(slow)
            response.begin()
            assert response.read() == big
    finally:
        for connection in waiting:
            connection.close()


def test_a_request_that_stalls_is_told_so(serve, monkeypatch):
    monkeypatch.setattr(http_server, "_STALL_SECONDS", 0.2)
    server = serve(echo)
    with open_connection(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc") as connection:
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"No part of the request arrived for 0.2 s")


def test_the_answer_can_see_that_the_caller_has_gone(serve):
    here, seen = threading.Event(), threading.Event()

    def answer(request):
        here.set()
        while request.alive():
            time.sleep(0.01)
        seen.set()
        return Response(200, b"late")

    server = serve(answer)
    with open_connection(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        assert here.wait(10)
        assert not seen.wait(0.1)
    assert seen.wait(10)


def test_running_requests_finish_when_it_stops_and_threads_end(serve):
    before = set(threading.enumerate())
    entered, go = threading.Semaphore(0), threading.Event()

    def answer(request):
        entered.release()
        assert go.wait(20)
        return Response(200, b"done")

    server = serve(answer, threads=2)
    half_open = open_connection(server, b"GET / HT")
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(ask, server) for _ in range(2)]
        for _ in running:
            entered.acquire()
        stopped = pool.submit(server.stop, 20)
        time.sleep(0.3)
        assert not stopped.done()
        go.set()
        assert [one.result(20) for one in running] == [(200, b"done")] * 2
        stopped.result(20)
    half_open.close()
    with pytest.raises(OSError):
        open_connection(server)
    assert set(threading.enumerate()) <= before


def test_an_error_of_ours_is_an_internal_error_and_ends_nothing(serve, caplog):
    def answer(request):
        if request.path == "/bad":
            raise ValueError("a bug")
        return Response(200, b"fine")

    server = serve(answer)
    assert ask(server, path="/bad")[0] == 500
    assert "a bug" in caplog.text  # with its traceback, for us
    assert ask(server) == (200, b"fine")
