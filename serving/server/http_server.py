"""An HTTP server in a thread of its own: REST and metrics of the embedded server.

Uvicorn reads and writes. A request gets a thread of the pool only once it is there as a whole, so slow
callers hold no thread.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import uvicorn

from tfpipeline.errors import UserError

#: The longest body of a request, compressed and not.
MAX_BODY_BYTES = 256 * 2**20
# How long a caller may take to send the next part of a request, or to read the next part of an answer.
_STALL_SECONDS = 60.0
_MAX_HEADER_BYTES = 64 * 2**10
_START_SECONDS = 30.0
_ADDRESS = re.compile("https?://[^/]*", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """A whole request.

    Args:
        method: GET, POST, ...
        path: as sent: percent-encoded, without the query, and without a host before it.
        query: as sent, without the question mark.
        headers: lower-case name -> value.
        body: decompressed.
        alive: whether the caller still waits.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    alive: Callable[[], bool]


@dataclass(frozen=True)
class Response:
    """An answer; lengths and dates are added when it is sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class _Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpServer:
    """Answers HTTP requests on one address.

    Args:
        listener: a bound socket; it is closed with the server.
        answer: called in a thread of the pool.
        refuse: (status, message) -> the answer to a request that cannot be read.
        threads: the maximum number of requests that are answered at once; others wait.
        name: names its threads.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[Request], Response],
        refuse: Callable[[int, str], Response],
        *,
        threads: int,
        name: str,
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._refuse = refuse
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=f"calls to {name}")
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(_STALL_SECONDS * 1000))
        config = uvicorn.Config(
            self._app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            backlog=1024,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._error: Optional[BaseException] = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Return when it accepts connections.

        Raises:
            UserError: it cannot listen.
        """
        port = self.port
        self._thread.start()
        end = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                self.stop(0)
                raise UserError(f"cannot listen on port {port}: {self._error}; choose another")
            time.sleep(0.005)

    def stop(self, grace: float) -> None:
        """Accept nothing more, let running requests finish, and end all threads.

        Args:
            grace: seconds after which connections are closed whatever they wait for.
        """
        self._server.config.timeout_graceful_shutdown = max(1, round(grace)) if grace else 0
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:  # noqa: BLE001 - told by start()
            self._error = error

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        gone = threading.Event()
        try:
            body = await _body(receive, headers)
        except _Refusal as refusal:
            response = self._refuse(refusal.status, str(refusal))
            await _send(send, scope, response, {"connection": "close"})
            return
        except ConnectionError:
            return
        request = Request(
            scope["method"],
            _path(scope["raw_path"].partition(b"?")[0].decode("latin-1")),
            scope["query_string"].decode("latin-1"),
            headers,
            body,
            lambda: not gone.is_set(),
        )
        watch = asyncio.ensure_future(_watch(receive, gone))
        try:
            loop = asyncio.get_running_loop()
            response = await loop.run_in_executor(self._pool, self._answer, request)
        finally:
            watch.cancel()
        if not gone.is_set():
            await _send(send, scope, response, {})


def _path(target: str) -> str:
    """The path of a request's target, which may be a whole address (RFC 9112, section 3.2.2)."""
    address = _ADDRESS.match(target)
    return (target[address.end() :] or "/") if address else target


async def _body(receive: Any, headers: Mapping[str, str]) -> bytes:
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_long()
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            message = await asyncio.wait_for(receive(), _STALL_SECONDS)
        except asyncio.TimeoutError as error:
            raise _Refusal(408, f"No part of the request arrived for {_STALL_SECONDS:g} s") from error
        if message["type"] == "http.disconnect":
            raise ConnectionError("the caller has gone")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise _too_long()
        if not message.get("more_body"):
            break
    body = b"".join(parts)
    if "gzip" not in headers.get("content-encoding", ""):
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise _Refusal(400, f"The body is not valid gzip ({error})") from error
    if unpacker.unconsumed_tail:
        raise _too_long()
    if not unpacker.eof:
        raise _Refusal(400, "The body is not valid gzip (it ends too early)")
    if unpacker.unused_data:
        raise _Refusal(400, "The body is not valid gzip (something follows its end)")
    return unpacked


def _too_long() -> _Refusal:
    megabytes = MAX_BODY_BYTES // 2**20
    return _Refusal(413, f"The body is longer than {megabytes} MB; send fewer rows at once, or use gRPC")


async def _watch(receive: Any, gone: threading.Event) -> None:
    """Note when the caller closes the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _send(send: Any, scope: Any, response: Response, headers: Mapping[str, str]) -> None:
    fields = {**response.headers, **headers, "content-length": str(len(response.body))}
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
        }
    )
    body = b"" if scope["method"] == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})
