"""`tfpipeline predict`: prints a prediction for each text."""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING, Optional

import typer

from tfpipeline import paths, terminal
from tfpipeline.commands import _options as options
from tfpipeline.errors import UserError

if TYPE_CHECKING:
    from tfpipeline.serving.client import Explanation


def command(
    texts: Optional[list[str]] = typer.Argument(
        None, metavar="[TEXT]...", help="Texts; default: standard input, one text per line."
    ),
    inputs: Optional[list[str]] = typer.Option(
        None,
        "--input",
        help="A .txt file (one text per line), .csv, .tsv, .xlsx, .jsonl, .parquet, .conll, .conllu or "
        ".json (SQuAD); may be repeated.",
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
    batch_size: Optional[int] = typer.Option(
        None, min=1, help="Texts per request; default: 32, with --explain 8."
    ),
    explain: bool = typer.Option(
        False,
        "--explain",
        help="Print the contribution of each word to the prediction, instead of the prediction. A SavedModel "
        "must be exported with --explain.",
    ),
    labels: Optional[list[str]] = typer.Option(
        None,
        "--label",
        help="Explain this label (or answer, see docs/explanations.md) instead of the predicted one; may be "
        "repeated.",
    ),
    html: Optional[str] = typer.Option(
        None, help="Write the explanations to this HTML file instead of printing them."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print each explanation as one line of JSON."),
) -> None:
    """Print a prediction for each text, one JSON line each, from a server, a SavedModel or a run."""
    if not explain and (labels or html or as_json):
        given = "--label" if labels else "--html" if html else "--json"
        raise UserError(f"{given} is for explanations; add --explain")
    if html is not None and paths.local(html).is_dir():
        raise UserError(f"--html {html} is a directory; name a file")
    if html is not None and as_json:
        raise UserError("--html and --json were both given; choose one")
    if explain and signature != "serving_default":
        raise UserError("--signature has no meaning with --explain, which calls the signature explain")
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
    from tfpipeline import explanation_pages, prediction_inputs, predictors
    from tfpipeline.data.records import FileOptions, file_options
    from tfpipeline.files import write_text

    reading = FileOptions(**file_options(encoding=encoding, delimiter=delimiter, sheet=sheet))
    columns = [column, *([pair_column] if pair_column else [])]
    rows = prediction_inputs.read(
        texts or [], inputs or [], columns, reading, separator, terminal.typed(pair or "")
    )
    has_pairs = bool(pair_column) or pair is not None
    escape = not terminal.is_utf8(sys.stdout.encoding)
    if inputs:  # an unreadable file is reported before a model is loaded
        first = list(itertools.islice(rows, 1))
        rows = itertools.chain(first, rows)
    if target is not None:
        call = {"signature": signature, "version": model_version, "timeout": timeout}
        predictor: predictors.Predictor = predictors.ServerPredictor(target, str(model), **call)
    else:
        predictor = predictors.open_local(str(source), signature)
    drawn: list[tuple[dict[str, str], Explanation]] = []
    with predictor:
        for batch in prediction_inputs.batches(rows, batch_size or (8 if explain else 32)):
            asked = [text for text, _ in batch]
            pairs = [second for _, second in batch] if has_pairs else None
            given_texts = [
                {"text": one, **({"text_pair": other} if has_pairs else {})} for one, other in batch
            ]
            if not explain:
                for row, answer in zip(given_texts, predictor.predict(asked, pairs)):
                    print(json.dumps({**row, **answer.to_dict()}, ensure_ascii=escape), flush=True)
                continue
            wanted = [terminal.typed(label) for label in labels or [""]]
            by_label = [predictor.explain(asked, pairs, label) for label in wanted]
            rows_explained = [(row, one) for row, each in zip(given_texts, zip(*by_label)) for one in each]
            if html is not None:
                drawn += rows_explained
                continue
            for row, one in rows_explained:
                if as_json:
                    print(json.dumps({**row, **one.to_dict()}, ensure_ascii=escape), flush=True)
                else:
                    print(explanation_pages.as_text(row, one), flush=True)
    if html is not None:
        write_text(paths.local(html), explanation_pages.as_html(drawn))
        print(html)
