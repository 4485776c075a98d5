"""A server in a process of its own, and both clients behind one face."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tfpipeline.serving.client import TLS, AsyncPredictClient, PredictClient

HERE = Path(__file__).parent


@dataclasses.dataclass
class Server:
    target: str
    tls_target: str
    tls: TLS


class Awaited:
    """An AsyncPredictClient, called without await, from any thread: its loop runs in a thread of its own."""

    def __init__(self, *args, **options):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._client = AsyncPredictClient(*args, **options)
        self._thread.start()

    def __getattr__(self, name):
        attribute = getattr(self._client, name)
        if name == "predict_stream":
            return lambda *args, **options: asyncio.run_coroutine_threadsafe(
                _listed(attribute, *args, **options), self._loop
            ).result(60)
        if not inspect.iscoroutinefunction(attribute):
            return attribute
        return lambda *args, **options: asyncio.run_coroutine_threadsafe(
            attribute(*args, **options), self._loop
        ).result(60)

    def finish(self):
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _listed(function, *args, **options):
    return [value async for value in function(*args, **options)]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """One self-signed certificate for the name "model.test": the server's, the client's and the root."""
    openssl = shutil.which("openssl")
    assert openssl, "these tests make a certificate with openssl: install it"
    folder = tmp_path_factory.mktemp("tls")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=model.test"
    subprocess.run(
        [
            openssl,
            *command.split(),
            "-addext",
            "subjectAltName=DNS:model.test",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="session")
def server(certificates):
    certificate, key = certificates
    process = subprocess.Popen(
        [sys.executable, HERE / "fake_server.py", certificate, key, certificate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        ports = json.loads(process.stdout.readline())
        tls = TLS(root=certificate, certificate=certificate, key=key.read_bytes(), server_name="model.test")
        yield Server(f"127.0.0.1:{ports['port']}", f"localhost:{ports['tls_port']}", tls)
        process.stdin.close()
        process.wait(30)


@pytest.fixture(params=["sync", "async"])
def connect(request, server):
    """``connect(model, target=..., **options)``: a client of either kind, closed after the test."""
    clients = []

    def make(model, target=server.target, **options):
        client = (PredictClient if request.param == "sync" else Awaited)(target, model=model, **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
        if isinstance(client, Awaited):
            client.finish()


class DroppingProxy:
    """Forwards to the server, but closes the first connections as soon as a byte arrives on them."""

    def __init__(self, target, drop=0, port=0):
        self._target = target
        self._drop = drop
        self.dropped = 0
        self._sockets = [socket.create_server(("127.0.0.1", port))]
        self.target = f"127.0.0.1:{self._sockets[0].getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                near, _ = self._sockets[0].accept()
            except OSError:
                return
            if self.dropped < self._drop:
                near.recv(1)
                near.close()
                self.dropped += 1
                continue
            host, _, port = self._target.rpartition(":")
            far = socket.create_connection((host, int(port)))
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._forward, args=(source, sink)))
                self._threads[-1].start()

    @staticmethod
    def _forward(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def cut(self):
        """Close every connection, keep listening."""
        for connection in self._sockets[1:]:
            with contextlib.suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._sockets[0].shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        for connection in self._sockets:
            connection.close()


@pytest.fixture
def make_proxy(server):
    """``make_proxy(drop=0, port=0)``: a way to the server that loses connections."""
    proxies = []

    def make(**options):
        proxies.append(DroppingProxy(server.target, **options))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()
