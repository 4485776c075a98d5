"""`tfpipeline serve-config`: writes the files of a deployment of TensorFlow Serving."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import typer

from tfpipeline.console import say
from tfpipeline.errors import UserError


def command(
    model_directories: list[str] = typer.Argument(
        None, metavar="MODEL", help="Models' directories, e.g. models/sentiment, or a directory of models."
    ),
    config: Optional[str] = typer.Option(
        None, help="A configuration file of TensorFlow Serving (models.config) instead of directories."
    ),
    to_kubernetes: Optional[Path] = typer.Option(
        None, "--kubernetes", metavar="DIR", help="Write the resources of a Kubernetes cluster."
    ),
    to_kserve: Optional[Path] = typer.Option(
        None, "--kserve", metavar="DIR", help="Write a ServingRuntime of KServe and its InferenceServices."
    ),
    to_compose: Optional[Path] = typer.Option(
        None, "--compose", metavar="DIR", help="Write a Docker Compose file for this machine."
    ),
    name: str = typer.Option("", help="The name of all resources; default: that of the model."),
    image: Optional[str] = typer.Option(
        None, help="The server's image, with its version; default: that of the newest TensorFlow Serving."
    ),
    storage: str = typer.Option(
        "pvc://models",
        help="Where the cluster finds MODEL/VERSION: pvc://CLAIM/FOLDER or gs://BUCKET/FOLDER.",
    ),
    namespace: Optional[str] = typer.Option(None, help="The namespace of all resources."),
    port: int = typer.Option(8500, help="The gRPC port (KServe: always 9000)."),
    rest_port: int = typer.Option(8501, help="The port of REST, metrics and readiness (KServe: 8080)."),
    latest_versions: int = typer.Option(
        1, min=1, help="How many of a model's newest versions are served; labelled ones always are."
    ),
    threads: int = typer.Option(64, min=1, help="The maximum number of calls at once in a server."),
    max_connection_age: float = typer.Option(
        30.0, help="Seconds after which a connection is closed, so that clients find new servers."
    ),
    tls_key: Optional[str] = typer.Option(None, help="The servers' private key (PEM): gRPC over TLS only."),
    tls_certificate: Optional[str] = typer.Option(None, help="The servers' certificate chain (PEM)."),
    tls_ca: Optional[str] = typer.Option(
        None, help="Certificates (PEM) that sign those of clients, which must have one (mutual TLS)."
    ),
    batching_file: Optional[str] = typer.Option(
        None,
        help="Batching parameters; default: batching_params.pbtxt in the model's directory, else 32 rows and "
        "2 ms.",
    ),
    cpus: int = typer.Option(2, help="The cores of a server."),
    gpus: int = typer.Option(0, help="The NVIDIA GPUs of a server."),
    memory: Optional[int] = typer.Option(None, help="The memory of a server in MiB; default: by the models."),
    replicas: int = typer.Option(2, help="The least number of servers."),
    max_replicas: int = typer.Option(8, help="The greatest number of servers."),
    pod_monitor: bool = typer.Option(
        True, help="Write a PodMonitor, which needs the Prometheus operator in the cluster."
    ),
) -> None:
    """Write what a deployment of TensorFlow Serving needs: Kubernetes, KServe or Docker Compose.

    Run it again after promote or rollback: servers follow the labels in the new files. Flags after "--" are
    passed to tensorflow_model_server.
    """
    given = model_directories or []
    models = list(itertools.takewhile(lambda word: not word.startswith("-"), given))
    folders = {"--kubernetes": to_kubernetes, "--kserve": to_kserve, "--compose": to_compose}
    chosen = {option: folder for option, folder in folders.items() if folder is not None}
    if not chosen:
        raise UserError(f"choose what to write: {', '.join(folders)}, each with a folder")
    if len({folder.absolute() for folder in chosen.values()}) < len(chosen):
        raise UserError(f"{' and '.join(chosen)} name the same folder; give each its own")
    from tfpipeline import paths
    from tfpipeline.serving.deployment import compose, kserve, kubernetes, making, writing

    server = {
        "config": config,
        "port": port,
        "rest_port": rest_port,
        "latest_versions": latest_versions,
        "threads": threads,
        "max_connection_age": max_connection_age,
        "tls_key": tls_key,
        "tls_certificate": tls_certificate,
        "tls_ca": tls_ca,
        "batching_file": batching_file,
        "flags": tuple(given[len(models) :]),
    }
    deployment = making.make_deployment(
        models,
        server,
        name=name,
        image=image or "",
        storage=storage,
        namespace=namespace,
        cpus=cpus,
        gpus=gpus,
        memory_mib=memory,
        replicas=replicas,
        max_replicas=max_replicas,
        pod_monitor=pod_monitor,
    )
    made: dict[Path, Mapping[str, Any]] = {}
    if to_kubernetes is not None:
        made[paths.local(to_kubernetes)] = kubernetes.resources(deployment)
    if to_kserve is not None:
        made[paths.local(to_kserve)] = kserve.resources(deployment)
    if to_compose is not None:
        made[paths.local(to_compose)] = {
            compose.FILE: compose.project(deployment),
            **compose.files(deployment),
        }
    print(*writing.write(made), sep="\n")
    if not deployment.batching:
        say(
            "batching is off: versions without a model card may have outputs that are not row by row; "
            "if yours has none, switch batching on with --batching-file"
        )
