"""The server's options and their checks. Imports no TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from tfpipeline import paths
from tfpipeline.errors import UserError

MAX_PORT = 65535
#: Where an HTTP port has the metrics; TensorFlow Serving's default.
METRICS_PATH = "/monitoring/prometheus/metrics"
#: How long calls in flight may take after Ctrl-C or SIGTERM. Kubernetes kills a container after 30 s.
DRAIN_SECONDS = 20.0
# gRPC counts milliseconds in 32 bits. A comparison with it is false for NaN.
_LONGEST_SECONDS = 1e6


def default_batch_threads() -> int:
    """One batch at a time per two cores: TensorFlow uses both for one batch."""
    return max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True)
class BatchingOptions:
    """How the embedded server batches concurrent requests.

    Args:
        max_rows: the maximum number of rows given to TensorFlow at once; a longer request is split.
        max_tokens: the maximum number of tokens given to TensorFlow at once, unless one row has more. For
            texts, it is estimated from their bytes.
        timeout_seconds: how long the first request of a batch waits for others, from its arrival on. It waits
            only if there were more callers a moment ago, so a single caller never waits. After a batch it
            also waits for that batch's callers, for at most half as long as the batch took.
        max_pending_rows: the maximum number of rows waiting in a queue; above it, requests get UNAVAILABLE.
        parallel: the maximum number of concurrent batches per queue; 0 for one per two cores.
    """

    max_rows: int = 32
    max_tokens: int = 4096
    timeout_seconds: float = 0.002
    max_pending_rows: int = 4096
    parallel: int = 0

    @property
    def batch_threads(self) -> int:
        """The maximum number of concurrent batches per queue."""
        return self.parallel or default_batch_threads()

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise UserError(f"the largest batch is {self.max_rows} rows; give 1 (no batching) or more")
        if self.max_tokens < 1:
            raise UserError(f"the largest batch is {self.max_tokens} tokens; give 1 or more")
        if not 0 <= self.timeout_seconds <= _LONGEST_SECONDS:
            raise UserError(f"the batching timeout is {self.timeout_seconds} s; give 0 or more")
        if self.max_pending_rows < self.max_rows:
            raise UserError(
                f"a queue of {self.max_pending_rows} rows cannot hold one batch of {self.max_rows}; "
                "raise max_pending_rows"
            )


@dataclass(frozen=True)
class ServerOptions:
    """What is served, where and how.

    Args:
        model_dirs: directories `models/NAME` of integer version directories, or directories of such models.
        config: a file in the text format of TensorFlow Serving's `ModelServerConfig`, instead of directories.
        name: what clients call the model, if there is one; empty for the directory's name.
        host: the address to listen on; ``0.0.0.0`` is every IPv4 interface.
        port: the gRPC port; 0 takes a free one (the ready line names it).
        rest_port: the port of the REST API; None for none, 0 for a free one.
        metrics_port: the port of `/monitoring/prometheus/metrics`. `tensorflow_model_server` has it on its
            REST port only. None for none besides the REST port.
        latest_versions: how many of the newest versions are served at once.
        poll_seconds: interval between checks of directories, labels and `config`; 0 checks once, when
            the server starts.
        threads: how many predictions are computed at once.
        max_concurrency: the maximum number of predictions in flight; more get RESOURCE_EXHAUSTED. 0 means
            `threads`; with a higher number, predictions wait for their turn in the embedded server.
            `tensorflow_model_server` has one thread per call.
        max_connection_age: seconds after which a connection is closed once its calls are answered, so that
            clients find new servers; 0 for never.
        tls_key: the server's private key (PEM); with `tls_certificate`, the gRPC port accepts TLS only.
        tls_certificate: the server's certificate chain (PEM).
        tls_ca: certificates (PEM) that sign those of clients, which must then have one (mutual TLS).
        batching: how the embedded server batches.
        batching_file: a `BatchingParameters` file, which enables batching in `tensorflow_model_server`.
        flags: further flags for `tensorflow_model_server`, such as ``--tensorflow_session_parallelism=2``.
    """

    model_dirs: tuple[Path, ...] = ()
    config: Optional[Path] = None
    name: str = ""
    host: str = "127.0.0.1"
    port: int = 8500
    rest_port: Optional[int] = None
    metrics_port: Optional[int] = None
    latest_versions: int = 1
    poll_seconds: float = 1.0
    threads: int = 64
    max_concurrency: int = 0
    max_connection_age: float = 0
    tls_key: Optional[Path] = None
    tls_certificate: Optional[Path] = None
    tls_ca: Optional[Path] = None
    batching: BatchingOptions = BatchingOptions()
    batching_file: Optional[Path] = None
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for port in (self.port, self.rest_port, self.metrics_port):
            if port is not None and not 0 <= port <= MAX_PORT:
                raise UserError(f"port {port} is out of range; give 1 to {MAX_PORT}, or 0 for a free one")
        if self.port and self.port in (self.rest_port, self.metrics_port):
            raise UserError(
                f"port {self.port} cannot be used for gRPC and for REST or metrics; give two different ports"
            )
        if not self.host:
            raise UserError(
                "the host is empty; give 127.0.0.1 (this machine only) or 0.0.0.0 (every interface)"
            )
        if self.latest_versions < 1:
            raise UserError(f"{self.latest_versions} versions cannot be served; give 1 or more")
        if not 0 <= self.poll_seconds <= _LONGEST_SECONDS:
            raise UserError(f"the directory cannot be checked every {self.poll_seconds} s; give 0 or more")
        if self.threads < 1:
            raise UserError(f"{self.threads} threads cannot answer requests; give 1 or more")
        if self.max_concurrency < 0:
            raise UserError(f"{self.max_concurrency} calls at once is not a limit; give 1 or more")
        if not 0 <= self.max_connection_age <= _LONGEST_SECONDS:
            raise UserError(
                f"a connection cannot be closed after {self.max_connection_age:g} s; give 0 (never) to "
                f"{_LONGEST_SECONDS:.0f}"
            )
        self._check_sources()
        self._check_tls()

    @property
    def calls_at_once(self) -> int:
        """The maximum number of calls in flight."""
        return self.max_concurrency or self.threads

    @property
    def ports(self) -> dict[str, int]:
        """The ports that must be free, by their options."""
        given = {"--port": self.port, "--rest-port": self.rest_port, "--metrics-port": self.metrics_port}
        return {option: port for option, port in given.items() if port}

    @property
    def model_dir(self) -> Path:
        """The directory, if there is exactly one."""
        (only,) = self.model_dirs
        return only

    def _check_sources(self) -> None:
        if self.config is not None and self.model_dirs:
            raise UserError(
                "models are given twice: as directories and in --config; give either directories or a "
                "configuration file"
            )
        if self.config is not None and self.latest_versions != 1:
            raise UserError(
                "--latest-versions is for directories; with --config, write model_version_policy { latest { "
                f"num_versions: {self.latest_versions} }} }} into the file"
            )
        if self.config is None and not self.model_dirs:
            raise UserError("there is nothing to serve; give a models/NAME that an export wrote, or --config")
        if self.name and (self.config is not None or len(self.model_dirs) > 1):
            raise UserError(
                "--name names one model, and several are served; leave it out, or name the models in a file "
                "that you give with --config"
            )

    def _check_tls(self) -> None:
        if (self.tls_key is None) != (self.tls_certificate is None):
            missing = "--tls-certificate" if self.tls_certificate is None else "--tls-key"
            raise UserError(f"TLS needs a private key and a certificate; give {missing} as well")
        if self.tls_ca is not None and self.tls_key is None:
            raise UserError(
                "--tls-ca checks the certificates of clients, which needs TLS; give --tls-key and "
                "--tls-certificate as well"
            )


def make_options(
    models: Union[str, Path, Iterable[Union[str, Path]]] = (),
    *,
    config: Union[str, Path, None] = None,
    name: Optional[str] = None,
    **options: Any,
) -> ServerOptions:
    """Make options with absolute paths.

    Args:
        models: one or several directories; see :class:`ServerOptions`.
        config: a configuration file instead of directories.
        name: what clients call the model, if there is one.
        options: the other fields of :class:`ServerOptions`; paths as text or as `Path`.
    Raises:
        UserError: an option has an invalid value.
    """
    given = [models] if isinstance(models, (str, Path)) else list(models)
    directories = tuple(map(_absolute, given))
    for field in ("tls_key", "tls_certificate", "tls_ca", "batching_file"):
        if options.get(field) is not None:
            options[field] = _absolute(options[field])
    return ServerOptions(
        model_dirs=directories,
        config=None if config is None else _absolute(config),
        name=name or "",
        **options,
    )


def _absolute(path: Union[str, Path]) -> Path:
    # Not resolve(): for a symbolic link such as models/current, the link's own name counts.
    return Path(os.path.abspath(paths.local(path)))
