"""The data pipeline with more rows than fit into memory.

    make bench
    python -m benchmarks.data [--rows N]

Writes a CSV file of N rows (VADER's tweets, repeated), prepares a run of it (reading, splitting, checking,
copying), tokenises it, and makes the batches of part of an epoch, as ``tfpipeline train`` does. JSON lines:
the seconds of each phase, and the process's memory: ``base_mb`` before the start (TensorFlow and the
vocabulary), ``peak_mb`` at its highest. The last line compares making a batch with the training step on it.
Goal: 10 million rows with less than 1 GB above the base, and less than 1 % of a step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from benchmarks._measure import peak_mb, report
from tfpipeline.runtime import import_tensorflow

STEPS = 12  # training steps, for comparison
EPOCH_ROWS = 200_000  # rows to make batches of


def tweets() -> list[str]:
    """VADER's tweets, as cells of a CSV file."""
    from examples.packaged import vader

    lines = vader("tweets").read_text("utf-8-sig").splitlines()
    return [line.split("\t", 2)[2].replace('"', '""') for line in lines if line.count("\t") >= 2]


def write_rows(path: Path, texts: list[str], count: int) -> None:
    """A CSV file of ``count`` rows with two labels; all texts differ."""
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(count):
            file.write(f'"{number} {texts[number % len(texts)]}",{"ab"[number % 2]}\n')


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The data pipeline with more rows than fit into memory.")
    parser.add_argument("--checkpoint", help="any that tfpipeline reads; by default the packaged MiniLM")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the rows are written; by default the system's temporary one")
    chosen = parser.parse_args(arguments)

    tf = import_tensorflow()
    from tfpipeline import checkpoints
    from tfpipeline.data import load_splits
    from tfpipeline.training.batching import Batching, Split
    from tfpipeline.training.precision import policy
    from tfpipeline.training.run import create_run
    from tfpipeline.training.run_config import RunConfig

    if chosen.checkpoint is None:
        from examples.packaged import minilm

        chosen.checkpoint = minilm()
    texts = tweets()
    checkpoint = checkpoints.load(chosen.checkpoint)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        write_rows(folder / "rows.csv", texts, chosen.rows)
        config = RunConfig.model_validate(
            {
                "checkpoint": str(chosen.checkpoint),
                "output": str(folder / "run"),
                "data": {"train": str(folder / "rows.csv"), "split": {"validation": 0.01}},
                "text": {"max_length": min(64, checkpoint.config.max_position_embeddings)},
                "task": {"name": "classification"},
            }
        )
        seconds: dict[str, float] = {}
        peaks: dict[str, float] = {}
        began = time.perf_counter()

        def phase(title: str) -> None:
            nonlocal began
            seconds[title] = round(time.perf_counter() - began, 1)
            peaks[title] = peak_mb()
            began = time.perf_counter()

        base = peak_mb()
        splits = load_splits(config.data, folder=folder)
        phase("read_and_split")
        run = create_run(config, checkpoint, splits)
        del splits
        phase("lay_out")
        split = Split.of(run, "train")
        phase("tokenise")
        batching = Batching(split, config.training, config.training.batch_size, None, static=False)
        batching.order(0)
        phase("order")
        count = 0
        for count, _ in enumerate(batching.groups(0, 0, 0, []), 1):
            if count * config.training.batch_size >= EPOCH_ROWS:
                break
        making = (time.perf_counter() - began) / count
        report(
            benchmark="data",
            rows=chosen.rows,
            seconds=seconds,
            batches=count,
            milliseconds_a_batch=round(1e3 * making, 3),
            base_mb=base,
            peak_mb_after=peaks,
            peak_mb=peak_mb(),
            more_mb=round(peak_mb() - base, 1),
        )
        with policy("float32"):
            model = run.build_model(checkpoint.encoder(run.model_config))
        report(benchmark="data/share", **share(run, model, batching, making, tf))


def share(run: Any, model: Any, batching: Any, making: float, tf: Any) -> dict[str, float]:
    """The time to make a batch, as a share of the training step on it."""
    from tfpipeline.training.optimizer import build_optimizer
    from tfpipeline.training.step import TrainStep

    options = run.config.training
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    step = TrainStep(strategy, model, run.task, build_optimizer(options, model, STEPS), options)
    groups: Iterator[Any] = batching.groups(0, 0, 0, [])
    times = []
    for number, group in zip(range(STEPS), groups):
        began = time.perf_counter()
        float(step.many(group.batches, number)["loss"][0])
        times.append(time.perf_counter() - began)
    middle = sorted(times)[STEPS // 2]
    return {
        "step_milliseconds": round(1e3 * middle, 1),
        "batch_milliseconds": round(1e3 * making, 3),
        "batch_share_of_step": round(making / middle, 5),
    }


if __name__ == "__main__":
    main()
