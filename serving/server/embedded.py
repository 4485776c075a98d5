"""The embedded development server: TensorFlow Serving's gRPC and REST APIs, in this process.

It needs only Python packages, so it runs in tests, and on a laptop without `tensorflow_model_server`. It is
for development: Python, one process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Optional

import grpc

from tfpipeline.console import say as say_to_user
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.runtime import import_tensorflow
from tfpipeline.serving.server.concurrency import SPARE_THREADS, PredictionLimit
from tfpipeline.serving.server.model_config import ModelConfig
from tfpipeline.serving.server.options import DRAIN_SECONDS, ServerOptions
from tfpipeline.serving.server.rollout import Rollout
from tfpipeline.serving.server.sockets import free_port, join_host_port
from tfpipeline.serving.server.tls import Tls, plain_ports, read_tls

GRPC_OPTIONS = (
    # As in TensorFlow Serving: gRPC's default of 4 MB is less than a batch of embeddings.
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_send_message_length", 2**31 - 1),
    # A connection with a call is closed if its other end does not answer for 80 s. keepalive_timeout_ms alone
    # closes nothing: gRPC core waits for ping_timeout_ms.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.so_reuseport", 0),  # otherwise two servers may silently share a port and answer alternately
)
_TICK_SECONDS = 0.05


class EmbeddedServer:
    """Serves models; use it as a context manager, or call :meth:`start` and :meth:`stop`.

        with EmbeddedServer(make_options("models/sentiment", port=0)) as server:
            print(server.address)

    Args:
        options: what to serve and where.
        say: called with one sentence when a version is loaded, unloaded, or cannot be loaded, or a label
            moves.
        stopping: if it is set while the first versions load, :meth:`start` gives up.
    """

    def __init__(
        self,
        options: ServerOptions,
        *,
        say: Callable[[str], None] = say_to_user,
        stopping: Optional[threading.Event] = None,
    ) -> None:
        self._options = options
        self._say = say
        self._stopping = stopping or threading.Event()
        self._server: Any = None
        self._executor: Optional[ThreadPoolExecutor] = None
        self._models: Any = None
        self._metrics: Any = None
        self._health: Any = None
        self._http: Any = None
        self._rollout = Rollout(options, say, whole_only=False)
        self._follower: Optional[threading.Thread] = None
        self._ending = threading.Event()
        #: The port it listens on, once started.
        self.port = options.port

    @property
    def address(self) -> str:
        """``host:port`` for a client."""
        return join_host_port(self._options.host, self.port)

    @property
    def rest_address(self) -> Optional[str]:
        """``host:port`` of the REST API, once started; None without one."""
        return self._http_address("rest_port")

    @property
    def metrics_address(self) -> Optional[str]:
        """``host:port`` of the metrics, once started; None without any."""
        return self._http_address("metrics_port")

    def start(self) -> EmbeddedServer:
        """Load the models, then listen. Returns when the server is ready.

        Raises:
            UserError: there is nothing to serve, it cannot be loaded, or the address cannot be used.
            MissingExtraError: TensorFlow or tensorflow-serving-api is not installed.
        """
        options = self._options
        configs = self._rollout.first()
        tls = read_tls(options.tls_key, options.tls_certificate, options.tls_ca)
        for option, port in options.ports.items():
            free_port(options.host, port, option)
        self.port = options.port or free_port(options.host, 0)
        with explain_missing_extra("serve"):
            import_tensorflow()
            # Imported here so that a missing package is reported before the models are loaded.
            from tfpipeline.serving.server import health, http_ports  # noqa: F401
            from tfpipeline.serving.server.metrics import ServerMetrics
            from tfpipeline.serving.server.models import Models
            from tfpipeline.serving.server.warmup import load_warm

        ending = self._ending = threading.Event()

        def load(path: Path) -> Any:
            return load_warm(path, lambda: ending.is_set() or self._stopping.is_set())

        self._metrics = ServerMetrics(lambda name: name in self._models.configs(), self._states)
        self._models = Models(options, self._metrics.loading(load), self._say, self._metrics.waited)
        try:
            self._models.begin(configs)
            while not self._models.loaded() and not self._stopping.wait(_TICK_SECONDS):
                pass
            if not self._stopping.is_set():
                for config in configs:
                    self._check_versions(config)
                self._listen(tls)
                if self._options.poll_seconds:
                    self._follower = threading.Thread(
                        target=self._follow, args=(ending,), name="configuration", daemon=True
                    )
                    self._follower.start()
        except BaseException:
            self.stop(grace=0)
            raise
        return self

    def models(self) -> dict[str, list[int]]:
        """The models by name, each with the versions being served, newest first."""
        return {name: self._models.available(name) for name in self._models.configs()} if self._models else {}

    def versions(self, name: Optional[str] = None) -> list[int]:
        """The versions of a model that are being served, newest first.

        Args:
            name: the model; None for the only one.
        """
        models = self.models()
        return models.get(name, []) if name is not None else next(iter(models.values()), [])

    def stop(self, grace: float = DRAIN_SECONDS) -> None:
        """Refuse new calls, let running ones finish, unload the versions, and end all of the server's
        threads.

        Args:
            grace: seconds after which running calls are cancelled.
        """
        if self._health is not None:
            self._health.stop()
            self._health = None
        stopped = self._server.stop(grace) if self._server is not None else None
        if self._http is not None:
            self._http.stop(grace)
            self._http = None
        if stopped is not None:
            stopped.wait()
            self._server = None
        if self._models is not None:
            self._models.stop_waiting()
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None
        self._ending.set()  # a version that is loading does not finish its warm-up
        if self._models is not None:
            self._models.stop()
        if self._follower is not None:
            self._follower.join()
            self._follower = None
        self._models = None

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _follow(self, ending: threading.Event) -> None:
        """Bring labels, directories and the configuration file to the running models."""
        from tfpipeline.serving.server.status import StatusError
        from tfpipeline.serving.server.versions import first_line

        while not ending.wait(self._options.poll_seconds):
            configs = self._rollout.next(self._models.available)
            if configs is None:
                continue
            try:
                self._models.reload(configs)
            except StatusError as error:
                self._rollout.refused(first_line(error.message))
            else:
                self._rollout.applied(configs)

    def _check_versions(self, config: ModelConfig) -> None:
        from tfpipeline.serving.server.versions import first_line

        failed = self._models.problems(config.name)
        if self._models.available(config.name):
            for number, error in failed:
                self._say(
                    f"version {number} of {config.name} cannot be loaded ({first_line(error.message)}); the "
                    "others are being served"
                )
            return
        if not failed:  # removed after the check
            raise UserError(f"{config.base_path} has no version to serve any more; export the model again")
        number, error = failed[0]
        raise UserError(
            f"version {number} of {config.name} in {config.base_path} cannot be loaded: "
            f"{first_line(error.message)}; export it again or move the directory {number} away"
        )

    def _listen(self, tls: Optional[Tls]) -> None:
        from tfpipeline.serving.server.health import add_health, add_reflection
        from tfpipeline.serving.server.http_ports import HttpPorts
        from tfpipeline.serving.server.metrics import CallCounter
        from tfpipeline.serving.server.parsing import QuietParsing
        from tfpipeline.serving.server.rest.api import RestApi
        from tfpipeline.serving.server.services import add_services

        options = self._options
        self._executor = ThreadPoolExecutor(
            max_workers=options.calls_at_once + SPARE_THREADS, thread_name_prefix="calls"
        )
        server = grpc.server(
            self._executor,
            options=_grpc_options(options),
            interceptors=[
                QuietParsing(),
                CallCounter(self._metrics),
                PredictionLimit(options.calls_at_once, options.threads),
            ],
        )
        services = add_services(server, self._models)
        self._health = add_health(server, lambda: all(self.models().values()))
        add_reflection(server)
        self._server = server
        try:
            if tls is None:
                server.add_insecure_port(self.address)
            else:
                server.add_secure_port(self.address, tls.credentials())
        except RuntimeError as error:  # the port was taken after the check
            free_port(options.host, self.port)  # raises the reason, if it still is
            raise UserError(
                f"cannot listen on {self.address}: {error}; choose another with --port"
            ) from error
        server.start()
        self._http = HttpPorts(options, RestApi(*services), self._metrics)
        self._http.start()
        if tls is not None and self.metrics_address is not None:
            self._say(plain_ports(self.rest_address or self.metrics_address))

    def _states(self) -> Iterator[tuple[str, int, str]]:
        for name in self._models.configs():
            for number, state, _ in self._models.states(name):
                yield name, number, state.name

    def _http_address(self, field: str) -> Optional[str]:
        port = getattr(self._http, field) if self._http is not None else None
        return None if port is None else join_host_port(self._options.host, port)


def _grpc_options(options: ServerOptions) -> list[tuple[str, int]]:
    added = []
    if options.max_connection_age:
        # Calls that are being answered may finish: gRPC's grace is unlimited by default.
        added.append(("grpc.max_connection_age_ms", round(options.max_connection_age * 1000)))
    return [*GRPC_OPTIONS, *added]
