"""`tfpipeline bench-serving`: measures a server under load."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

import typer

from tfpipeline import terminal
from tfpipeline.commands import _options as options
from tfpipeline.errors import UserError


def command(
    texts: Optional[list[str]] = typer.Argument(
        None, metavar="TEXT", help="Texts to send; default: standard input, one text per line."
    ),
    target: str = typer.Option(help="HOST:PORT of the server."),
    model: str = typer.Option(help="The model's name on the server."),
    inputs: Optional[list[str]] = typer.Option(
        None, "--input", help="A data file, as of predict: texts as long as those of your users."
    ),
    column: Optional[str] = typer.Option(None, help="The text column of the file; default: text."),
    pair_column: Optional[str] = typer.Option(
        None, help="The column of the second text, for models of text pairs."
    ),
    encoding: Optional[str] = options.ENCODING,
    delimiter: Optional[str] = options.DELIMITER,
    sheet: Optional[str] = options.SHEET,
    rows: int = typer.Option(1000, min=1, help="Send at most this many texts of the files, over and over."),
    callers: Optional[list[int]] = typer.Option(
        None, help="Closed loop: callers that wait for their answers; may be repeated; default: 1, 4, 16."
    ),
    rate: Optional[list[float]] = typer.Option(
        None, help="Open loop: requests per second at random times; may be repeated."
    ),
    batch_size: int = typer.Option(1, min=1, help="Texts per request."),
    seconds: float = typer.Option(10.0, help="How long each load is measured."),
    warmup: float = typer.Option(2.0, help="Seconds of the same load before it, which are not measured."),
    signature: str = typer.Option("serving_default", help="The signature to call."),
    model_version: Optional[int] = typer.Option(None, help="The model version; default: the newest."),
    timeout: float = typer.Option(10.0, help="Seconds to wait for the response to a request."),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON instead of a table."),
    output: Optional[Path] = typer.Option(None, help="Write the figures as JSON to this file as well."),
    plot: Optional[Path] = typer.Option(
        None, help="Draw the latencies by percentile to this file (.png, .svg or .pdf)."
    ),
) -> None:
    """Measure a server under load: requests per second, and latencies up to the 99th percentile."""
    if texts and inputs:
        raise UserError("texts were given both as arguments and with --input; choose one")
    if not texts and not inputs and sys.stdin.isatty():
        raise UserError("no texts: give them as arguments, with --input FILE, or on standard input")
    from tfpipeline import paths, prediction_inputs
    from tfpipeline.data.records import FileOptions, file_options
    from tfpipeline.files import require_writable, write_text
    from tfpipeline.serving.bench import measuring
    from tfpipeline.serving.bench import plot as plotting

    loads: list[measuring.Load] = [measuring.Callers(count) for count in callers or []]
    loads += [measuring.Rate(one) for one in rate or []]
    if output is not None and output.is_dir():
        raise UserError(f"--output {output} is a directory; name a file")
    if plot is not None:
        plotting.check_plot(paths.local(plot))
    for path in filter(None, (output, plot)):
        require_writable(paths.local(path).parent)
    read: Iterable[prediction_inputs.Row]
    if inputs:
        columns = prediction_inputs.Columns().given(column, pair_column)
        reading = FileOptions(**file_options(encoding=encoding, delimiter=delimiter, sheet=sheet))
        read = itertools.chain.from_iterable(
            prediction_inputs.of_file(file, columns, reading) for file in inputs
        )
    elif texts:
        read = prediction_inputs.of_arguments([terminal.typed(text) for text in texts], None)
    else:
        read = prediction_inputs.of_standard_input(None)
    requests = []
    for batch in prediction_inputs.batches(itertools.islice(read, rows), batch_size):
        requests.append({name: [row.texts[name] for row in batch] for name in batch[0].texts})
    if len(requests) > 1 and len(requests[-1]["text"]) < batch_size:
        requests.pop()  # all requests are of one size
    measured = measuring.measure(
        target,
        requests,
        loads or [measuring.Callers(count) for count in (1, 4, 16)],
        seconds=seconds,
        warmup=warmup,
        model=model,
        signature=signature,
        version=model_version,
        timeout=timeout,
    )
    figures = json.dumps(measuring.report(target, model, measured), indent=1)
    print(figures if as_json else "\n".join(measuring.table(measured)))
    if output is not None:
        write_text(paths.local(output), figures + "\n")
    if plot is not None:
        plotting.draw(measured, f"{model} on {target}", paths.local(plot))
