"""How a server is started and asked whether it is ready, in any kind of container.

- The image's own entry point is a shell that passes no signals on, so the server is started without it.
- `tensorflow_model_server` handles no SIGTERM, and as a container's first process the kernel keeps the signal
  from it. So it must not be the first process, and it answers its calls before it is told to end.
- An open port says nothing about the models. Readiness asks ModelService, through REST, as the image has no
  gRPC client, but bash, grep and sed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from tfpipeline.serving.deployment.options import Deployment
from tfpipeline.serving.server import binary_command
from tfpipeline.serving.server.model_config import ModelConfig, to_text

BINARY = "/usr/bin/tensorflow_model_server"
CONFIG_FOLDER = "/etc/tfpipeline"
MODELS_FOLDER = "/models"
METRICS_PATH = binary_command.METRICS_PATH

MODELS_FILE, READY_FILE = binary_command.MODELS_FILE, "ready.sh"
_BATCHING_FILE = "batching.config"  # as binary_command names it
PRIVATE_FILE = "ssl.config"  # the same; it has the private key

_PARALLELISM = "--tensorflow_session_parallelism"

READY_SCRIPT = r"""#!/bin/bash
# Exit code 0 if every model of a models.config has a version that is AVAILABLE.
# bash ready.sh CONFIG REST_PORT
names=$(sed -n 's/^ *name: "\(.*\)"$/\1/p' "$1")
[ -n "$names" ] || { echo "no models in $1"; exit 1; }
for name in $names; do
  exec 3<>"/dev/tcp/127.0.0.1/$2" || exit 1
  printf 'GET /v1/models/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$name" >&3
  grep -q '"state": *"AVAILABLE"' <&3 || { echo "$name is not available"; exit 1; }
  exec 3>&-
done
"""


def models_config(models: Iterable[ModelConfig], root: str = MODELS_FOLDER) -> str:
    """A `ModelServerConfig` in text form for models in ``ROOT/NAME``; the root may be an address."""
    placed = [dataclasses.replace(model, base_path=Path(MODELS_FOLDER) / model.name) for model in models]
    return to_text(placed).replace(f'base_path: "{MODELS_FOLDER}/', f'base_path: "{root}/')


def shared_files(deployment: Deployment) -> dict[str, str]:
    """The files besides the models' that every server reads, by name."""
    files = binary_command.server_files(dataclasses.replace(deployment.server, batching_file=None), ())
    del files[MODELS_FILE]
    batching = {_BATCHING_FILE: deployment.batching} if deployment.batching else {}
    return {**files, **batching, READY_FILE: READY_SCRIPT}


def public(files: dict[str, str]) -> dict[str, str]:
    """The files without the one that has the private key."""
    return {name: text for name, text in files.items() if name != PRIVATE_FILE}


def flags(deployment: Deployment, *, port: int, rest_port: int) -> list[str]:
    """The flags of `tensorflow_model_server`."""
    options = deployment.server
    if not any(flag.partition("=")[0] == _PARALLELISM for flag in options.flags):
        # A container sees all cores of its machine, and would make a thread for each.
        options = dataclasses.replace(options, flags=(f"{_PARALLELISM}={deployment.cpus}", *options.flags))
    files = [MODELS_FILE, *shared_files(deployment)]
    return binary_command.command_line(
        options, (), directory=CONFIG_FOLDER, files=files, port=port, http=rest_port
    )


def ready_command(rest_port: int, models_file: str = MODELS_FILE) -> list[str]:
    """The command that says by its exit code whether all models are available."""
    return ["bash", f"{CONFIG_FOLDER}/{READY_FILE}", f"{CONFIG_FOLDER}/{models_file}", str(rest_port)]
