"""`tfpipeline export`: publishes a run as the next version of a served model."""

from __future__ import annotations

from typing import Optional

import typer

from tfpipeline import mistaken, paths, terminal
from tfpipeline.commands import _options
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import UserError, explain_missing_extra


def command(
    runs: list[str] = typer.Argument(
        metavar="RUN...",
        help="A run directory, or a fine-tuned checkpoint; with --adapters several run directories, each "
        "perhaps as NAME=RUN.",
    ),
    to: str = typer.Option(
        ..., help="The model's directory, e.g. models/sentiment or gs://bucket/models/sentiment."
    ),
    adapters: bool = typer.Option(
        False,
        "--adapters",
        help="Export the adapters of all runs (trained with peft from one checkpoint) as one model, whose "
        "requests name the adapter of each text.",
    ),
    weights: str = typer.Option("best", help="best or last."),
    precision: str = typer.Option(
        "float32",
        help="float32, or bfloat16 for weights and matrix products; the accuracy lost is measured on the "
        "validation rows.",
    ),
    max_accuracy_loss: float = typer.Option(
        0.2,
        help="Largest loss of the main metric, in points, allowed for --precision on the validation rows; "
        "inf: do not measure.",
    ),
    calibrate: bool = typer.Option(
        False, "--calibrate", help="Calibrate the probabilities: fit temperatures on the validation rows."
    ),
    abstain: Optional[float] = typer.Option(
        None,
        metavar="SHARE",
        help="A share such as 0.95: an output `abstained` marks uncertain predictions, so that this share of "
        "the others is right on the validation rows.",
    ),
    require: Optional[list[str]] = typer.Option(
        None,
        metavar="CONDITION",
        help="A condition on a metric of report.json, such as 'macro_f1 >= 0.8', or of the validation rows, "
        "such as 'validation.accuracy > 0.9'. May be repeated.",
    ),
    report: Optional[str] = typer.Option(
        None, help="The report.json that --require reads; default: the run's own."
    ),
    warmup: int = typer.Option(
        100, metavar="N", help="Write at most N warm-up requests, which servers replay at start-up; 0: none."
    ),
    target_serving: Optional[str] = typer.Option(
        None,
        metavar="RELEASE",
        help="TensorFlow release of the server: 2.6, 2.12, 2.16, 2.20 or 2.21 (default: the installed one).",
    ),
    keep: Optional[int] = typer.Option(
        None,
        help="Number of newest versions to keep; older ones are removed unless a label needs them.",
    ),
    licence: Optional[str] = typer.Option(
        None, help="The model's licence, for its card: an SPDX identifier such as apache-2.0."
    ),
    explain: bool = typer.Option(
        False, "--explain", help="Add the signature explain: the contribution of each word to a prediction."
    ),
    explain_steps: int = typer.Option(
        32, help="Steps of the integral behind explanations; more steps are slower but more exact."
    ),
    index: Optional[str] = typer.Option(
        None, help="Add the signature search, over an index that tfpipeline index has made with this model."
    ),
    max_k: int = typer.Option(
        100, help="With --index: the largest number of rows that a search may ask for, up to 1000."
    ),
    overrides: Optional[list[str]] = _options.SETTINGS,
) -> None:
    """Publish a run as the next version of a served model, checked against the trained one."""
    with explain_missing_extra():  # the options are checked before TensorFlow is loaded
        from tfpipeline.export import adapter_names
        from tfpipeline.export.options import ExportOptions

        paths.expand(to)  # an address that lacks a slash is rejected before TensorFlow is loaded
        if len(runs) > 1 and not adapters:
            raise UserError(
                f"{len(runs)} runs are given; export one at a time, or with --adapters the adapters of all "
                "as one model"
            )
        named = adapter_names.named(runs) if adapters else {"": runs[0]}
        for run in named.values():
            mistaken.require_run(run)
        options = ExportOptions(
            weights=weights,
            warmup=warmup,
            target_serving=target_serving,
            keep=keep,
            licence=licence,
            explain=explain,
            explain_steps=explain_steps,
            precision=precision,
            max_accuracy_loss=max_accuracy_loss,
            calibrate=calibrate,
            abstain=abstain,
            require=tuple(map(terminal.typed, require or ())),
            report=report,
            index=index,
            max_k=max_k,
        )
        if adapters:
            adapter_names.require_fitting(options)
    if adapters and overrides:
        raise UserError("--set cannot be used with --adapters; runs have settings of their own")
    load_tensorflow()
    from tfpipeline.export.publish import export_adapters_with, export_with

    if adapters:
        print(export_adapters_with(named, to, options))
    else:
        print(export_with(runs[0], to, options, [*map(terminal.typed, overrides or [])]))
