"""Test accuracy by the number of labelled texts, of four ways to use them; writes the table of README.md.

    python -m examples.few_labels.recipe                # 8, 32 and 128 texts a class, seeds 0, 1 and 2

Each way sees the same rows. Stopped, and started again, it goes on where it was. The runs are in
demo/few_labels.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from examples.few_labels.prepare import prepare
from examples.measure import EXAMPLES, finish, insert, make_checkpoint, read_json, spread
from tfpipeline.files import write_text

FOLDER = Path("demo/few_labels")
# Labelled texts a class -> epochs: fewer rows are seen more often.
EPOCHS = {8: 15, 32: 8, 128: 4}
# Only a linear layer learns in a frozen encoder: it bears, and needs, a rate a hundred times as high.
WAYS = {
    "frozen encoder (`freeze: all`)": (
        "frozen",
        ["training.freeze=[all]", "training.gradual_unfreezing=false", "training.learning_rate=1e-2"],
    ),
    "full fine-tuning": ("full", ["training.gradual_unfreezing=false"]),
    "`gradual_unfreezing`": ("gradual", []),
}
BASELINE = "TF-IDF + logistic regression"

Accuracies = Mapping[str, Mapping[int, Sequence[float]]]


def measure(counts: Sequence[int] = tuple(EPOCHS), seeds: int = 3) -> Path:
    """Train every way on every number of texts with every seed, and write the table.

    Args:
        counts: labelled texts a class, of ``EPOCHS``.
        seeds: how many draws; each is also the ``training.seed``.
    Returns:
        The README that was written.
    Raises:
        UserError: as training and evaluation say.
    """
    make_checkpoint(Path("demo/checkpoints/xtremedistil"))
    found: dict[str, dict[int, list[float]]] = {way: {} for way in (BASELINE, *WAYS)}
    for count in counts:
        for seed in range(seeds):
            files = prepare(FOLDER / "data" / f"{count}-{seed}", count, seed)
            for way, (short, overrides) in WAYS.items():
                output = FOLDER / "runs" / f"{short}-{count}-{seed}"
                numbers = [f"training.seed={seed}", f"training.epochs={EPOCHS[count]}"]
                # The baseline depends on the rows alone: once for each draw is enough.
                report = result(output, files, [*numbers, *overrides], baseline=short == "frozen")
                scores = report["scores"]
                found[way].setdefault(count, []).append(scores["after fine-tuning"]["accuracy"])
                if BASELINE in scores:
                    found[BASELINE].setdefault(count, []).append(scores[BASELINE]["accuracy"])
    versions = read_json(output / "environment.json")
    lines = [
        *table(found),
        "",
        f"Mean (least to most) of {seeds} draws; {report['rows']:,} rows tested on. "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}.",
    ]
    readme = EXAMPLES / "few_labels" / "README.md"
    write_text(readme, insert(readme.read_text("utf-8"), lines, readme))
    return readme


def result(
    output: Path, files: tuple[Path, Path], overrides: Sequence[str], *, baseline: bool
) -> dict[str, Any]:
    """What ``report.json`` of a run holds; the run is made if need be, and its weights are not kept.

    All the recipe's runs would take several gigabytes.
    """
    import tfpipeline

    report = output / "report.json"
    if not report.is_file():
        train, test = files
        places = [f"output={output}", f"data.train={train}", f"data.validation={train}", f"data.test={test}"]
        run = tfpipeline.train(EXAMPLES / "few_labels" / "run.yaml", [*places, *overrides])
        tfpipeline.evaluate(run, baseline=baseline)
        shutil.rmtree(run.path / "checkpoints")
    return read_json(report)


def table(found: Accuracies) -> list[str]:
    """Markdown: a line a way, a column a number of texts.

    Args:
        found: way -> labelled texts a class -> the accuracy of each draw.
    """
    counts = list(next(iter(found.values())))
    lines = [
        "| test accuracy | " + " | ".join(f"{count} a class" for count in counts) + " |",
        "|---" * (len(counts) + 1) + "|",
    ]
    for way, accuracies in found.items():
        lines.append(f"| {way} | " + " | ".join(spread(accuracies[count]) for count in counts) + " |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Compare four ways to use a few labelled texts."""
    parser = argparse.ArgumentParser(prog="python -m examples.few_labels.recipe", description=main.__doc__)
    parser.add_argument("--counts", type=int, nargs="+", choices=list(EPOCHS), default=list(EPOCHS))
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=3)
    options = parser.parse_args(arguments)
    finish(partial(measure, options.counts, options.seeds))


if __name__ == "__main__":
    main()
