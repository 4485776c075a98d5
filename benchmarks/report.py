"""The cost of a report, compared with the predictions.

    make bench
    python -m benchmarks.report [--labels N ...]

Runs of a small random BERT with increasing numbers of labels, with the same number of test rows per label,
are evaluated as ``tfpipeline evaluate`` does: scores before and after, baseline, tables, mistakes, JSON,
Markdown and plots. One JSON line per run: the seconds of the predictions and of everything else; for the
latter also the CPU time (``processor_seconds``, which does not depend on other load on the machine); the
process's memory (``base_mb`` before the start, ``peak_mb`` at its highest); and ``microseconds_a_score``, the
CPU time per labels x rows, which must not grow with the number of labels. Goal at 1,000 labels: 30 s in
addition to the predictions, and 1 GB above the base.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import numpy as np

from benchmarks._measure import memory_mb, peak_mb, report, reset_peak
from examples.random_bert import random_checkpoint, vocabulary_of
from tfpipeline.runtime import import_tensorflow

TASKS = ("classification", "multilabel")
WORDS = ("good", "bad", "fine")


def rows(labels: int, count: int, part: str) -> Iterator[str]:
    """Lines of a CSV file: ``count`` texts per label. Each label has its own word, in two of three texts."""
    yield "text,label\n"
    for label in range(labels):
        for number in range(count):
            word = f"product{label}" if number % 3 else "something"
            yield f"{word} item {WORDS[number % 3]} {part}{number},intent_{label:05d}\n"


def laid_out(task: str, labels: int, count: int, folder: Path) -> Any:
    """A run with weights that no step has changed."""
    from tfpipeline.text import TokenizerOptions
    from tfpipeline.training.run import create_run
    from tfpipeline.training.run_config import RunConfig

    for part in ("train", "test"):
        (folder / f"{part}.csv").write_text("".join(rows(labels, count, part)), "utf-8")
    files = {part: str(folder / f"{part}.csv") for part in ("train", "test")}
    config = RunConfig.model_validate(
        {
            "checkpoint": "random",
            "output": str(folder / "run"),
            "data": {**files, "split": {"validation": 0.01}},
            "text": {"max_length": 24},
            "task": {"name": task},
        }
    )
    options = TokenizerOptions()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789_"
    checkpoint = random_checkpoint(vocabulary_of([2 * letters], options), options, hidden=32, positions=24)
    splits = config.task.load_splits(config.data, folder)
    run = create_run(config, checkpoint, splits)
    model = run.build_model(checkpoint.encoder(run.model_config))
    run.store.save(["initial", "last", "best"], 0, model, None, {})
    return run


def measure(task: str, labels: int, count: int) -> None:
    """Evaluate one run, and print what it cost."""
    from tfpipeline.evaluation import compare, evaluate

    predicting = np.zeros(2)

    def now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    class Timed(compare.Inference):
        def __call__(self, *given: Any) -> Any:
            began = now()
            answers = super().__call__(*given)
            np.add(predicting, now() - began, out=predicting)
            return answers

    with tempfile.TemporaryDirectory() as folder:
        run = laid_out(task, labels, count, Path(folder))
        reset_peak()
        base = memory_mb()
        with mock.patch.object(compare, "Inference", Timed):
            began = now()
            made = evaluate(run)
            seconds, processor = now() - began - predicting
        assert made.path is not None
        scores = labels * made.rows
        report(
            benchmark="report",
            task=task,
            labels=labels,
            rows=made.rows,
            prediction_seconds=round(float(predicting[0]), 1),
            seconds=round(float(seconds), 1),
            processor_seconds=round(float(processor), 1),
            microseconds_a_score=round(1e6 * float(processor) / scores, 3),
            base_mb=base,
            peak_mb=peak_mb(),
            more_mb=round(peak_mb() - base, 1),
        )


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The cost of a report compared with the predictions.")
    parser.add_argument("--labels", type=int, nargs="+", default=[77, 300, 1000], help="how many, in turn")
    parser.add_argument("--rows", type=int, default=20, help="test rows per label")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    chosen = parser.parse_args(arguments)

    import_tensorflow()
    for labels in chosen.labels:
        for task in chosen.tasks:
            measure(task, labels, chosen.rows)


if __name__ == "__main__":
    main()
