"""`tfpipeline serve`: serves a model."""

from __future__ import annotations

from typing import Optional

import typer

from tfpipeline.errors import explain_missing_extra


def command(
    model_directory: str = typer.Argument(help="The model's directory, e.g. models/sentiment."),
    name: Optional[str] = typer.Option(None, help="The model's name; default: the name of the directory."),
    host: str = typer.Option("127.0.0.1", help="The address to listen on."),
    port: int = typer.Option(8500, help="The gRPC port."),
    server_binary: Optional[str] = typer.Option(
        None,
        help="tensorflow_model_server; default: the one on the PATH, else the embedded development server.",
    ),
) -> None:
    """Serve a model with TensorFlow Serving, or with the embedded development server (same API)."""
    with explain_missing_extra("serve"):
        from tfpipeline.serving.server import serve as run

        run(model_directory, name=name, host=host, port=port, server_binary=server_binary)
