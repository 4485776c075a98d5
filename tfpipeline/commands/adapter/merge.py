"""`tfpipeline adapter merge`: writes an adapter and its base as one checkpoint."""

from __future__ import annotations

from typing import Optional

import typer

from tfpipeline import paths
from tfpipeline.commands._tensorflow import load_tensorflow


def command(
    adapter: str = typer.Argument(
        help="An adapter.safetensors, a directory of the PEFT library, or a run with a peft section."
    ),
    base: Optional[str] = typer.Option(
        None, help="The checkpoint that the adapter was trained on; default: the one that it names."
    ),
    to: str = typer.Option(..., "--to", help="The directory to write."),
    format_: str = typer.Option(
        "huggingface",
        "--format",
        help="The format to write: google, huggingface, or your_package.your_format.",
    ),
    weights: Optional[str] = typer.Option(None, help="For a run: best (the default), last or initial."),
    overwrite: bool = typer.Option(False, help="Replace the directory if it exists."),
) -> None:
    """Merge an adapter into its base, and write the result with its head as a checkpoint."""
    paths.local(to)
    load_tensorflow()
    from tfpipeline.training import adapters

    print(adapters.merge(adapter, to, base=base, to=format_, weights=weights, overwrite=overwrite))
