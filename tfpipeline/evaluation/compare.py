"""Evaluates a run: before fine-tuning, after it, and a cheap baseline trained on the same rows; or a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfpipeline import paths, tasks
from tfpipeline.errors import UserError
from tfpipeline.evaluation.report import Entry, Report
from tfpipeline.paths import AnyPath
from tfpipeline.training.inference import Inference
from tfpipeline.training.opening import open_run
from tfpipeline.training.run import Run

MISTAKES = 20  # listed in the report


def evaluate(
    run: AnyPath | Run,
    data: AnyPath | None = None,
    *,
    baseline: bool = True,
    overrides: Sequence[str] = (),
) -> Report:
    """Compare a run's model before and after fine-tuning, or score a fine-tuned checkpoint as it is.

    Args:
        run: a run directory, or a checkpoint that someone else fine-tuned.
        data: a data file with the run's columns; by default the run's test rows, or its validation rows
            when it has no test rows.
        baseline: whether to train the task's baseline on the run's training rows as well.
        overrides: for a checkpoint, settings that its files do not hold, such as ``data.text=review``.
    Returns:
        The report; it is also written into the run: ``report.json`` and ``report.md``, or
        ``report-NAME.*`` for a file called NAME. A checkpoint's directory is left alone.
    Raises:
        UserError: no such run, the run is not trained, or a row can't be used.
    """
    run = run if isinstance(run, Run) else open_run(run, overrides)
    if not run.has_weights("best"):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    task = run.task
    options: Any = run.config.task
    if data is None and not run.has_split("validation"):
        raise UserError(
            f"{run.name} is a checkpoint without rows of its own; name a file of rows with --data"
        )
    if data is None:
        split = "test" if run.has_split("test") else "validation"
        examples, name, stem = run.examples(split), f"{split} rows", "report"
    else:
        examples, name, stem = (
            tasks.find(options.name).read(options, run.config.data, paths.local(data)),
            str(data),
            f"report-{paths.local(data).stem}",
        )
    targets = task.targets(examples)
    weights = task.weights(examples, training=False)

    entries = []
    if baseline and run.has_split("train"):
        found = task.baseline(run.examples("train"), examples)
        if found is not None:
            title, answers = found
            entries.append(
                Entry(title, task.metrics(answers, targets, weights), task.report(answers, targets, weights))
            )
    model = run.model(run.stages[0][0])
    infer = Inference(model, task)
    with tempfile.TemporaryDirectory() as scratch:
        cache = (
            run.token_cache(split, examples)
            if data is None
            else run.tokens(examples, Path(scratch) / "cache")
        )
        for weights_name, title in run.stages:
            run.set_weights(weights_name, model)
            result = infer(examples, cache, targets, title)
            scores = result.scores(task, targets, weights)
            entries.append(Entry(title, scores, task.report(result.answers, targets, weights)))
    mistakes = [
        (examples[row].joined_text, want, got)
        for row, want, got in task.mistakes(result.answers, targets)[:MISTAKES]
    ]
    metric = run.config.training.best_metric or task.best_metric
    figures = task.figures(result.answers, targets)
    note = run.truncation.note(cache.cut, len(examples), pair=run.has_pairs)
    report = Report(name, len(examples), metric, entries, mistakes, figures, [note] if note else [])
    if run.reports is not None:
        report.save(run.reports, stem)
    return report
