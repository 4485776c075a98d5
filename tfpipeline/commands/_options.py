"""Options that several commands have."""

from __future__ import annotations

import typer

SETTINGS = typer.Option(
    None,
    "--set",
    metavar="KEY=VALUE",
    help="For a checkpoint: settings that its files do not contain, e.g. data.text=review, "
    "text.max_length=128.",
)
ENCODING = typer.Option(
    None, "--encoding", help="Encoding of a text file: utf-8, utf-16, cp1252, gb18030 ..."
)
DELIMITER = typer.Option(
    None, "--delimiter", help='Character between the cells of a .csv or .tsv file, e.g. ";".'
)
SHEET = typer.Option(None, "--sheet", help="Sheet of an .xlsx file; by default the first.")
