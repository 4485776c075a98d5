"""`tfpipeline predict`: prints a prediction for each text."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Optional

import typer

from tfpipeline import terminal
from tfpipeline.commands import _options as options
from tfpipeline.errors import UserError


def command(
    texts: Optional[list[str]] = typer.Argument(
        None, metavar="[TEXT]...", help="Texts; default: standard input, one text per line."
    ),
    inputs: Optional[list[str]] = typer.Option(
        None,
        "--input",
        help="A .txt file (one text per line), .csv, .tsv, .xlsx, .jsonl, .parquet, .conll, .conllu or "
        ".json (SQuAD); may be "
        "repeated.",
    ),
    column: str = typer.Option("text", help="The text column of the file."),
    pair_column: Optional[str] = typer.Option(
        None, help="The column of the second text, for models of text pairs."
    ),
    separator: str = typer.Option(
        " ", help='Joins the tokens of cells that are lists of tokens; "" for Chinese.'
    ),
    encoding: Optional[str] = options.ENCODING,
    delimiter: Optional[str] = options.DELIMITER,
    sheet: Optional[str] = options.SHEET,
    pair: Optional[str] = typer.Option(
        None,
        help="The second text for all texts that are not read from a file, e.g. the context of questions.",
    ),
    target: Optional[str] = typer.Option(None, help="HOST:PORT of a server."),
    model: Optional[str] = typer.Option(None, help="The model's name on the server."),
    source: Optional[str] = typer.Option(
        None,
        "--from",
        help="Instead of a server: a run, a SavedModel, a directory of versions, or a fine-tuned checkpoint.",
    ),
    signature: str = typer.Option("serving_default", help="The signature to call."),
    model_version: Optional[int] = typer.Option(None, help="The model version; default: the newest."),
    timeout: float = typer.Option(10.0, help="Seconds to wait for the server's response to a batch."),
    batch_size: int = typer.Option(32, min=1, help="Texts per request."),
) -> None:
    """Print a prediction for each text, one JSON line each, from a server, a SavedModel or a run."""
    if (target is None) == (source is None):
        raise UserError(
            "choose a model: --target HOST:PORT --model NAME, or --from PATH (a run, a SavedModel or a "
            "checkpoint)"
        )
    if target is not None and model is None:
        raise UserError("--target needs the model's name: --model NAME")
    if source is not None and model_version is not None:
        raise UserError("--model-version is for a server; give --from the folder of the version")
    if texts and inputs:
        raise UserError("texts were given both as arguments and with --input; choose one")
    if not texts and not inputs and sys.stdin.isatty():
        raise UserError("no texts: give them as arguments, with --input FILE, or on standard input")
    if inputs and pair is not None:
        raise UserError(
            "--pair is for texts that come from no file; name the column of the second ones with "
            "--pair-column"
        )
    if pair_column is not None and not inputs:
        raise UserError(
            "--pair-column is for the rows of files; give the second text of texts that come from no file "
            "with --pair alone"
        )
    from tfpipeline import prediction_inputs, predictors
    from tfpipeline.data.records import FileOptions, file_options

    reading = FileOptions(**file_options(encoding=encoding, delimiter=delimiter, sheet=sheet))
    columns = [column, *([pair_column] if pair_column else [])]
    rows = prediction_inputs.read(
        texts or [], inputs or [], columns, reading, separator, terminal.typed(pair or "")
    )
    has_pairs = bool(pair_column) or pair is not None
    escape = not terminal.is_utf8(sys.stdout.encoding)
    if inputs:  # a file that can't be read is named before a model is loaded
        first = list(itertools.islice(rows, 1))
        rows = itertools.chain(first, rows)
    if target is not None:
        call = {"signature": signature, "version": model_version, "timeout": timeout}
        predictor: predictors.Predictor = predictors.ServerPredictor(target, str(model), **call)
    else:
        predictor = predictors.open_local(str(source), signature)
    with predictor:
        for batch in prediction_inputs.batches(rows, batch_size):
            pairs = [second for _, second in batch]
            answers = predictor.predict([text for text, _ in batch], pairs if has_pairs else None)
            for (text, second), answer in zip(batch, answers):
                given = {"text": text, **({"text_pair": second} if has_pairs else {})}
                print(json.dumps({**given, **answer.to_dict()}, ensure_ascii=escape), flush=True)
