"""`tfpipeline predict`: prints a prediction for each text."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Optional

import typer

from tfpipeline import paths, terminal
from tfpipeline.commands import _options as options
from tfpipeline.errors import UserError

if TYPE_CHECKING:
    from tfpipeline.serving.client import Explanation


_FLAGS = {"true": True, "false": False}


def command(
    texts: Optional[list[str]] = typer.Argument(
        None, metavar="TEXT", help="Texts; default: standard input, one text per line."
    ),
    inputs: Optional[list[str]] = typer.Option(
        None,
        "--input",
        help="A .txt file (one text per line), .csv, .tsv, .xlsx, .jsonl, .parquet, .conll, .conllu or "
        ".json (SQuAD); may be repeated.",
    ),
    column: Optional[str] = typer.Option(
        None, help="The text column of the file; default: that of the run's data, else text."
    ),
    pair_column: Optional[str] = typer.Option(
        None,
        help="The column of the second text, for models of text pairs; default: that of the run's data.",
    ),
    separator: Optional[str] = typer.Option(
        None,
        help='Joins the tokens of cells that are lists of tokens ("" for Chinese), or the turns of '
        'dialogues; default: as in the run, else a space, and " [SEP] " between turns with speakers.',
    ),
    encoding: Optional[str] = options.ENCODING,
    delimiter: Optional[str] = options.DELIMITER,
    sheet: Optional[str] = options.SHEET,
    pair: Optional[str] = typer.Option(
        None,
        help="The second text for all texts that are not read from a file, e.g. the context of questions.",
    ),
    adapter: Optional[str] = typer.Option(
        None, help="The adapter of all texts, for a model that was exported with --adapters."
    ),
    adapter_column: Optional[str] = typer.Option(
        None, help="The column of the file that names the adapter of each text."
    ),
    target: Optional[str] = typer.Option(None, help="HOST:PORT of a server."),
    model: Optional[str] = typer.Option(None, help="The model's name on the server."),
    source: Optional[str] = typer.Option(
        None,
        "--from",
        help="Instead of a server: a run, a SavedModel, a directory of versions, or a fine-tuned checkpoint.",
    ),
    signature: str = typer.Option("serving_default", help="The signature to call."),
    choose: Optional[list[str]] = typer.Option(
        None,
        "--choose",
        metavar="NAME=VALUE",
        help="How texts are written, such as num_beams=4 or seed=7 (see docs/generation.md); may be "
        "repeated. Prints all candidates, as --signature generate does.",
    ),
    model_version: Optional[int] = typer.Option(None, help="The model version; default: the newest."),
    timeout: float = typer.Option(10.0, help="Seconds to wait for the server's response to a batch."),
    batch_size: Optional[int] = typer.Option(
        None, min=1, help="Texts per request; default: 32, with --explain 8."
    ),
    as_csv: bool = typer.Option(False, "--csv", help="Print CSV with a header instead of JSON lines."),
    output: Optional[str] = typer.Option(
        None, help="Write to this file, .jsonl or .csv, which appears once it is complete."
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
    """Print a prediction for each text, from a server, a SavedModel or a run.

    One JSON line each, or CSV. All columns of the input file are kept.
    """
    _check_explanations(explain, labels, html, as_json, signature, as_csv, output)
    if choose and explain:
        raise UserError("--choose is for texts that a model writes; leave out --explain")
    options.check_model(
        target,
        model,
        source,
        model_version,
        "choose a model: --target HOST:PORT --model NAME, or --from PATH (a run, a SavedModel or a "
        "checkpoint)",
    )
    _check_texts(texts, inputs, pair, pair_column)
    _check_adapters(adapter, adapter_column, inputs, explain or bool(choose))
    from tfpipeline import explanation_pages, prediction_inputs, prediction_outputs, predictors
    from tfpipeline.data.records import FileOptions, file_options
    from tfpipeline.files import write_text
    from tfpipeline.prediction import signature_of

    choices = _choices(choose or [])
    signature = signature_of(signature, choices)
    destination = None if output is None else paths.local(output)
    if destination is not None:
        prediction_outputs.check_output(destination, as_csv)
    reading = FileOptions(**file_options(encoding=encoding, delimiter=delimiter, sheet=sheet))
    escape = not terminal.is_utf8(sys.stdout.encoding)
    size = batch_size or (8 if explain else 32)
    with contextlib.ExitStack() as stack:
        rows: Iterable[prediction_inputs.Row]
        names: Optional[list[str]] = None
        if inputs:  # a file that cannot be used is reported before a model is loaded
            own = prediction_inputs.Columns() if source is None else prediction_inputs.own_columns(source)
            columns = own.given(column, pair_column, separator, adapter_column)
            stored = stack.enter_context(prediction_inputs.stored(inputs, columns, reading))
            rows, names = stored, stored.columns
        elif texts:
            rows = prediction_inputs.of_arguments(texts, None if pair is None else terminal.typed(pair))
        else:
            rows = prediction_inputs.of_standard_input(None if pair is None else terminal.typed(pair))
        if target is not None:
            call = {"signature": signature, "version": model_version, "timeout": timeout}
            predictor: predictors.Predictor = predictors.ServerPredictor(target, str(model), **call)
        else:
            predictor = predictors.open_local(str(source), signature)
        stack.enter_context(predictor)
        write = stack.enter_context(prediction_outputs.open_writer(destination, as_csv, names, escape)).write
        drawn: list[tuple[Mapping[str, str], Explanation]] = []
        for batch in prediction_inputs.batches(rows, size):
            asked = [row.texts["text"] for row in batch]
            pairs = [row.texts["text_pair"] for row in batch] if "text_pair" in batch[0].texts else None
            if not explain:
                named = [row.texts["adapter"] for row in batch] if adapter_column else adapter
                answers = (
                    predictor.generate(asked, **choices)
                    if choices
                    else predictor.predict(asked, pairs, named)
                )
                for row, answer in zip(batch, answers):
                    write(row.columns, answer.to_dict())
                continue
            wanted = [terminal.typed(label) for label in labels or [""]]
            by_label = [predictor.explain(asked, pairs, label) for label in wanted]
            explained = [(row, one) for row, each in zip(batch, zip(*by_label)) for one in each]
            if html is not None:
                drawn += [(row.texts, one) for row, one in explained]
            elif as_json:
                for row, one in explained:
                    write(row.columns, one.to_dict())
            else:
                for row, one in explained:
                    print(explanation_pages.as_text(row.texts, one), flush=True)
    if html is not None:
        write_text(paths.local(html), explanation_pages.as_html(drawn))
        print(html)
    if destination is not None:
        print(destination)


def _choices(given: list[str]) -> dict[str, object]:
    """The values of ``--choose``, by name.

    Raises:
        UserError: a value is not written as NAME=VALUE, has an unknown name, or is no number.
    """
    from tfpipeline.serving.client.generation import CHOICES

    choices: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in CHOICES:
            raise UserError(f"--choose {text}: give NAME=VALUE; the names are {', '.join(CHOICES)}")
        read: Callable[[str], object]
        if name == "do_sample":
            read, kind = _FLAGS.__getitem__, "true or false"
        else:
            read, kind = int if value.lstrip("-").isdigit() else float, "a number"
        try:
            choices[name] = read(value)
        except (KeyError, ValueError) as error:
            raise UserError(f"--choose {text}: the value must be {kind}") from error
    return choices


def _check_explanations(
    explain: bool,
    labels: Optional[list[str]],
    html: Optional[str],
    as_json: bool,
    signature: str,
    as_csv: bool,
    output: Optional[str],
) -> None:
    if not explain and (labels or html or as_json):
        given = "--label" if labels else "--html" if html else "--json"
        raise UserError(f"{given} is for explanations; add --explain")
    if explain and (as_csv or output is not None):
        given = "--csv" if as_csv else "--output"
        raise UserError(f"{given} is for predictions; explanations are written with --json or --html")
    if html is not None and paths.local(html).is_dir():
        raise UserError(f"--html {html} is a directory; name a file")
    if html is not None and as_json:
        raise UserError("--html and --json were both given; choose one")
    if explain and signature != "serving_default":
        raise UserError("--signature has no meaning with --explain, which calls the signature explain")


def _check_texts(
    texts: Optional[list[str]], inputs: Optional[list[str]], pair: Optional[str], pair_column: Optional[str]
) -> None:
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


def _check_adapters(
    adapter: Optional[str], adapter_column: Optional[str], inputs: Optional[list[str]], other: bool
) -> None:
    given = "--adapter" if adapter is not None else "--adapter-column"
    if adapter is not None and adapter_column is not None:
        raise UserError("--adapter and --adapter-column were both given; choose one")
    if adapter_column is not None and not inputs:
        raise UserError(
            "--adapter-column is for the rows of files; name the adapter of other texts with --adapter"
        )
    if other and (adapter is not None or adapter_column is not None):
        raise UserError(f"{given} is for predictions; leave out --explain and --choose, or the adapter")
