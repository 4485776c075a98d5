"""Scores by the number of training rows; writes the table of README.md.

    python -m examples.basic_english.recipe                      # 2,000, 6,000 and all rows
    python -m examples.basic_english.recipe --rows 2000

``--set`` changes the trainings, for a shorter measurement (``--set training.steps=1000``). Stopped and
started again, it goes on where it was. The runs are in demo/basic_english/runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from examples.basic_english.prepare import COLUMNS, prepare
from examples.matching_verses.prepare import write
from examples.measure import EXAMPLES, finish, insert, make_checkpoint, read_json
from tfpipeline.data.readers import read_records
from tfpipeline.files import write_text

FOLDER = Path("demo/basic_english")
ROWS = (2_000, 6_000, 18_867)
METRICS = ("bleu", "chrf", "rouge_l", "perplexity")
AFTER = "after fine-tuning"


def measure(counts: Sequence[int] = ROWS, changes: Sequence[str] = ()) -> Path:
    """Train with each number of rows, and write the table.

    Args:
        counts: numbers of training rows; the first ones are taken, which are a fair sample.
        changes: settings of the trainings that differ from run.yaml, in the form of ``--set``.
    Returns:
        The README that was written.
    Raises:
        UserError: as training and evaluation say.
    """
    import tfpipeline

    make_checkpoint(Path("demo/checkpoints/xtremedistil"))
    train, _ = prepare(FOLDER)
    every = [[record.columns[name] for name in COLUMNS] for record in read_records(train)]
    reports = {}
    for count in counts:
        path = FOLDER / "runs" / f"train-{count}.csv"
        if not path.is_file():
            write(path, COLUMNS, every[:count])
        own = [f"output={FOLDER / 'runs' / str(count)}", f"data.train={path}", *changes]
        run = tfpipeline.train(EXAMPLES / "basic_english" / "run.yaml", own)
        if not (run.path / "report.json").is_file():
            tfpipeline.evaluate(run, baseline=count == counts[-1])
        reports[count] = read_json(run.path / "report.json")
    versions = read_json(run.path / "environment.json")
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    shorter = f" Trained with {' '.join(f'`--set {change}`' for change in changes)}." if changes else ""
    remark = f"Seed 0; {reports[counts[-1]]['rows']:,} rows tested on.{shorter} {told}."
    readme = EXAMPLES / "basic_english" / "README.md"
    write_text(readme, insert(readme.read_text("utf-8"), [*table(reports), "", remark], readme))
    return readme


def table(reports: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Markdown: the baselines of the last report, then a line a number of rows.

    Args:
        reports: number of training rows -> what ``report.json`` holds.
    """
    lines = [f"| | {' | '.join(METRICS)} |", "|---" * (len(METRICS) + 1) + "|"]

    def line(name: str, scores: Mapping[str, float]) -> str:
        return f"| {name} | {' | '.join(_cell(scores.get(metric)) for metric in METRICS)} |"

    last = reports[list(reports)[-1]]["scores"]
    lines += [line(model, scores) for model, scores in last.items() if model != AFTER]
    for count, report in reports.items():
        lines.append(line(f"{AFTER}, {count:,} rows", report["scores"][AFTER]))
    return lines


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value < 1 else f"{value:.1f}"


def main(arguments: list[str] | None = None) -> None:
    """Train with different numbers of rows."""
    parser = argparse.ArgumentParser(prog="python -m examples.basic_english.recipe", description=main.__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--set", action="append", default=[], help="a setting of the trainings")
    options = parser.parse_args(arguments)
    finish(partial(measure, options.rows, options.set))


if __name__ == "__main__":
    main()
