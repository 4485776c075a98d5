"""A training step of LoRA compared with one of full fine-tuning: time and memory.

    python -m benchmarks.peft_train
    python -m benchmarks.peft_train --layers 2 --hidden 64 --rounds 2

Each way trains a classifier on the same random rows, in a process of its own. The processes take their steps
in turn, so other load on the machine affects all of them alike, and each has a peak memory of its own. The
encoder has BERT-base's shape and random weights; LoRA has rank 8, on query and value.

One JSON line per way. ``time_ratio`` is the median over rounds of its seconds over those of full fine-tuning;
``memory_ratio`` compares the peak memory of the processes, minus their memory after loading TensorFlow.
Goals: at most 0.75 and 0.5.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from benchmarks._measure import memory_mb, peak_mb, report, reset_peak

FULL = "full fine-tuning"
WAYS: dict[str, dict[str, Any]] = {
    FULL: {},
    "lora": {"peft": {"method": "lora", "rank": 8, "projections": ["query", "value"]}},
}
_WARM_UP = 2


def measure(
    ways: Mapping[str, Mapping[str, Any]],
    *,
    checkpoint: Optional[str] = None,
    shape: Mapping[str, int] = {},
    examples: int,
    length: int,
    rounds: int,
) -> dict[str, dict[str, float]]:
    """Let each way take steps, in turn.

    Args:
        ways: name -> ``peft``, the method and its options, and ``freeze``, as in a run file; both optional.
        checkpoint: the encoder; None for random weights.
        shape: without a checkpoint, ``layers``, ``hidden`` and ``vocabulary``.
        examples, length: rows of a batch, all with this number of tokens.
        rounds: steps that are timed, after two that are not.
    Returns:
        For each way the medians ``milliseconds`` and ``time_ratio`` (of the first way's time), and
        ``base_mb`` and ``peak_mb`` of its process.
    """
    common = {"checkpoint": checkpoint, **shape, "examples": examples, "length": length}
    with contextlib.ExitStack() as running:
        # A process has started before the next one is: they would only slow each other down.
        workers = {
            name: running.enter_context(_worker({**common, **settings})) for name, settings in ways.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for number in range(_WARM_UP + rounds):
            for name, worker in workers.items():
                taken = _ask(worker, "step")["seconds"]
                if number >= _WARM_UP:
                    seconds[name].append(taken)
        memory = {name: _ask(worker, "memory") for name, worker in workers.items()}
    first = seconds[next(iter(seconds))]
    return {
        name: {
            "milliseconds": round(1e3 * statistics.median(times), 1),
            "time_ratio": round(statistics.median(one / other for one, other in zip(times, first)), 3),
            **memory[name],
        }
        for name, times in seconds.items()
    }


@contextlib.contextmanager
def _worker(settings: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.peft_train", "--worker", json.dumps(settings)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            _ask(process, "start")
            yield process
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _ask(process: subprocess.Popen[str], what: str) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    print(what, file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the benchmark ended with exit code {process.wait()}")
    answer: dict[str, float] = json.loads(line)
    return answer


def _work(settings: Mapping[str, Any]) -> None:
    """Answer the questions on standard input."""
    from tfpipeline.runtime import import_tensorflow

    import_tensorflow()
    base = memory_mb()
    reset_peak()
    step, batch = _training(**settings)
    done = 0
    for line in sys.stdin:
        answer: dict[str, float] = {}
        if line.strip() == "step":
            start = time.perf_counter()
            loss = float(step(batch, done)["loss"])
            answer = {"seconds": time.perf_counter() - start}
            done += 1
            if not np.isfinite(loss):
                raise ArithmeticError(f"the loss is {loss}")
        elif line.strip() == "memory":
            answer = {"base_mb": base, "peak_mb": peak_mb()}
        print(json.dumps(answer), flush=True)


def _training(
    checkpoint: Optional[str],
    examples: int,
    length: int,
    layers: int = 12,
    hidden: int = 768,
    vocabulary: int = 30522,
    peft: Optional[Mapping[str, Any]] = None,
    freeze: Sequence[str] = (),
) -> tuple[Any, dict[str, np.ndarray]]:
    """The training step of a classifier, and a batch."""
    import tensorflow as tf

    from tfpipeline import checkpoints
    from tfpipeline.models import BertConfig, TextModel
    from tfpipeline.models import peft as methods
    from tfpipeline.tasks.classification import Classification, ClassificationOptions
    from tfpipeline.training import freezing
    from tfpipeline.training.global_batch import WEIGHTS
    from tfpipeline.training.optimizer import build_optimizer
    from tfpipeline.training.options import TrainingOptions
    from tfpipeline.training.step import TrainStep

    if checkpoint is not None:
        encoder = checkpoints.load(checkpoint).encoder()
    else:
        encoder = BertConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=max(1, hidden // 64),
            intermediate_size=4 * hidden,
            max_position_embeddings=512,
            type_vocab_size=2,
            hidden_act="gelu_erf",
            layer_norm_eps=1e-12,
        ).encoder()
    options = TrainingOptions(learning_rate=1e-4, freeze=list(freeze))
    task = Classification(ClassificationOptions(), ["no", "yes"])
    model = TextModel(encoder, task.head(encoder.config, seed=0))
    if peft is not None:
        methods.attach(encoder, peft).prepare(1000)
    trained = freezing.select(model, options.freeze)
    optimizer = build_optimizer(options, model, 1000, trained)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    random = np.random.default_rng(0)
    ids = random.integers(5, encoder.config.vocab_size, (examples, length)).astype(np.int32)
    batch = {
        "input_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "attention_mask": np.ones_like(ids),
        "label": random.integers(0, 2, examples).astype(np.int32),
        WEIGHTS: np.ones(examples, np.float32),
    }
    return TrainStep(strategy, model, task, optimizer, options, trained), batch


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens per row")
    parser.add_argument("--rounds", type=int, default=7, help="steps that are timed, after two that are not")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.worker:
        _work(json.loads(chosen.worker))
        return
    found = measure(
        WAYS,
        shape={"layers": chosen.layers, "hidden": chosen.hidden, "vocabulary": chosen.vocabulary},
        examples=chosen.batch_size,
        length=chosen.length,
        rounds=chosen.rounds,
    )
    full = found[FULL]["peak_mb"] - found[FULL]["base_mb"]
    for way, figures in found.items():
        ratios: dict[str, float] = {}
        if way != FULL:
            memory = round((figures["peak_mb"] - figures["base_mb"]) / full, 3)
            ratios = {"time_ratio": figures["time_ratio"], "memory_ratio": memory}
        kept = {name: value for name, value in figures.items() if name != "time_ratio"}
        report(benchmark="peft_train", way=way, **kept, **ratios)


if __name__ == "__main__":
    main()
