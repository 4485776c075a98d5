"""A server in a process of its own, and both clients behind one face."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import shutil
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
