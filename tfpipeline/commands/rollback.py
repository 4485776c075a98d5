"""`tfpipeline rollback`: points a label back to its previous version."""

from __future__ import annotations

import typer

from tfpipeline import terminal
from tfpipeline.errors import explain_missing_extra


def command(
    model_directory: str = typer.Argument(help="The model's directory, e.g. models/sentiment."),
    label: str = typer.Option("stable", help="The label, e.g. stable or canary."),
) -> None:
    """Point a label back to its previous version. Each further call goes back one more version."""
    with explain_missing_extra():
        from tfpipeline.export.labels import rollback

    was, now = rollback(model_directory, terminal.typed(label))
    print(f"{label}: version {now} (was version {was})")
