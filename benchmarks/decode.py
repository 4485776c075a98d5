"""The cost of decoding inside the served graph, compared with the model; part of ``make bench``.

Every task, with its sample from the tests, on MiniLM with 32 texts of 64 tokens, one token per word. One JSON
line per task: ``share`` is the time of ``Task.predictions`` over that of the encoder with the head. Goal: at
most 0.05.
"""

from __future__ import annotations

import argparse
import csv
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import yaml

from benchmarks._measure import report, side_by_side
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow

SAMPLES = Path(__file__).parents[1] / "tests" / "tasks" / "samples"
BATCH, TOKENS = 32, 64


def sample_task(name: str, folder: Path) -> tuple[Any, bool]:
    """A task as defined by its sample's rows, and whether it predicts for pairs."""
    from tfpipeline import config
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
    options = run_config.task
    task = options.fit(options.read(run_config.data, path))
    return task, run_config.has_pairs


def texts(vocabulary: Sequence[str], words: int) -> Any:
    """A batch of texts with a given number of words, each of which is one token."""
    whole = [token for token in vocabulary if token.isalpha() and token.isascii() and len(token) > 2]
    random = np.random.default_rng(0)
    return import_tensorflow().constant([" ".join(random.choice(whole, words)) for _ in range(BATCH)])


def reading(function: Callable[..., Mapping[str, Any]], *given: Any) -> Callable[[Any], object]:
    """A call that returns when its tensors are computed."""
    return lambda _: [tensor.numpy() for tensor in function(*given).values()]


def _outputs(task: Any, model: Any, tokens: Mapping[str, Any]) -> Any:
    """The input of :meth:`Task.predictions`."""
    from tfpipeline.models.model_call import ModelCall

    return task.decode(ModelCall(model, tokens))


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The cost of decoding compared with the model.")
    parser.add_argument("--checkpoint", type=Path, help="by default the packaged MiniLM")
    parser.add_argument("--rounds", type=int, default=50, help="batches that are timed")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens per text")
    chosen = parser.parse_args(arguments)

    tf = import_tensorflow()
    from tfpipeline import checkpoints, tasks
    from tfpipeline.models import TextModel
    from tfpipeline.models.inputs import encoder_inputs
    from tfpipeline.text import WordPieceTokenizer

    checkpoint = checkpoints.load(chosen.checkpoint or minilm())
    tokenizer = WordPieceTokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
    text, pair = (
        texts(checkpoint.vocabulary, chosen.tokens - 2),
        texts(checkpoint.vocabulary, chosen.tokens - 6),
    )
    asked = {
        False: {"text": text},
        True: {"text": texts(checkpoint.vocabulary, 3), "text_pair": pair},
    }
    inputs = {
        two: {
            **given,
            **tokenizer(given["text"], given.get("text_pair"), max_length=chosen.tokens, offsets=True),
        }
        for two, given in asked.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in tasks.names():
            task, two = sample_task(name, Path(folder))
            task = task.with_tokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
            tokens = encoder_inputs(inputs[two])
            model = TextModel(checkpoint.encoder(), task.head(checkpoint.config, seed=0))
            # A task that writes texts calls the model for each token: that is the model's time, too.
            encode = tf.function(functools.partial(_outputs, task, model))
            decode = tf.function(task.predictions)
            outputs = encode(tokens)
            ways = {"model": reading(encode, tokens), "decoding": reading(decode, outputs, inputs[two])}
            measured = side_by_side(ways, range(chosen.rounds + 1), baseline="model")
            model_time, time = (measured[way]["milliseconds"] for way in ("model", "decoding"))
            report(
                benchmark="decode",
                task=name,
                texts=BATCH,
                tokens=chosen.tokens,
                model_milliseconds=model_time,
                milliseconds=time,
                share=round(time / model_time, 5),  # not of speed_ratio, which is rounded
            )


if __name__ == "__main__":
    main()
