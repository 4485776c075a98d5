"""`tfpipeline reasoning construct`: writes a BERT that deduces."""

from __future__ import annotations

import typer

from tfpipeline import paths
from tfpipeline.commands._tensorflow import load_tensorflow


def command(
    to: str = typer.Option(..., "--to", help="The directory of the checkpoint to write."),
    depth: int = typer.Option(8, min=0, help="The deepest query that is found; two layers more are written."),
    predicates: int = typer.Option(30, help="Number of predicates that the vocabulary has."),
    positions: int = typer.Option(512, help="The greatest number of tokens."),
    overwrite: bool = typer.Option(False, help="Replace the directory if it exists."),
) -> None:
    """Write a BERT whose weights carry out forward chaining, as a Google checkpoint.

    It reads problems in the style en-symbols.
    """
    paths.local(to)
    load_tensorflow()
    from tfpipeline.reasoning.construct import write

    print(write(to, depth=depth, predicates=predicates, positions=positions, overwrite=overwrite))
