"""Evaluates a run before and after fine-tuning, with a cheap baseline; or a fine-tuned checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfpipeline import paths
from tfpipeline.console import say
from tfpipeline.data import Rows, TokenCache
from tfpipeline.errors import UserError
from tfpipeline.evaluation.report import Entry, Report
from tfpipeline.evaluation.seen import seen_note
from tfpipeline.files import require_writable
from tfpipeline.models import TextModel
from tfpipeline.paths import AnyPath
from tfpipeline.tasks import Task
from tfpipeline.training.calibration import calibrate as fit
from tfpipeline.training.calibration import calibrated_title
from tfpipeline.training.confidence import Confidence
from tfpipeline.training.inference import Inference, Predictions
from tfpipeline.training.opening import open_run
from tfpipeline.training.rows import check_targets, read_targets
from tfpipeline.training.text_embedding import TextEmbedder, embed_all
from tfpipeline.training.trained_model import TrainedModel
from tfpipeline.training.validation import ValidationRows, require_validation_rows

MISTAKES = 20  # listed in the report


def evaluate(
    run: AnyPath | TrainedModel,
    data: AnyPath | None = None,
    *,
    baseline: bool = True,
    calibrate: bool = False,
    overrides: Sequence[str] = (),
    to: AnyPath | None = None,
    show: Callable[[str], object] | None = None,
    reading: Mapping[str, str] = {},
    rows: Rows | None = None,
) -> Report:
    """Compare a run's model before and after fine-tuning, or score a fine-tuned checkpoint.

    The report is also written: ``report.json``, ``report.md`` and plots, or ``report-NAME.*`` for a file
    called NAME. The scores are shown first, then saved, then plotted. If they cannot be saved, a warning says
    so.

    Args:
        run: a run directory, or a checkpoint that another program has fine-tuned.
        data: a data file with the run's columns; by default the run's test rows, or its validation rows if it
            has no test rows.
        baseline: whether to train the task's baseline on the run's training rows too.
        calibrate: whether to score the trained model once more with temperatures that are fitted on the run's
            validation rows, as ``export`` does with ``calibrate=True``.
        overrides: for a checkpoint, settings that its files do not have, such as ``data.text=review``; for a
            run, those that training does not depend on.
        to: the folder for the report, created if it does not exist; by default the run's own directory.
            Nothing is written to a checkpoint's directory, so without ``to`` the report of a checkpoint is
            not written.
        show: called with the report's text as soon as the scores are known.
        reading: ``encoding``, ``delimiter`` or ``sheet`` of the data file, if they differ from the run's.
        rows: the rows of the data file, if they have already been read.
    Returns:
        The report; its ``path`` says where it was written.
    Raises:
        UserError: there is no such run, the run is not trained, a row cannot be used, or ``to`` is not
            writable.
    """
    folder = None if to is None else paths.local(to)
    if folder is not None:
        require_writable(folder)
    run = run if isinstance(run, TrainedModel) else open_run(run, overrides)
    report = compare(run, data, baseline=baseline, calibrate=calibrate, reading=reading, rows=rows)
    if show is not None:
        show(report.text())
    folder = folder or run.reports
    if folder is None:
        return report
    stem = "report" if data is None else f"report-{paths.local(data).stem}"
    try:
        path = report.save(folder, stem)
    except UserError as error:
        say(f"warning: the scores could not be saved: {error} (--to FOLDER)")
        return report
    say(f"report: {path}")
    return dataclasses.replace(report, path=path)


def compare(
    run: TrainedModel,
    data: AnyPath | None = None,
    *,
    baseline: bool = True,
    calibrate: bool = False,
    reading: Mapping[str, str] = {},
    rows: Rows | None = None,
) -> Report:
    """Make the report of :func:`evaluate`, without showing, writing or drawing it."""
    if not run.has_weights("best"):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    task, scorer = run.task, run.task.scorer
    if calibrate:
        require_validation_rows(run, "--calibrate")
        task.temperatures()
    split: str | None = None
    if data is None:
        split = "test" if run.has_split("test") else "validation"
        examples, name = run.examples(split), f"{split} rows"
    else:
        if rows is None:
            columns = run.config.data.model_copy(update=dict(reading))
            rows = run.config.task.read(columns, paths.local(data))
            check_targets(task, [rows])
        examples, name = run.divided(rows, f"texts of {data}"), str(data)
    targets, weights = read_targets(task, examples)
    scorer.check(examples)
    seen = seen_note(run.examples("train"), examples) if run.has_split("train") else None
    if seen is not None and split is None:
        say(f"warning: {name}: {seen}")

    entries = _baselines(run, examples, targets, weights) if baseline else []
    model = run.model(run.stages[0][0])
    infer, embed = Inference(run.graph(model)), _Embedding(run, model)
    with _tokens(run, split, examples) as cache:
        for weights_name, title in run.stages:
            run.set_weights(weights_name, model)
            result = infer(examples, cache, targets, title, weights).completed(task, targets, embed)
            entries.append(_entry(title, result, task, targets, weights, trained=title == run.stages[-1][1]))
        if calibrate:
            fitted, *_ = fit(run.graph(model), ValidationRows(run))
            calibrated = Inference(run.graph(model).fitted(Confidence(fitted.temperatures)))
            title = calibrated_title(title)
            result = calibrated(examples, cache, targets, title, weights).completed(task, targets, embed)
            entries.append(_entry(title, result, task, targets, weights, trained=True))
        if baseline and run.has_split("train"):
            counted = scorer.token_baseline(functools.partial(_token_counts, run), result.predictions)
            if counted is not None:
                entries.insert(0, _baseline_entry(task, *counted, targets, weights))
        notes = run.notes_on(cache)
    return Report(
        data=name,
        rows=len(examples),
        metric=run.config.training.best_metric or scorer.best_metric,
        entries=entries,
        mistakes=scorer.shown_mistakes(result.predictions, targets, examples, MISTAKES),
        draw=functools.partial(scorer.figures, result.predictions, targets),
        notes=[*notes, *([seen] if seen else [])],
        weights=run.weights_id(run.stages[-1][0]),
        adaptation={} if model.adaptation is None else model.adaptation.report(),
    )


class _Embedding:
    """Embeds further documents with a model; see :meth:`Scorer.complete`.

    Args:
        run: the run of the model.
        model: the model, with any weights.
    """

    def __init__(self, run: TrainedModel, model: TextModel) -> None:
        self._run, self._model = run, model

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return embed_all(self._embedder, texts, "documents")

    @functools.cached_property
    def _embedder(self) -> TextEmbedder:
        return TextEmbedder(self._run.graph(self._model), self._run.name, "document")


def _baselines(
    run: TrainedModel, examples: Rows, targets: Mapping[str, np.ndarray], weights: np.ndarray
) -> list[Entry]:
    """The scores of the models to compare with."""
    train = run.examples("train") if run.has_split("train") else None
    return [
        _baseline_entry(run.task, title, predictions, targets, weights)
        for title, predictions in run.task.scorer.baselines(train, examples)
    ]


def _baseline_entry(
    task: Task,
    title: str,
    predictions: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    weights: np.ndarray,
) -> Entry:
    """The scores of a cheap model."""
    scorer = task.scorer
    return Entry(
        title,
        scorer.metrics(predictions, targets, weights),
        scorer.report(predictions, targets, weights),
    )


def _token_counts(run: TrainedModel) -> np.ndarray:
    """The number of times that each token id occurs in a run's training rows, int64 [V]."""
    examples = run.examples("train")
    with _tokens(run, "train", examples) as cache:
        return cache.token_counts(run.model_config.vocab_size)


def _entry(
    title: str,
    result: Predictions,
    task: Task,
    targets: Mapping[str, np.ndarray],
    weights: np.ndarray,
    *,
    trained: bool,
) -> Entry:
    """The scores of one model; with intervals if it is the trained one."""
    return Entry(
        title,
        result.scores(task, targets, weights),
        task.scorer.report(result.predictions, targets, weights),
        result.intervals(task, targets, weights) if trained else {},
    )


@contextlib.contextmanager
def _tokens(run: TrainedModel, split: str | None, examples: Rows) -> Iterator[TokenCache]:
    """The tokens of the rows, cached in the run if they are a split of a writable run."""
    if split is not None and os.access(run.path, os.W_OK):
        yield run.token_cache(split, examples)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield run.tokens(examples, Path(scratch) / "cache")
