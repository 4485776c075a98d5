"""`tfpipeline convert`: writes a checkpoint or a run in the format of another program."""

from __future__ import annotations

from typing import Any, Optional

import typer

from tfpipeline import paths
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import UserError


def command(
    source: str = typer.Argument(
        help="A run, or a checkpoint: a directory, a file in one, a zip or tar, hf://org/name, "
        "gs://bucket/folder."
    ),
    dest: Optional[str] = typer.Argument(None, help="The directory to write; optional with --check."),
    to: str = typer.Option(
        "google", help="The format to write: google, huggingface, or your_package.your_format."
    ),
    weights: Optional[str] = typer.Option(None, help="For a run: best (the default), last or initial."),
    overwrite: bool = typer.Option(False, help="Replace DEST if it exists."),
    check: bool = typer.Option(
        False,
        "--check",
        help="Print every tensor with its shape and checksum, and what was omitted; compare token IDs and, "
        "if PyTorch is installed, hidden states with transformers.",
    ),
    gelu: Optional[str] = typer.Option(None, help="Override the GELU of the checkpoint: erf or tanh."),
    positions: Optional[int] = typer.Option(None, help="Extend the model to this many positions."),
    add_tokens: Optional[str] = typer.Option(None, help="A file of tokens to append, one per line."),
) -> None:
    """Write a checkpoint, or a run of train, in the format of another program.

    The format of SOURCE is recognised from its files. For a run, this writes the encoder, and also the head
    with its labels if the format supports them.
    """
    if dest is None and not check:
        raise UserError(
            "the destination is missing: tfpipeline convert SOURCE DEST; to only inspect SOURCE, add --check"
        )
    for path in filter(None, (dest, add_tokens)):
        paths.local(path)  # remote paths are rejected before anything is loaded
    load_tensorflow()
    from tfpipeline import checkpoints
    from tfpipeline.training import load_checkpoint

    tokens = checkpoints.read_tokens(add_tokens) if add_tokens else ()
    word: Any = gelu  # checked where it is used
    checkpoint = load_checkpoint(source, weights, gelu=word)
    checkpoint = checkpoints.extend(checkpoint, positions=positions, tokens=tokens)
    if check:
        print(checkpoints.parity_report(checkpoint))
    if dest is not None:
        print(checkpoints.write(checkpoint, dest, to=to, overwrite=overwrite))
