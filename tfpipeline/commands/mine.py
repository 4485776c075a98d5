"""`tfpipeline mine`: writes pairs with hard negatives, to train the task similarity on."""

from __future__ import annotations

from typing import Optional

import typer

from tfpipeline import mistaken, paths, terminal
from tfpipeline.commands import _options as options
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import UserError, explain_missing_extra


def command(
    run_directory: str = typer.Argument(
        metavar="RUN", help="A run of the task similarity, or a checkpoint that such a task can use."
    ),
    data: str = typer.Option(..., help="A file of pairs, with the columns of the run's data."),
    to: str = typer.Option(..., help="The file to write, .jsonl, which appears once it is complete."),
    count: int = typer.Option(1, help="Number of negatives per row."),
    skip: int = typer.Option(0, help="Number of most similar texts to leave out; they may be right."),
    depth: int = typer.Option(100, help="The last rank to consider."),
    margin: float = typer.Option(
        0.0, help="How far a negative's similarity must be below that of the right text."
    ),
    relative_margin: float = typer.Option(0.05, help="The same, as a share of the right text's similarity."),
    corpus: Optional[str] = typer.Option(None, help="A file of further texts to search."),
    corpus_id: str = typer.Option("id", help="The column of their IDs."),
    corpus_text: str = typer.Option("text", help="The column of these texts."),
    teacher: Optional[str] = typer.Option(
        None,
        help="A run of the task pair (a cross-encoder), whose scores are written for the loss margin_mse.",
    ),
    teacher_label: Optional[str] = typer.Option(
        None, help="The label that means that two texts belong together, if the teacher predicts labels."
    ),
    overrides: Optional[list[str]] = options.SETTINGS,
    encoding: Optional[str] = options.ENCODING,
    delimiter: Optional[str] = options.DELIMITER,
    sheet: Optional[str] = options.SHEET,
) -> None:
    """Find hard negatives for pairs of texts: similar texts that are not right.

    Work that was interrupted continues when the command is run again.
    """
    for path in filter(None, (data, to, corpus)):
        paths.local(path)  # remote paths are rejected before anything is loaded
    mistaken.require_run(run_directory)
    if teacher_label is not None and teacher is None:
        raise UserError("--teacher-label is for a teacher; name one with --teacher RUN")
    with explain_missing_extra():
        from tfpipeline.data.records import file_options
        from tfpipeline.mining.choosing import Choice
        from tfpipeline.mining.reading import checked_destination, read_early
        from tfpipeline.tasks import CorpusFile

        reading = file_options(encoding=encoding, delimiter=delimiter, sheet=sheet)
        choice = Choice(count, skip, depth, margin, relative_margin)
        checked_destination(to)
        texts = None
        if corpus is not None:
            texts = CorpusFile(corpus, terminal.typed(corpus_id), terminal.typed(corpus_text))
        rows = None if overrides else read_early(run_directory, data, texts, reading)
    load_tensorflow()
    from tfpipeline.mining import mine

    mined = mine(
        run_directory,
        data,
        to,
        choice=choice,
        corpus=texts,
        teacher=teacher,
        teacher_label=None if teacher_label is None else terminal.typed(teacher_label),
        overrides=[*map(terminal.typed, overrides or [])],
        reading=reading,
        rows=rows,
    )
    print(mined.path)
