"""`tfpipeline index`: embeds the rows of data files, so that they can be searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import typer

from tfpipeline import mistaken, terminal
from tfpipeline.commands import _options
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import explain_missing_extra

if TYPE_CHECKING:
    from tfpipeline.index.unfinished import Embedder


def command(
    model: str = typer.Argument(
        metavar="RUN", help="A run of the task similarity, or a checkpoint of sentence-transformers."
    ),
    data: list[str] = typer.Option(..., help="A data file of any format that can be read; may be repeated."),
    to: str = typer.Option(..., help="The folder of the index; an index that is there is replaced."),
    text: str = typer.Option("text", help="The column of the texts that are searched."),
    id_column: str = typer.Option("id", "--id", help="The column of the ids, all different."),
    keep: str = typer.Option(
        "", metavar="COLUMNS", help="Further columns that a search returns, such as title,url."
    ),
    precision: str = typer.Option(
        "float32", help="How vectors are stored: float32, bfloat16 (half the size) or int8 (a quarter)."
    ),
    lists: Optional[int] = typer.Option(
        None,
        help="Inverted lists, of which a search reads the nearest ones; 0: exact search. Default: 0 up to "
        "200,000 rows, and about 4 times the square root of the rows above.",
    ),
    probes: Optional[int] = typer.Option(
        None,
        help="Lists that a search reads; default: as few as find 97 % of what exact search finds.",
    ),
    pooling: Optional[str] = typer.Option(
        None, help="For a checkpoint that does not say how its vectors are made: mean, cls, last or pooler."
    ),
    weights: str = typer.Option("best", help="Of a run: best or last."),
    encoding: Optional[str] = _options.ENCODING,
    delimiter: Optional[str] = _options.DELIMITER,
    sheet: Optional[str] = _options.SHEET,
    overrides: Optional[list[str]] = _options.SETTINGS,
) -> None:
    """Embed the rows of data files, so that a model can search them.

    A build that was interrupted continues when the command is run again.
    """
    with explain_missing_extra():  # what can be checked is checked before TensorFlow is loaded
        from tfpipeline.data.records import FileOptions, file_options
        from tfpipeline.index.building import IndexOptions, build, checked_destination
        from tfpipeline.index.corpus import Columns

        names = [name.strip() for name in terminal.typed(keep).split(",")] if keep else []
        columns = Columns(terminal.typed(text), terminal.typed(id_column), tuple(names))
        options = IndexOptions(precision, lists, probes)
        reading = FileOptions(**file_options(encoding=encoding, delimiter=delimiter, sheet=sheet))
        checked_destination(to)
        mistaken.require_run(model)

        def embedder() -> Embedder:
            load_tensorflow()
            from tfpipeline.index.embedder import ModelEmbedder, settings

            return ModelEmbedder(model, settings(pooling, map(terminal.typed, overrides or [])), weights)

        print(build(embedder, data, to, columns, options, reading))
