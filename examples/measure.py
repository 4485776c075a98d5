"""Trains an example with several seeds and writes what came out into its README.md.

    python -m examples.measure vader_movie              # seeds 0, 1 and 2
    python -m examples.measure vader_movie --seeds 1

Data and checkpoint are made if need be. Stopped, and started again, it goes on where it was: a finished run
is not trained again. The runs are in demo/NAME/run-SEED; the table stands between two markers of the README.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from examples import checkpoints
from tfpipeline.data.readers import read_records
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.files import write_text

EXAMPLES = Path(__file__).parent
MARKERS = "<!-- measured -->", "<!-- /measured -->"
OTHERS = 3  # metrics beside the headline
# The first of these that a task has; a task of several heads has each under the head's name.
INTERESTING = (
    *("bleu", "rouge_1", "rouge_2", "rouge_l", "chrf"),
    *("accuracy", "exact_match", "f1", "precision", "recall", "macro_f1", "token_accuracy"),
    *("has_answer_f1", "no_answer_accuracy"),
    *("recall@1", "recall@10", "ndcg@10"),
    *("roc_auc", "mcc", "pearson", "spearman", "mae", "rmse", "r2"),
)


def names() -> list[str]:
    """The examples that can be measured here: a run file, a table to fill, and no recipe that fills it
    itself.
    """
    return sorted(path.parent.name for path in EXAMPLES.glob("*/run.yaml") if _has_table(path.parent))


def measure(name: str, seeds: int = 3) -> Path:
    """Train, evaluate, write the table.

    Args:
        name: the example's folder.
        seeds: how many trainings, with ``training.seed`` 0, 1 and so on.
    Returns:
        The README that was written.
    Raises:
        UserError: no such example, or as training and evaluation say.
    """
    import tfpipeline
    from tfpipeline import config
    from tfpipeline.training.run_config import RunConfig

    if name not in names():
        raise UserError(f'there is no example "{name}" to measure{did_you_mean(name, names())}')
    run_file = EXAMPLES / name / "run.yaml"
    settings = config.load(run_file, RunConfig)
    make_inputs(name, settings)
    runs, reports = [], []
    for seed in range(seeds):
        run = tfpipeline.train(run_file, [f"training.seed={seed}", f"output={settings.output}-{seed}"])
        if not (run.path / "report.json").is_file():
            tfpipeline.evaluate(run)
        runs.append(run)
        reports.append(read_json(run.path / "report.json"))
    rows = {split: len(runs[0].examples(split)) for split in ("train", "validation")}
    lines = [
        *table(reports, *constant_answer(settings.data.test or "", reports[0], settings.data.label)),
        "",
        remark(rows, reports, read_json(runs[0].path / "environment.json")),
    ]
    readme = EXAMPLES / name / "README.md"
    write_text(readme, insert(readme.read_text("utf-8"), lines, readme))
    return readme


def make_inputs(name: str, settings: Any) -> None:
    """The data, and the packaged checkpoint if the run file starts from one; what is there is kept."""
    module = importlib.import_module(f"examples.{name}.prepare")
    module.prepare(Path(settings.data.train).parent)
    make_checkpoint(Path(settings.checkpoint))


def make_checkpoint(path: Path) -> None:
    """The packaged checkpoint that is meant by a path in demo/checkpoints; others are left to their
    makers.
    """
    if path.parent == checkpoints.FOLDER:
        checkpoints.checkpoint(path.name)


def columns(headline: str, scores: Mapping[str, float]) -> list[str]:
    """The headline metric, then a few others."""
    ranked = sorted(
        (metric for metric in scores if metric != headline and base(metric) in INTERESTING),
        key=lambda metric: INTERESTING.index(base(metric)),
    )
    return [headline, *ranked[:OTHERS]]


def base(metric: str) -> str:
    """Without the head's name: ``tweet/accuracy`` is an accuracy."""
    return metric.rpartition("/")[2]


