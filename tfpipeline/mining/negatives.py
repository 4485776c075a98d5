"""Finds hard negatives for pairs of texts, by an exact search with the vectors of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline import paths
from tfpipeline.console import plural, progress, say
from tfpipeline.data import Example, Rows
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file, require_writable
from tfpipeline.metrics.retrieval import CELLS, numbered
from tfpipeline.mining.choosing import Choice
from tfpipeline.mining.teacher import Teacher
from tfpipeline.paths import AnyPath
from tfpipeline.tasks.similarity import Similarity
from tfpipeline.tasks.similarity.corpus import Corpus, CorpusOptions
from tfpipeline.tasks.similarity.rows import NEGATIVE, NEGATIVE_SCORES, SCORE, text_keys
from tfpipeline.tasks.similarity.scorer import unit
from tfpipeline.tasks.similarity.search import Search
from tfpipeline.training.opening import open_run
from tfpipeline.training.text_embedding import TextEmbedder, embed_all
from tfpipeline.training.trained_model import TrainedModel

SUFFIX = ".jsonl"
_NEGATIVE_SCORE = f"{NEGATIVE}_score"
_DECIMALS = 6  # of the teacher's scores


@dataclass(frozen=True)
class Mined:
    """The result of :func:`mine`.

    Attributes:
        path: the file that was written.
        rows: the number of rows in it.
        left_out: the number of rows without a negative, which are not in it.
        negatives: the number of negatives in it.
    """

    path: Path
    rows: int
    left_out: int
    negatives: int


def mine(
    run: AnyPath | TrainedModel,
    data: AnyPath,
    to: AnyPath,
    *,
    choice: Choice = Choice(),  # noqa: B008 - it is frozen
    corpus: CorpusOptions | None = None,
    teacher: AnyPath | TrainedModel | None = None,
    teacher_label: str | None = None,
    overrides: Sequence[str] = (),
    reading: Mapping[str, str] = {},
) -> Mined:
    """Write a file of pairs with hard negatives, to train the task ``similarity`` on.

    Each row's first text is compared with the second texts of all rows, and with the texts of a corpus, if
    one is given. Never a negative are a right text of the same query, a text of the row's group, and the
    query itself; texts that differ only in case or white space are equal. The file depends on nothing but the
    arguments.

    Args:
        run: a run of the task ``similarity``, or a checkpoint that such a task can use.
        data: a file of pairs, with the columns of the run's data. Negatives in it are replaced.
        to: the file to write, in JSON lines: the row's columns, and ``negative``, a list of texts. With a
            teacher also ``score`` (or the column that the run's ``data.label`` names), a number, and
            ``negative_score``, a list of numbers.
        choice: which documents become negatives.
        corpus: a file of further texts.
        teacher: a run of the task ``pair``, whose scores are written.
        teacher_label: the label that means that two texts belong together, if the teacher predicts labels.
        overrides: for a checkpoint, settings that its files do not have, such as ``data.text_pair=answer``.
        reading: ``encoding``, ``delimiter`` or ``sheet`` of the data file, if they differ from the run's.
    Returns:
        What was written.
    Raises:
        UserError: there is no such run, a row cannot be used, no row has a negative, or ``to`` is not
            writable.
    """
    path = _checked_destination(to)
    run = run if isinstance(run, TrainedModel) else open_run(run, overrides)
    columns = run.config.data.model_copy(update=dict(reading))
    rows = _pairs(run, columns, paths.local(data))
    judge = None
    if teacher is not None:
        judge = Teacher(teacher if isinstance(teacher, TrainedModel) else open_run(teacher), teacher_label)
    documents = _documents(rows, () if corpus is None else corpus.content.texts)
    negatives = _negatives(run, rows, documents, choice)
    kept = [
        (rows[number], [documents.texts[each] for each in own.tolist()])
        for number, own in enumerate(negatives)
        if len(own)
    ]
    left_out = len(rows) - len(kept)
    if not kept:
        raise UserError(
            f"{data}: no row has a negative among {len(documents)} texts; lower --margin or "
            "--relative-margin, raise --depth, or search more texts with --corpus"
        )
    scores = None if judge is None else _scores(judge, kept)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for line in _lines(kept, columns, scores):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if left_out:
        say(f"{data}: left out {left_out} {plural(left_out, 'row')} without a negative within the margins")
    return Mined(path, len(kept), left_out, sum(len(own) for _, own in kept))


def _checked_destination(to: AnyPath) -> Path:
    path = paths.local(to)
    if path.suffix.lower() != SUFFIX or path.is_dir():
        raise UserError(
            f"--to {path}: negatives are written as JSON lines; name a file that ends in {SUFFIX}"
        )
    require_writable(path.parent)
    return path


def _pairs(run: TrainedModel, columns: DataOptions, data: Path) -> Rows:
    """The pairs of the data file."""
    task = run.config.task
    if not isinstance(run.task, Similarity):
        raise UserError(
            f"{run.name} is of the task {task.name}; negatives are found with a run of the task similarity"
        )
    if run.task.has_classes or run.task.has_scores:
        why = "texts with a class" if run.task.has_classes else "pairs with scores"
        raise UserError(
            f"{run.name} was trained on {why}, but negatives are for pairs whose second text is right; use "
            "a run that was trained on such pairs"
        )
    if columns.text_pair is None:
        raise UserError(f"{run.name} names no column of second texts; name it: --set data.text_pair=COLUMN")
    if not run.has_weights("best"):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    # Negatives in the file are not needed, and are replaced.
    return task.model_copy(update={"negatives": None, "loss": "infonce"}).read(columns, data)


def _documents(rows: Rows, further: Sequence[str]) -> Corpus:
    """The different texts to search: the second texts of the rows, then the further ones."""
    texts = [*(example.text_pair or "" for example in rows), *further]
    _, first = numbered(text_keys(texts))
    return Corpus(
        "", [str(number) for number in range(len(first))], [texts[place] for place in first.tolist()]
    )


def _negatives(run: TrainedModel, rows: Rows, documents: Corpus, choice: Choice) -> list[np.ndarray]:
    """The numbers of each row's negatives, N, as :meth:`Choice.choose` gives them."""
    targets = run.task.targets(rows)
    search = Search.of(targets, documents)
    query_of, first = numbered(targets["text_key"])
    right_of = documents.numbers(targets["text_pair_key"])
    graph = run.graph(run.model())
    queries = unit(
        embed_all(
            TextEmbedder(graph, run.name, "query"), [rows[row].text for row in first.tolist()], "queries"
        )
    )
    vectors = unit(embed_all(TextEmbedder(graph, run.name, "document"), documents.texts, "documents"))
    found: list[np.ndarray] = []
    size = max(1, CELLS // len(documents))
    with progress("search", len(rows)) as bar:
        for start in range(0, len(rows), size):
            asked = query_of[start : start + size]
            table = queries[asked] @ vectors.T
            right = table[np.arange(len(asked)), right_of[start : start + size]]
            for scores, query in zip(table, asked.tolist()):
                scores[search.relevant(query)] = -np.inf
                scores[search.excluded(query)] = -np.inf
            found += choice.choose(table, right)
            bar.advance(len(asked))
    return found


def _scores(teacher: Teacher, kept: Sequence[tuple[Example, list[str]]]) -> Iterator[list[float]]:
    """The teacher's scores of each row: of the right text, then of the negatives."""
    pairs = [(example.text, text) for example, own in kept for text in (example.text_pair or "", *own)]
    scores = iter(np.round(teacher(*map(list, zip(*pairs))).astype(float), _DECIMALS).tolist())
    for _, own in kept:
        yield [next(scores) for _ in range(1 + len(own))]


def _lines(
    kept: Sequence[tuple[Example, list[str]]], columns: DataOptions, scores: Iterator[list[float]] | None
) -> Iterator[dict[str, Any]]:
    """The rows of the file."""
    for example, negatives in kept:
        roles = {
            columns.text: example.text,
            columns.text_pair: example.text_pair,
            columns.label: example.label,
            columns.weight: example.weight,
            columns.group: example.group,
        }
        line: dict[str, Any] = {str(name): value for name, value in roles.items() if name is not None}
        line.update((name, cell) for name, cell in example.columns.items() if name != NEGATIVE_SCORES)
        line[NEGATIVE] = negatives
        if scores is not None:
            right, *rest = next(scores)
            line[columns.label or SCORE] = right
            line[_NEGATIVE_SCORE] = rest
        yield line
