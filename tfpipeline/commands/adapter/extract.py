"""`tfpipeline adapter extract`: writes what a run with a peft section has learnt, without its base."""

from __future__ import annotations

import typer

from tfpipeline import paths
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.mistaken import require_run


def command(
    run: str = typer.Argument(help="A run that was trained with a peft section."),
    to: str = typer.Option(..., "--to", help="The file to write; with --format peft, the directory."),
    weights: str = typer.Option("best", help="The weights of the run: best, last or initial."),
    format_: str = typer.Option(
        "safetensors",
        "--format",
        help="safetensors: one file with everything but the base; peft: the files of Hugging Face's PEFT "
        "library (LoRA and IA3).",
    ),
) -> None:
    """Write the adapter of a run: its trained weights, its head, and everything needed to use them.

    The file names its base, the checkpoint of the run, and can be used with that only.
    """
    paths.local(to)
    require_run(run)
    load_tensorflow()
    from tfpipeline.training import adapters

    print(adapters.extract(run, to, weights=weights, format=format_))
