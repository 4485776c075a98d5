"""What the decoding inside the served graph costs beside the model; part of ``make bench``.

Every task, as its sample in the tests has it, on MiniLM with 32 texts of 64 tokens. One JSON line a task:
``share`` is the time of the decoding over that of the encoder with the head. To reach: at most 0.05.
"""

from __future__ import annotations

import argparse
import csv
import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import yaml

from benchmarks._measure import report, side_by_side
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow

SAMPLES = Path(__file__).parents[1] / "tests" / "tasks" / "samples"
BATCH, TOKENS = 32, 64


def sample_task(name: str, folder: Path) -> Any:
    """A task as its sample's rows define it."""
    from tfpipeline import config, tasks
    from tfpipeline.training.run_config import RunConfig

    given = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text("utf-8"))
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([given["rows"]["columns"], *given["rows"]["cells"]])
    settings = {
        "checkpoint": "",
        "output": "",
        "task": given["task"],
        "data": {"train": str(path), **given.get("data", {})},
    }
    run_config = config.resolve(settings, RunConfig, source=name)
    kind, options = tasks.find(name), run_config.task
    return kind.from_examples(options, kind.read(options, run_config.data, path))


def reading(function: Callable[[Any], Mapping[str, Any]], given: Any) -> Callable[[Any], object]:
    """A call that ends when its tensors are there."""
    return lambda _: [tensor.numpy() for tensor in function(given).values()]


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the decoding of answers costs beside the model.")
    parser.add_argument("--checkpoint", type=Path, help="by default the packaged MiniLM")
    parser.add_argument("--rounds", type=int, default=50, help="batches that are timed")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of a text")
    chosen = parser.parse_args(arguments)

    tf = import_tensorflow()
    from tfpipeline import checkpoints, tasks
    from tfpipeline.models import TextModel

    checkpoint = checkpoints.load(chosen.checkpoint or minilm())
    random = np.random.default_rng(0)
    ids = random.integers(5, checkpoint.config.vocab_size, (BATCH, chosen.tokens)).astype(np.int32)
    inputs = {
        "input_ids": tf.constant(ids),
        "token_type_ids": tf.zeros_like(ids),
        "attention_mask": tf.ones_like(ids),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in tasks.names():
            task = sample_task(name, Path(folder))
            model = TextModel(checkpoint.encoder(), task.head(checkpoint.config, seed=0))
            encode = tf.function(functools.partial(model, training=False))
            decode = tf.function(task.answers)
            outputs = encode(inputs)
            ways = {"model": reading(encode, inputs), "decoding": reading(decode, outputs)}
            measured = side_by_side(ways, range(chosen.rounds + 1), baseline="model")
            report(
                benchmark="decode",
                task=name,
                texts=BATCH,
                tokens=chosen.tokens,
                model_milliseconds=measured["model"]["milliseconds"],
                milliseconds=measured["decoding"]["milliseconds"],
                share=round(1 / measured["decoding"]["speed_ratio"], 5),
            )


if __name__ == "__main__":
    main()
