"""Full fine-tuning, three methods that train a fraction of the parameters, a frozen encoder and TF-IDF on the
same rows; writes the table of README.md.

    python -m examples.peft.recipe                      # two sets of rows, five ways, seeds 0, 1 and 2
    python -m examples.peft.recipe --sets tweets --ways full lora --seeds 1

Stopped, and started again, it goes on where it was. The runs are in demo/peft/runs; their weights are not
kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from examples.measure import EXAMPLES, finish, insert, make_checkpoint, read_json, spread
from examples.peft.prepare import SETS, prepare
from tfpipeline.files import write_text

FOLDER = Path("demo/peft")
CHECKPOINT = Path("demo/checkpoints/minilm")
# A fraction of the parameters bears, and needs, a higher learning rate than all of them.
WAYS = {
    "full": ("full fine-tuning", ["peft=null", "training.learning_rate=1e-4"]),
    "lora": ("LoRA, rank 8", []),
    "adalora": (
        "AdaLoRA, rank 12 to 8",
        ["peft={method: adalora, projections: [all], alpha: 64}", "training.learning_rate=5e-3"],
    ),
    "adapters": ("adapters (Houlsby), size 64", ["peft={method: adapters}", "training.learning_rate=3e-3"]),
    "frozen": (
        "frozen encoder (`freeze: all`)",
        ["peft=null", "training.freeze=[all]", "training.learning_rate=1e-2"],
    ),
}
BASELINE = "TF-IDF + logistic regression"
_ROWS, _TOKENS = 16, 64  # of a batch whose time and memory are measured


def measure(sets: Sequence[str] = tuple(SETS), ways: Sequence[str] = tuple(WAYS), seeds: int = 3) -> Path:
    """Train every way on every set with every seed, and write the table.

    Args:
        sets: of :data:`examples.peft.prepare.SETS`.
        ways: of ``WAYS``, ``full`` among them.
        seeds: how many trainings of each, with ``training.seed`` 0, 1 and so on.
    Returns:
        The README that was written.
    Raises:
        UserError: as training says.
    """
    make_checkpoint(CHECKPOINT)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(seeds):  # the seeds last: what is there when it is stopped compares all ways
        for name in sets:
            files = prepare(FOLDER / "data" / name, name)
            for way in ways:
                output = FOLDER / "runs" / f"{name}-{way}-{seed}"
                numbers = [f"training.seed={seed}", *WAYS[way][1]]
                found.setdefault((name, way), []).append(result(output, files, numbers))
    versions = read_json(output / "environment.json")
    lines = [
        *table(sets, ways, found, costs(ways)),
        "",
        remark(sets, seeds, found),
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}.",
    ]
    readme = EXAMPLES / "peft" / "README.md"
    write_text(readme, insert(readme.read_text("utf-8"), lines, readme))
    return readme


def result(output: Path, files: tuple[Path, Path], overrides: Sequence[str]) -> dict[str, Any]:
    """What was measured of a run; the run is made if need be, and its weights are not kept.

    Returns:
        ``right``: for each test row, whether the answer is; ``baseline``: the same of TF-IDF; ``trained`` and
        ``parameters``: numbers; ``bytes``: of what is trained; ``rows``: numbers by the name of the split.
    """
    import tfpipeline

    path = output / "measured.json"
    if not path.is_file():
        train, test = files
        places = [f"output={output}", f"data.train={train}", f"data.test={test}"]
        run = tfpipeline.train(EXAMPLES / "peft" / "run.yaml", [*places, *overrides])
        write_text(path, json.dumps(_measured(run)))
        shutil.rmtree(run.path / "checkpoints")
    return read_json(path)


def _measured(run: Any) -> dict[str, Any]:
    from tfpipeline.training import freezing
    from tfpipeline.training.inference import Inference
    from tfpipeline.training.rows import read_targets

    model, task, examples = run.model("best"), run.task, run.examples("test")
    targets, weights = read_targets(task, examples)
    cache = run.token_cache("test", examples)
    predicted = Inference(run.graph(model))(examples, cache, targets, "test", weights).predictions
    ((_, baseline),) = task.scorer.baselines(run.examples("train"), examples)
    trained = freezing.select(model, run.config.training.freeze)
    return {
        "right": _right(predicted, targets),
        "baseline": _right(baseline, targets),
        "trained": freezing.count(trained),
        "parameters": model.count_params(),
        "bytes": sum(variable.numpy().nbytes for variable in trained),
        "rows": {split: len(run.examples(split)) for split in ("train", "validation", "test")},
    }


def _right(predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]) -> list[int]:
    return [int(right) for right in predictions["probabilities"].argmax(-1) == targets["label"]]


def costs(ways: Sequence[str]) -> dict[str, dict[str, float]]:
    """The step's ``milliseconds`` and ``peak_mb`` of each way, measured once and kept in a file."""
    from benchmarks import peft_train
    from tfpipeline import config
    from tfpipeline.training.run_config import RunConfig

    path = FOLDER / "costs.json"
    known: dict[str, dict[str, float]] = read_json(path) if path.is_file() else {}
    if not set(ways) <= known.keys():
        settings = {}
        for way in ways:
            resolved = config.load(EXAMPLES / "peft" / "run.yaml", RunConfig, WAYS[way][1])
            settings[way] = {
                "peft": None if resolved.peft is None else config.settings(resolved.peft),
                "freeze": list(resolved.training.freeze),
            }
        known = peft_train.measure(
            settings, checkpoint=str(CHECKPOINT), examples=_ROWS, length=_TOKENS, rounds=8
        )
        write_text(path, json.dumps(known))
    return known


