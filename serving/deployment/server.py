"""How a server is started and asked whether it is ready, in any kind of container.

- The image's own entry point is a shell that passes no signals on, so the server is started without it.
- `tensorflow_model_server` handles no SIGTERM, and as a container's first process the kernel keeps the signal
  from it. So it must not be the first process, and it answers its calls before it is told to end.
- An open port says nothing about the models. Readiness asks ModelService, through REST, as the image has no
  gRPC client, but bash, grep and sed.
"""

from __future__ import annotations

from tfpipeline.serving.deployment.options import Deployment, Model

BINARY = "/usr/bin/tensorflow_model_server"
CONFIG_FOLDER = "/etc/tfpipeline"
MODELS_FOLDER = "/models"
METRICS_PATH = "/monitoring/prometheus/metrics"

MODELS_FILE, BATCHING_FILE = "models.config", "batching_params.pbtxt"
MONITORING_FILE, READY_FILE = "monitoring.config", "ready.sh"

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


def models_config(models: tuple[Model, ...], base_paths: tuple[str, ...]) -> str:
    """A `ModelServerConfig` in text form.

    Args:
        models: the models.
        base_paths: where each one's versions are for the server.
    """
    lines = ["model_config_list {"]
    for model, base_path in zip(models, base_paths):
        lines += [
            "  config {",
            f'    name: "{model.name}"',
            f'    base_path: "{base_path}"',
            '    model_platform: "tensorflow"',
            f"    model_version_policy {{ {model.policy} }}",
            *(f'    version_labels {{ key: "{key}" value: {value} }}' for key, value in model.labels),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def shared_files(deployment: Deployment) -> dict[str, str]:
    """The files besides the models' that every server reads, by name."""
    return {
        BATCHING_FILE: deployment.batching,
        MONITORING_FILE: f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n',
        READY_FILE: READY_SCRIPT,
    }


def flags(deployment: Deployment, *, port: int, rest_port: int, models_file: str = MODELS_FILE) -> list[str]:
    """The flags of `tensorflow_model_server`."""
    labelled = any(model.labels for model in deployment.models)
    age = round(1000 * deployment.max_connection_age)
    return [
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={CONFIG_FOLDER}/{models_file}",
        "--model_config_file_poll_wait_seconds=10",
        "--file_system_poll_wait_seconds=10",
        # A label is set before the version that it points to is loaded.
        *(["--allow_version_labels_for_unavailable_models=true"] if labelled else []),
        "--enable_batching=true",
        f"--batching_parameters_file={CONFIG_FOLDER}/{BATCHING_FILE}",
        f"--monitoring_config_file={CONFIG_FOLDER}/{MONITORING_FILE}",
        f"--grpc_max_threads={deployment.threads}",
        f"--grpc_channel_arguments=grpc.max_connection_age_ms={age}",
        # A container sees all cores of its machine, and would make a thread for each.
        f"--tensorflow_session_parallelism={deployment.cpus}",
        *deployment.flags,
    ]


def ready_command(rest_port: int, models_file: str = MODELS_FILE) -> list[str]:
    """The command that says by its exit code whether all models are available."""
    return ["bash", f"{CONFIG_FOLDER}/{READY_FILE}", f"{CONFIG_FOLDER}/{models_file}", str(rest_port)]
