"""The server's options and their checks. Imports no TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from tfpipeline import paths
from tfpipeline.errors import UserError

MAX_PORT = 65535


def default_batch_threads() -> int:
    """One batch at a time per two cores: TensorFlow uses both for one batch."""
    return max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True)
class BatchingOptions:
    """How the embedded server batches concurrent requests.

    Args:
        max_rows: the maximum number of rows given to TensorFlow at once; a longer request is split.
        timeout_seconds: how long the first request of a batch waits for others. It waits only while other
            requests are in progress, so a single caller never waits.
        max_pending_rows: the maximum number of rows waiting in a queue; above it, requests get UNAVAILABLE.
        parallel: the maximum number of concurrent batches per queue.
    """

    max_rows: int = 64
    timeout_seconds: float = 0.002
    max_pending_rows: int = 4096
    parallel: int = 0

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise UserError(f"the largest batch is {self.max_rows} rows; give 1 (no batching) or more")
        if self.timeout_seconds < 0:
            raise UserError(f"the batching timeout is {self.timeout_seconds} s; give 0 or more")
        if self.max_pending_rows < self.max_rows:
            raise UserError(
                f"a queue of {self.max_pending_rows} rows cannot hold one batch of {self.max_rows}; "
                "raise max_pending_rows"
            )


@dataclass(frozen=True)
class ServerOptions:
    """Where and how one model is served.

    Args:
        model_dir: `models/NAME`, a directory of integer version directories.
        name: what clients call the model; the directory's name by default.
        host: the address to listen on; ``0.0.0.0`` is every IPv4 interface.
        port: the gRPC port; 0 takes a free one (the ready line names it).
        latest_versions: how many of the newest versions are served at once.
        poll_seconds: interval between checks of the directory; 0 checks once, at the start.
        threads: the maximum number of concurrent calls; more get RESOURCE_EXHAUSTED, as in TF Serving.
        batching: how the embedded server batches; TF Serving batches only if a file of its own enables it.
    """

    model_dir: Path
    name: str = ""
    host: str = "127.0.0.1"
    port: int = 8500
    latest_versions: int = 1
    poll_seconds: float = 1.0
    threads: int = 64
    batching: BatchingOptions = BatchingOptions()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= MAX_PORT:
            raise UserError(f"port {self.port} is out of range; give 1 to {MAX_PORT}, or 0 for a free one")
        if not self.host:
            raise UserError(
                "the host is empty; give 127.0.0.1 (this machine only) or 0.0.0.0 (every interface)"
            )
        if self.latest_versions < 1:
            raise UserError(f"{self.latest_versions} versions cannot be served; give 1 or more")
        if self.poll_seconds < 0:
            raise UserError(f"the directory cannot be checked every {self.poll_seconds} s; give 0 or more")
        if self.threads < 1:
            raise UserError(f"{self.threads} threads cannot answer requests; give 1 or more")


def make_options(
    model_dir: Union[str, Path],
    *,
    name: Optional[str] = None,
    host: str = "127.0.0.1",
    port: int = 8500,
    latest_versions: int = 1,
    poll_seconds: float = 1.0,
    threads: int = 64,
    batching: BatchingOptions = BatchingOptions(),
) -> ServerOptions:
    """Make options with an absolute path, and the name taken from it.

    Raises:
        UserError: an option has an invalid value.
    """
    # Not resolve(): for a symbolic link such as models/current, the link's own name counts.
    path = Path(os.path.abspath(paths.local(model_dir)))
    return ServerOptions(
        model_dir=path,
        name=name or path.name,
        host=host,
        port=port,
        latest_versions=latest_versions,
        poll_seconds=poll_seconds,
        threads=threads,
        batching=batching,
    )
