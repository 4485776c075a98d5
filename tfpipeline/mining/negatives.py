"""Finds hard negatives for pairs of texts, by an exact search with the vectors of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.console import plural, say
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file
from tfpipeline.index.unfinished import computed, partial_folder
from tfpipeline.metrics.retrieval import CELLS
from tfpipeline.mining.choosing import Choice
from tfpipeline.mining.reading import checked_destination, columns_of
from tfpipeline.mining.teacher import Teacher
from tfpipeline.paths import AnyPath
from tfpipeline.tasks import CorpusFile, MiningRows
from tfpipeline.training.model_identity import model_identity
from tfpipeline.training.opening import open_run
from tfpipeline.training.text_embedding import Prompt, TextEmbedder
from tfpipeline.training.trained_model import TrainedModel

_FLOATS, _NUMBERS = np.dtype("<f4"), np.dtype("<i4")
_NONE = -1  # in place of a negative


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
    corpus: CorpusFile | None = None,
    teacher: AnyPath | TrainedModel | None = None,
    teacher_label: str | None = None,
    overrides: Sequence[str] = (),
    reading: Mapping[str, str] = {},
    rows: MiningRows | None = None,
) -> Mined:
    """Write a file of pairs with hard negatives, to train the task ``similarity`` on.

    Each row's first text is compared with the second texts of all rows, and with the texts of a corpus, if
    one is given. Never a negative are a right text of the same query, a text of the row's group, and the
    query itself; texts that differ only in case or white space are equal. The file depends on nothing but the
    arguments. After an interruption, the same call continues: what was computed is in ``TO.partial``.

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
        rows: the rows of ``data`` and ``corpus``, if the caller has read them already.
    Returns:
        What was written.
    Raises:
        UserError: there is no such run, a row cannot be used, no row has a negative, or ``to`` is not
            writable.
    """
    path = checked_destination(to)
    run = run if isinstance(run, TrainedModel) else open_run(run, overrides)
    if rows is None:
        rows = run.task.mining_rows(run.name, columns_of(run.config, reading), data, corpus)
    if not run.has_weights("best"):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    judge = None
    if teacher is not None:
        judge = Teacher(teacher if isinstance(teacher, TrainedModel) else open_run(teacher), teacher_label)
    with partial_folder(path) as partial:
        found = _negatives(run, rows, choice, partial)
        there = found != _NONE
        kept = np.flatnonzero(there.any(axis=1))
        if not len(kept):
            raise UserError(
                f"{data}: no row has a negative among {len(rows.documents)} texts; lower --margin or "
                "--relative-margin, raise --depth, or search more texts with --corpus"
            )
        scores = None if judge is None else _scores(judge, rows, found, kept, partial)
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for line in _lines(rows, found, kept, scores):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    left_out = len(rows) - len(kept)
    if left_out:
        say(f"{data}: left out {left_out} {plural(left_out, 'row')} without a negative within the margins")
    return Mined(path, len(kept), left_out, int(there.sum()))


def _negatives(run: TrainedModel, rows: MiningRows, choice: Choice, partial: Path) -> np.ndarray:
    """The documents that become each row's negatives, int32 [N, count], as :meth:`Choice.choose` gives them;
    -1 in place of missing ones.
    """
    graph = run.graph(run.model())
    identity = model_identity(run, graph)

    def embedded(prompt: Prompt, texts: Sequence[str], title: str) -> np.ndarray:
        embedder = TextEmbedder(graph, run.name, prompt)
        return computed(
            partial / f"{title}.f32",
            [identity, prompt, _digest(texts)],
            (len(texts), embedder.dimension),
            _FLOATS,
            lambda part: _unit(embedder(texts[part])),
            title=title,
            what=f"{title} are embedded",
        )

    queries = embedded("query", rows.queries, "queries")
    documents = embedded("document", rows.documents, "documents")
    block = max(1, CELLS // len(documents))

    def chosen(part: slice) -> np.ndarray:
        found = np.full((part.stop - part.start, choice.count), _NONE, _NUMBERS)
        for start in range(part.start, part.stop, block):
            asked = rows.query_of[start : min(start + block, part.stop)]
            table = queries[asked] @ documents.T
            right = table[np.arange(len(asked)), rows.right_of[start : start + len(asked)]]
            for scores, query in zip(table, asked.tolist()):
                scores[rows.barred(query)] = -np.inf
            for row, own in enumerate(choice.choose(table, right), start - part.start):
                found[row, : len(own)] = own
        return found

    pairs = [_digest(rows.queries), _digest(rows.documents), *map(_of_array, (rows.query_of, rows.right_of))]
    barred = _of_array(np.concatenate([rows.barred(query) for query in range(len(rows.queries))]))
    return computed(
        partial / "negatives.i32",
        [identity, *pairs, barred, asdict(choice)],
        (len(rows), choice.count),
        _NUMBERS,
        chosen,
        title="search",
        what="rows are searched for",
    )


def _scores(
    teacher: Teacher, rows: MiningRows, found: np.ndarray, kept: np.ndarray, partial: Path
) -> np.ndarray:
    """The teacher's scores, float32 [P, 1]: of each row that is kept its pair, then its negatives."""
    row_of, document = _pairs(found, kept)

    def scored(part: slice) -> np.ndarray:
        pairs = [rows.pair(row) for row in row_of[part].tolist()]
        seconds = [
            right if number == _NONE else rows.documents[number]
            for (_, right), number in zip(pairs, document[part].tolist())
        ]
        return teacher([first for first, _ in pairs], seconds)[:, None]

    texts = _digest(text for row in kept.tolist() for text in rows.pair(row))
    return computed(
        partial / "scores.f32",
        [teacher.identity, texts, _digest(rows.documents), _of_array(row_of), _of_array(document)],
        (len(row_of), 1),
        _FLOATS,
        scored,
        title="scores of the teacher",
        what="pairs are scored by the teacher",
    )


def _pairs(found: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row of each pair that a teacher scores, and its document, int64 [P]; -1 for the right text."""
    table = np.concatenate([np.full((len(kept), 1), _NONE, np.int64), found[kept]], axis=1)
    there = table != _NONE
    there[:, 0] = True
    return np.repeat(kept, there.sum(axis=1)), table[there]


def _lines(
    rows: MiningRows, found: np.ndarray, kept: np.ndarray, scores: np.ndarray | None
) -> Iterator[dict[str, Any]]:
    """The rows of the file."""
    start = 0
    for row in kept.tolist():
        negatives = [rows.documents[number] for number in found[row].tolist() if number != _NONE]
        own = None
        if scores is not None:
            own = scores[start : start + 1 + len(negatives), 0].astype(float).tolist()
            start += len(own)
        yield rows.line(row, negatives, own)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float32 [N, D]; a vector of zeros stays as it is.

    Raises:
        UserError: a vector contains NaN or an infinity.
    """
    if not np.isfinite(vectors).all():
        raise UserError("the run's vectors are NaN or infinite, so its training has diverged")
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def _digest(texts: Iterator[str] | Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _of_array(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, np.int64).tobytes()).hexdigest()
