"""The four made-up tasks, trained with run.yaml; writes the table of README.md.

    python -m examples.made_up_tasks.recipe                 # all tasks, seed 0
    python -m examples.made_up_tasks.recipe --tasks sums

Stopped, and started again, it goes on where it was. The runs are in demo/made_up_tasks/runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from examples.made_up_tasks.prepare import TASKS, prepare
from examples.measure import EXAMPLES, finish, insert, read_json, spread
from tfpipeline.files import write_text

FOLDER = Path("demo/made_up_tasks")
METRIC = "exact_match"
EPOCHS = {"copy": 8, "reverse": 12, "dates": 8, "sums": 30}
AFTER = "after fine-tuning"
MINUTES = "minutes to train, on 2 cores"


def measure(tasks: Sequence[str] = tuple(TASKS), seeds: int = 1) -> Path:
    """Train each task with every seed, and write the table.

    Args:
        tasks: some of ``TASKS``.
        seeds: how many trainings of each.
    Returns:
        The README that was written.
    Raises:
        UserError: as training and evaluation say.
    """
    import tfpipeline

    prepare(FOLDER)
    found: dict[str, dict[str, list[float]]] = {}
    for task in tasks:
        for seed in range(seeds):
            overrides = [
                f"output={FOLDER / 'runs' / f'{task}-{seed}'}",
                f"data.train={FOLDER / task / 'train.csv'}",
                f"data.test={FOLDER / task / 'test.csv'}",
                f"training.epochs={EPOCHS[task]}",
                f"training.seed={seed}",
            ]
            run = tfpipeline.train(EXAMPLES / "made_up_tasks" / "run.yaml", overrides)
            if not (run.path / "report.json").is_file():
                tfpipeline.evaluate(run)
            report = read_json(run.path / "report.json")
            for model, scores in report["scores"].items():
                found.setdefault(model, {}).setdefault(task, []).append(scores[METRIC])
            minutes = run.store.state("last")["seconds"] / 60
            found.setdefault(MINUTES, {}).setdefault(task, []).append(minutes)
    lines = [*table(found, tasks), "", remark(report, read_json(run.path / "environment.json"), seeds)]
    readme = EXAMPLES / "made_up_tasks" / "README.md"
    write_text(readme, insert(readme.read_text("utf-8"), lines, readme))
    return readme


def table(found: Mapping[str, Mapping[str, Sequence[float]]], tasks: Sequence[str]) -> list[str]:
    """Markdown: a line a model, a column a task; the minutes last.

    Args:
        found: model -> task -> the exact match of each seed, or the minutes.
        tasks: the columns.
    """
    lines = [f"| test {METRIC} | {' | '.join(tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    for model in sorted(found, key=lambda model: (model == MINUTES, model == AFTER)):
        cells = [spread(found[model].get(task, [])) for task in tasks]
        if model == MINUTES:
            cells = [f"{max(found[model][task]):.1f}" for task in tasks]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def remark(report: Mapping[str, Any], environment: Mapping[str, str], seeds: int) -> str:
    """What was measured on, with what."""
    versions = ", ".join(f"{name} {version}" for name, version in environment.items())
    which = "Seed 0" if seeds == 1 else f"Mean (least to most) of seeds 0 to {seeds - 1}"
    return f"{which}; {report['rows']:,} rows tested on. {versions}."


def main(arguments: list[str] | None = None) -> None:
    """Train the made-up tasks."""
    parser = argparse.ArgumentParser(prog="python -m examples.made_up_tasks.recipe", description=main.__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=1)
    options = parser.parse_args(arguments)
    finish(partial(measure, options.tasks, options.seeds))


if __name__ == "__main__":
    main()
