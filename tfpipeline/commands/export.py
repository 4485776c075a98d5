"""`tfpipeline export`: publishes a run as the next version of a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from tfpipeline import terminal
from tfpipeline.commands import _options as options
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import UserError


def command(
    run_directory: str = typer.Argument(metavar="RUN", help="A run directory, or a fine-tuned checkpoint."),
    to: Path = typer.Option(..., help="The model's directory, e.g. models/sentiment."),
    weights: str = typer.Option("best", help="best or last."),
    overrides: Optional[list[str]] = options.SETTINGS,
) -> None:
    """Publish a run as the next version of a served model, checked against the trained one."""
    if weights not in ("best", "last"):
        raise UserError(f'--weights is "{weights}"; it must be best or last')
    load_tensorflow()
    from tfpipeline.export import export_run as run

    print(run(run_directory, to, weights=weights, overrides=[*map(terminal.typed, overrides or [])]))
