"""The command that runs `tensorflow_model_server` in a container of the image tensorflow/serving."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from tfpipeline.serving.server.model_config import ModelConfig
from tfpipeline.serving.server.sockets import join_host_port

IMAGE = "tensorflow/serving"
PORT = 8500  # inside the container
HTTP_PORT = 8501
BINARY = "tensorflow_model_server"


def docker_command(
    docker: str,
    image: str,
    *,
    name: str,
    host: str,
    port: int,
    http: Optional[int],
    read: Iterable[str],
) -> list[str]:
    """Everything before the server's own flags.

    Directories have the same paths inside the container as outside, so that a configuration is right in both.

    Args:
        docker: the program.
        image: the image.
        name: the container's name; empty for one that docker chooses.
        host: an address of this machine, in numbers.
        port: the port of gRPC on this machine.
        http: the port of REST and metrics on this machine; None for none.
        read: absolute directories that the server reads.
    """
    command = [docker, "run", "--rm", "--init", "--env=TF_CPP_MIN_LOG_LEVEL=0"]
    if name:
        command.append(f"--name={name}")
    command.append(f"--publish={join_host_port(host, port)}:{PORT}")
    if http is not None:
        command.append(f"--publish={join_host_port(host, http)}:{HTTP_PORT}")
    command += [f"--volume={path}:{path}:ro" for path in read]
    return [*command, f"--entrypoint={BINARY}", image]


def outermost(paths: Iterable[Path]) -> list[Path]:
    """The directories without those inside another one of them."""
    ordered = sorted(set(paths), key=lambda path: len(path.parts))
    kept: list[Path] = []
    for path in ordered:
        if not any(outer in path.parents for outer in kept):
            kept.append(path)
    return kept


def hidden(configs: Iterable[ModelConfig], mounts: Iterable[Path]) -> Optional[Path]:
    """The directory of a model that a container does not see; None if it sees all of them."""
    paths = (config.base_path for config in configs)
    return next((path for path in paths if not any(m in (path, *path.parents) for m in mounts)), None)
