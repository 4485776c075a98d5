"""What the HTTP ports of the embedded server answer: the REST API, the metrics, or both on one port."""

from __future__ import annotations

import time
from typing import Optional

from tfpipeline.serving.server.http_server import HttpServer, Request, Response
from tfpipeline.serving.server.metrics import METRICS_TYPE, ServerMetrics
from tfpipeline.serving.server.options import METRICS_PATH, ServerOptions
from tfpipeline.serving.server.rest import responses
from tfpipeline.serving.server.rest.api import RestApi
from tfpipeline.serving.server.sockets import bind

_JSON = {"content-type": "application/json"}


class HttpPorts:
    """The ports of the REST API and of the metrics.

    Args:
        options: the host, the ports and the number of threads.
        api: answers REST requests.
        metrics: counts them.
    """

    def __init__(self, options: ServerOptions, api: RestApi, metrics: ServerMetrics) -> None:
        self._options = options
        self._api = api
        self._metrics = metrics
        self._servers: list[HttpServer] = []
        #: The ports, once started; None if there is none.
        self.rest_port: Optional[int] = None
        self.metrics_port: Optional[int] = None

    def start(self) -> None:
        """Listen on both. The port of the REST API also has the metrics, as in TensorFlow Serving.

        Raises:
            UserError: an address cannot be used.
        """
        options = self._options
        if options.rest_port is not None:
            self.rest_port = self.metrics_port = self._listen("--rest-port", options.rest_port)
        if options.metrics_port is not None and (options.metrics_port or None) != options.rest_port:
            self.metrics_port = self._listen("--metrics-port", options.metrics_port)

    def stop(self, grace: float) -> None:
        """Let running requests finish, at most `grace` seconds, and end all threads."""
        for server in self._servers:
            server.stop(grace)
        self._servers.clear()

    def _listen(self, option: str, port: int) -> int:
        rest = option == "--rest-port"

        def answer(request: Request) -> Response:
            if request.path == METRICS_PATH:
                return Response(200, self._metrics.text(), {"content-type": METRICS_TYPE})
            if rest and self._api.serves(request.path):
                return self._rest(request)
            there = "the REST API is at /v1/models/NAME" if rest else f"the metrics are at {METRICS_PATH}"
            return _refuse(404, f"There is nothing at {request.path}; {there}")

        threads = self._options.threads if rest else 1
        listener = bind(self._options.host, port, option)
        name = "REST" if rest else "metrics"
        server = HttpServer(listener, answer, _refuse, threads=threads, name=name)
        self._servers.append(server)
        server.start()
        return server.port

    def _rest(self, request: Request) -> Response:
        start = time.perf_counter()
        origin = request.headers.get("origin", "")
        path = f"{request.path}?{request.query}" if request.query else request.path
        answer = self._api.answer(request.method, path, request.body, origin, request.alive)
        seconds = time.perf_counter() - start
        self._metrics.answered(answer.model, answer.method, "REST", answer.code, seconds)
        return Response(answer.status, answer.body.encode("utf-8", "surrogateescape"), _JSON)


def _refuse(status: int, message: str) -> Response:
    return Response(status, responses.error(message).encode("utf-8", "surrogateescape"), _JSON)
