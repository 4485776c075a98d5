"""`tfpipeline adapter inspect`: shows what an adapter is."""

from __future__ import annotations

import typer

from tfpipeline import paths
from tfpipeline.commands._tensorflow import load_tensorflow


def command(
    adapter: str = typer.Argument(help="An adapter.safetensors, or a directory of the PEFT library."),
) -> None:
    """Show an adapter's method, options, base, task, labels, scores and tensors."""
    paths.local(adapter)
    load_tensorflow()
    from tfpipeline.training import adapters

    print(adapters.inspect(adapter))
