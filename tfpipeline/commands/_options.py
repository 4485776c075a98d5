"""Options that several commands have."""

from __future__ import annotations

from typing import Optional

import typer

from tfpipeline.errors import UserError

SETTINGS = typer.Option(
    None,
    "--set",
    metavar="KEY=VALUE",
    help="For a checkpoint: settings that its files do not contain, e.g. data.text=review, "
    "text.max_length=128. For a run that writes texts: how, e.g. task.decoding.num_beams=4.",
)
ENCODING = typer.Option(
    None, "--encoding", help="Encoding of a text file: utf-8, utf-16, cp1252, gb18030 ..."
)
DELIMITER = typer.Option(
    None, "--delimiter", help='Character between the cells of a .csv or .tsv file, e.g. ";".'
)
SHEET = typer.Option(None, "--sheet", help="Sheet of an .xlsx file; by default the first.")


def check_model(
    target: Optional[str],
    model: Optional[str],
    source: Optional[str],
    model_version: Optional[int],
    choose: str,
) -> None:
    """Check the options that name a server (``--target``) or a path (``--from``).

    Args:
        target, model, source, model_version: the values of the options.
        choose: the message if there is not exactly one of the two.
    Raises:
        UserError: the options contradict each other, or one is missing.
    """
    if (target is None) == (source is None):
        raise UserError(choose)
    if target is not None and model is None:
        raise UserError("--target needs the model's name: --model NAME")
    if source is not None and model_version is not None:
        raise UserError("--model-version is for a server; give --from the folder of the version")