def difference(ones: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """By how much the accuracy of some runs is above that of others, on the same rows.

    Args:
        ones, others: for each run, whether its answer to each row is right.
    Returns:
        The difference of the means over runs, and its 95 % interval by the bootstrap over rows (paired: a row
        is drawn with the answers of all runs).
    """
    from tfpipeline.metrics.intervals import means

    rows = np.mean(ones, axis=0) - np.mean(others, axis=0)
    low, high = means({"difference": rows}, np.ones(len(rows)))["difference"]
    return float(rows.mean()), low, high


def table(
    sets: Sequence[str],
    ways: Sequence[str],
    found: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    cost: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """Markdown: a line a way.

    Args:
        sets, ways: as for :func:`measure`.
        found: what was measured of each run, by set and way.
        cost: of each way.
    """
    columns = [text for name in sets for text in (f"{name}: accuracy", f"{name}: points above full")]
    head = ["", *columns, "trained", "of all", "step", "peak memory", "file"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    full = {name: [run["right"] for run in found[name, "full"]] for name in sets}
    for way in ways:
        first = found[sets[0], way][0]
        cells = [WAYS[way][0]]
        for name in sets:
            cells += _accuracy([run["right"] for run in found[name, way]], full[name])
        cells += [f"{first['trained']:,}", f"{100 * first['trained'] / first['parameters']:.2g} %"]
        cells += [f"{cost[way]['milliseconds']:.0f} ms", f"{cost[way]['peak_mb']:.0f} MB"]
        lines.append(f"| {' | '.join([*cells, _size(first['bytes'])])} |")
    cells = [BASELINE]
    for name in sets:
        cells += _accuracy([run["baseline"] for run in found[name, "full"]], full[name])
    return [*lines, f"| {' | '.join([*cells, *[''] * 5])} |"]


def _accuracy(right: Sequence[Sequence[int]], full: Sequence[Sequence[int]]) -> list[str]:
    """The accuracy of some runs, and their difference from full fine-tuning."""
    accuracy = spread(float(np.mean(run)) for run in right)
    if right == full:
        return [accuracy, ""]
    of, low, high = (100 * points for points in difference(right, full))
    return [accuracy, f"{of:+.1f} ({low:+.1f} to {high:+.1f})"]


def _size(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"


def remark(
    sets: Sequence[str], seeds: int, found: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
) -> str:
    """What the figures are of."""
    rows = {name: found[name, "full"][0]["rows"] for name in sets}
    tested = ", ".join(f"{counts['test']:,} of {name}" for name, counts in rows.items())
    first = rows[sets[0]]
    return (
        f"Accuracy: mean (least to most) of {seeds} seeds; {first['train']:,} rows trained on, "
        f"{first['validation']:,} to choose the epoch, tested on {tested}. Points above full fine-tuning: "
        "with 95 % intervals (paired bootstrap over the test rows). Step and peak memory of the process: "
        f"{_ROWS} rows of {_TOKENS} tokens."
    )


def main(arguments: list[str] | None = None) -> None:
    """Compare ways to train a fraction of the parameters."""
    parser = argparse.ArgumentParser(prog="python -m examples.peft.recipe", description=main.__doc__)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=3)
    options = parser.parse_args(arguments)
    # All others are compared with full fine-tuning.
    ways = [way for way in WAYS if way in {"full", *options.ways}]
    finish(partial(measure, options.sets, ways, options.seeds))


if __name__ == "__main__":
    main()
