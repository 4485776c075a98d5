"""`tfpipeline evaluate`: scores a run before and after fine-tuning, next to a baseline."""

from __future__ import annotations

from typing import Optional

import typer

from tfpipeline import mistaken, paths, terminal
from tfpipeline.commands import _options as options
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import explain_missing_extra


def command(
    run_directory: str = typer.Argument(metavar="RUN", help="A run directory, or a fine-tuned checkpoint."),
    data: Optional[str] = typer.Option(None, help="A data file; default: the run's own test rows."),
    baseline: bool = typer.Option(True, help="Also train a cheap baseline on the same rows."),
    calibrate: bool = typer.Option(
        False,
        "--calibrate",
        help="Also score the model with temperatures fitted on the validation rows, as in "
        "export --calibrate.",
    ),
    to: Optional[str] = typer.Option(
        None,
        help="The folder to write the report to; default: the run directory. Without it, the report of a "
        "checkpoint is only printed.",
    ),
    overrides: Optional[list[str]] = options.SETTINGS,
    encoding: Optional[str] = options.ENCODING,
    delimiter: Optional[str] = options.DELIMITER,
    sheet: Optional[str] = options.SHEET,
) -> None:
    """Score a run before and after fine-tuning, next to a baseline."""
    for path in filter(None, (data, to)):
        paths.local(path)  # remote paths are rejected before anything is loaded
    mistaken.require_run(run_directory)
    with explain_missing_extra():
        from tfpipeline.data.records import file_options
        from tfpipeline.training.rows import read_more_rows

        reading = file_options(encoding=encoding, delimiter=delimiter, sheet=sheet)
        rows = None if data is None else read_more_rows(run_directory, data, reading)
    load_tensorflow()
    from tfpipeline.evaluation import evaluate as run

    report = run(
        run_directory,
        data,
        baseline=baseline,
        calibrate=calibrate,
        overrides=[*map(terminal.typed, overrides or [])],
        to=to,
        show=print,
        reading=reading,
        rows=rows,
    )
    if to is not None and report.path is None:
        raise typer.Exit(2)