def table(reports: Sequence[Mapping[str, Any]], answer: str, constant: Mapping[str, float]) -> list[str]:
    """Markdown: a line a model, mean and range over the reports.

    Args:
        reports: what ``report.json`` holds, one a seed; the same models and metrics in each.
        answer: an answer that fits any row.
        constant: metric -> what that one alone reaches; empty for none.
    """
    scores = [report["scores"] for report in reports]
    last = list(scores[0])[-1]
    metrics = columns(reports[0]["metric"], scores[0][last])
    lines = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    if constant:
        cells = [f"{constant[metric]:.3f}" if metric in constant else "" for metric in metrics]
        lines.append(f"| always {answer} | " + " | ".join(cells) + " |")
    for model in scores[0]:
        cells = [spread(one[model][metric] for one in scores if metric in one[model]) for metric in metrics]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return lines


def spread(values: Iterable[float]) -> str:
    """``mean (least to most)``; the mean alone where that says it all, nothing for no values."""
    found = list(values)
    if not found:
        return ""
    mean, least, most = (f"{value:.3f}" for value in (sum(found) / len(found), min(found), max(found)))
    return mean if least == most else f"{mean} ({least} to {most})"


def remark(rows: Mapping[str, int], reports: Sequence[Any], environment: Mapping[str, str]) -> str:
    """What was measured on, with what."""
    seeds = "seed 0" if len(reports) == 1 else f"mean (least to most) of seeds 0 to {len(reports) - 1}"
    versions = ", ".join(f"{name} {version}" for name, version in environment.items())
    return (
        f"{seeds[0].upper()}{seeds[1:]}; {rows['train']:,} rows trained on, {rows['validation']:,} to "
        f"choose the epoch, "
        f"{reports[0]['rows']:,} tested on. {versions}."
    )


def constant_answer(test: str, report: Mapping[str, Any], label: str | None) -> tuple[str, dict[str, float]]:
    """What one answer to all rows reaches: none where rows may have none, else the most frequent label.

    Args:
        test: the file of the test rows.
        report: what ``report.json`` holds.
        label: the column of the label; None for a task of several heads, each with a column of its own name.
    Returns:
        The answer, and of each metric that is known without a model what it reaches.
    """
    scores = list(report["scores"].values())[-1]
    if "no_answer_accuracy" in scores:
        rows = [json.loads(record.columns[str(label)])["text"] for record in read_records(test)]
        share = rows.count([]) / len(rows)
        known = {"exact_match": share, "f1": share, "has_answer_f1": 0.0, "no_answer_accuracy": 1.0}
        return "no answer", known
    found: dict[str, float] = {}
    for metric in scores:
        if base(metric) == "accuracy":
            column = metric.rpartition("/")[0] or label
            cells = (record.columns.get(str(column)) for record in read_records(test))
            labels = [cell for cell in cells if cell]
            if labels:
                found[metric] = Counter(labels).most_common(1)[0][1] / len(labels)
    return "the most frequent label", found


def insert(text: str, lines: Sequence[str], readme: Path) -> str:
    """The text of a README with ``lines`` between its markers.

    Raises:
        UserError: it has no markers.
    """
    before, start, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not end:
        raise UserError(f"{readme} has no place for the table; put {MARKERS[0]} and {MARKERS[1]} into it")
    return "\n".join([f"{before}{start}", *lines, f"{end}{after}"])


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _has_table(folder: Path) -> bool:
    readme = folder / "README.md"
    own = (folder / "recipe.py").is_file()
    return not own and readme.is_file() and MARKERS[0] in readme.read_text("utf-8")


def finish(action: Callable[[], Path]) -> None:
    """Print what ``action`` gives; where it is stopped or cannot go on, end as ``tfpipeline train`` does."""
    from tfpipeline.training import Interrupted

    try:
        print(action())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(130)


def main(arguments: list[str] | None = None) -> None:
    """Measure one example."""
    parser = argparse.ArgumentParser(prog="python -m examples.measure", description=main.__doc__)
    parser.add_argument("name", choices=names())
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=3)
    options = parser.parse_args(arguments)
    finish(partial(measure, options.name, options.seeds))


if __name__ == "__main__":
    main()
