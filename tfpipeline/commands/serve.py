"""`tfpipeline serve`: serves models."""

from __future__ import annotations

import itertools
from typing import Any, Optional

import typer

from tfpipeline.errors import explain_missing_extra


def command(
    model_directories: list[str] = typer.Argument(
        None,
        metavar="MODEL",
        help="The model's directory, e.g. models/sentiment; several of them; or a directory of models.",
    ),
    config: Optional[str] = typer.Option(
        None, help="A configuration file of TensorFlow Serving (models.config) instead of directories."
    ),
    name: Optional[str] = typer.Option(None, help="The model's name; default: the name of the directory."),
    host: str = typer.Option("127.0.0.1", help="The address to listen on."),
    port: int = typer.Option(8500, help="The gRPC port."),
    rest_port: Optional[int] = typer.Option(None, help="The port of the REST API; default: none."),
    metrics_port: Optional[int] = typer.Option(
        None, help="The port of the Prometheus metrics; default: the REST port."
    ),
    latest_versions: int = typer.Option(1, help="How many of a model's newest versions are served."),
    threads: int = typer.Option(64, help="How many threads answer calls."),
    max_concurrency: int = typer.Option(
        0,
        help="The maximum number of calls in flight; more get RESOURCE_EXHAUSTED. 0: as many as threads.",
    ),
    max_connection_age: float = typer.Option(
        0.0, help="Seconds after which a connection is closed once its calls are answered; 0: never."
    ),
    tls_key: Optional[str] = typer.Option(None, help="The server's private key (PEM): gRPC over TLS only."),
    tls_certificate: Optional[str] = typer.Option(None, help="The server's certificate chain (PEM)."),
    tls_ca: Optional[str] = typer.Option(
        None, help="Certificates (PEM) that sign those of clients, which must have one (mutual TLS)."
    ),
    batching_file: Optional[str] = typer.Option(
        None, help="Batching parameters for tensorflow_model_server (batching_params.pbtxt)."
    ),
    server_binary: Optional[str] = typer.Option(
        None,
        help="tensorflow_model_server; default: the one on the PATH, else the embedded development server.",
    ),
    docker: bool = typer.Option(False, "--docker", help="Run tensorflow_model_server in a container."),
    image: Optional[str] = typer.Option(None, help="The container's image; default: tensorflow/serving."),
    print_only: bool = typer.Option(
        False, "--print", help="Print a shell script that starts the server, and do not start it."
    ),
) -> None:
    """Serve models with TensorFlow Serving, or with the embedded development server (same API).

    Flags after "--" are passed to tensorflow_model_server: tfpipeline serve models/sentiment --
    --tensorflow_session_parallelism=4
    """
    with explain_missing_extra("serve"):
        from tfpipeline.serving.server.run import print_command, serve

        given = model_directories or []
        # What starts with a dash stands after "--": before it, it would be an option of this command.
        models = list(itertools.takewhile(lambda word: not word.startswith("-"), given))
        options: dict[str, Any] = {
            "flags": tuple(given[len(models) :]),
            "config": config,
            "name": name,
            "host": host,
            "port": port,
            "rest_port": rest_port,
            "metrics_port": metrics_port,
            "latest_versions": latest_versions,
            "threads": threads,
            "max_concurrency": max_concurrency,
            "max_connection_age": max_connection_age,
            "tls_key": tls_key,
            "tls_certificate": tls_certificate,
            "tls_ca": tls_ca,
            "batching_file": batching_file,
            "server_binary": server_binary,
            "docker": docker,
            "image": image,
        }
        if print_only:
            print(print_command(models, **options), end="")
        else:
            serve(models, **options)
