"""`tfpipeline promote`: points a label to a version."""

from __future__ import annotations

import typer

from tfpipeline import terminal
from tfpipeline.errors import explain_missing_extra


def command(
    model_directory: str = typer.Argument(help="The model's directory, e.g. models/sentiment."),
    version: int = typer.Argument(help="The version, e.g. 7."),
    label: str = typer.Option("stable", help="The label, e.g. stable or canary."),
) -> None:
    """Point a label to a version of a model."""
    with explain_missing_extra():
        from tfpipeline.export.labels import promote

    before = promote(model_directory, version, terminal.typed(label))
    was = {None: "new", version: "as before"}.get(before, f"was version {before}")
    print(f"{label}: version {version} ({was})")
