"""The cost of reading and checking the rows of several heads, compared with one; part of ``make bench``.

A CSV file with a text and three columns of labels is prepared as ``tfpipeline train`` does before it loads
TensorFlow (reading, checking, splitting, fitting the task): as a classification of the first column, and as a
multitask of three classifications. One JSON line: the seconds of both, and the median of their ratios,
measured alternately. Goal: at most 3 for 100,000 rows.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from benchmarks._measure import report, side_by_side
from tfpipeline import config
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run_config import RunConfig

HEADS = ("topic", "mood", "urgency")
LABELS = ("a", "b", "c", "d")
WORDS = 20  # per text
TASKS: dict[str, Mapping[str, Any]] = {
    "classification": {"name": "classification"},
    "multitask": {"name": "multitask", "heads": dict.fromkeys(HEADS, "classification")},
}


def write_rows(path: Path, count: int) -> None:
    """A CSV file of ``count`` rows with a label for each head; all texts differ."""
    chosen = random.Random(0)
    words = [f"word{number}" for number in range(1000)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *HEADS])
        for number in range(count):
            text = " ".join([str(number), *chosen.choices(words, k=WORDS)])
            writer.writerow([text, *chosen.choices(LABELS, k=len(HEADS))])


def run_config(task: str, path: Path) -> RunConfig:
    """The run file of one of the two tasks."""
    settings = {
        "checkpoint": "none",
        "output": "none",
        "data": {"train": str(path), "label": HEADS[0], "split": {"validation": 0.1}},
        "task": dict(TASKS[task]),
    }
    return config.resolve(settings, RunConfig, source=task)


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Rows of three heads compared with rows of one.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_rows(path, chosen.rows)
        configs = {name: run_config(name, path) for name in TASKS}
        measured = side_by_side(
            {
                name: lambda _, name=name: read_rows(configs[name])  # type: ignore[misc]
                for name in TASKS
            },
            range(chosen.rounds + 1),
            baseline="multitask",
        )
    report(
        benchmark="prepare",
        rows=chosen.rows,
        heads=len(HEADS),
        **{f"{name}_seconds": round(one["milliseconds"] / 1e3, 4) for name, one in measured.items()},
        ratio=round(measured["classification"]["speed_ratio"], 3),
    )


if __name__ == "__main__":
    main()
