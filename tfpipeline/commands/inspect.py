"""`tfpipeline inspect`: shows what a version is, or how two differ."""

from __future__ import annotations

import itertools
from typing import Optional

import typer

from tfpipeline import paths
from tfpipeline.commands import _options as options
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import UserError, explain_missing_extra


def command(
    version: str = typer.Argument(help="A version's directory, e.g. models/sentiment/3."),
    other: Optional[str] = typer.Argument(None, help="A second version, to compare with the first."),
    data: Optional[str] = typer.Option(
        None, help="A data file; compare the predictions of both versions for its texts."
    ),
    column: Optional[str] = typer.Option(
        None, help="The text column of the file; default: that of the first version's run, else text."
    ),
    pair_column: Optional[str] = typer.Option(
        None, help="The column of the second text, for models of text pairs; default: that of the run."
    ),
    rows: int = typer.Option(
        1000, min=1, help="Compare predictions for at most this many of the file's first rows."
    ),
    encoding: Optional[str] = options.ENCODING,
    delimiter: Optional[str] = options.DELIMITER,
    sheet: Optional[str] = options.SHEET,
) -> None:
    """Show a version's signatures, operations, size and card; or how two versions differ."""
    if data is not None and other is None:
        raise UserError("--data compares the answers of two versions; give the second one as well")
    texts: dict[str, list[str]] = {}
    if data is not None:
        texts = _texts(version, data, column, pair_column, rows, encoding, delimiter, sheet)
    for path in filter(None, (version, other)):
        paths.expand(path)  # a mistyped address is rejected before TensorFlow is loaded
    load_tensorflow()
    with explain_missing_extra():
        from tfpipeline.export import inspection

    if other is None:
        print(inspection.inspect(version).text())
    else:
        print(inspection.compare(version, other, texts or None).text())


def _texts(
    version: str,
    data: str,
    column: Optional[str],
    pair_column: Optional[str],
    rows: int,
    encoding: Optional[str],
    delimiter: Optional[str],
    sheet: Optional[str],
) -> dict[str, list[str]]:
    """The texts of the file's first rows, keyed by the names of the signature's inputs."""
    from tfpipeline import prediction_inputs
    from tfpipeline.data.records import FileOptions, file_options

    reading = FileOptions(**file_options(encoding=encoding, delimiter=delimiter, sheet=sheet))
    columns = prediction_inputs.own_columns(version).given(column, pair_column)
    read = list(itertools.islice(prediction_inputs.of_file(data, columns, reading), rows))
    return {name: [row.texts[name] for row in read] for name in ("text", "text_pair")[: len(columns.names)]}
