"""Speed of training compared with peers.

    make bench
    python -m benchmarks.train [--examples N] [--rounds N]

Every way trains the same classifier from the same checkpoint on the same rows with AdamW and dropout, in one
process, alternately. If a way's packages are not installed, a line says so:

- ours: the training step and the batches of ``tfpipeline train``, in float32 and in bfloat16 (if the CPU has
  AVX512-BF16, or with ``--bfloat16``);
- KerasHub's ``BertTextClassifier`` with Keras's ``fit``: padded to the maximum length, float32; at realistic
  lengths also its best configuration, in bfloat16 and bucketed by length;
- Hugging Face's ``BertForSequenceClassification`` in a plain PyTorch loop with clipping: padded to the
  longest row of a batch.

Two data sets: all rows with 128 tokens; realistic lengths, log-normal with a mean of 40, cut at 128. Goals:
1.2 of KerasHub at 0.85 of its CPU seconds and, in bfloat16, 1.9 at fixed length; 2.5, 4.0 and 1.2 of its best
at realistic lengths.

One JSON line per way and data set: ``ratio`` and ``cpu_ratio`` are medians over rounds of the peer's seconds
(CPU seconds) per example over ours in float32 (``bf16_ratio``: in bfloat16): above 1 we are faster.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks._measure import report
from tfpipeline.runtime import import_tensorflow

OURS, OURS_BF16 = "tfpipeline float32", "tfpipeline bfloat16"
HUB, HUB_BEST = "KerasHub padded float32", "KerasHub bucketed bfloat16"
TORCH = "Hugging Face PyTorch float32"
LENGTHS = ("fixed", "realistic")
_WARM_UP = 2
LABELS, BUCKETS, RATE = 2, 8, 1e-5

Way = Callable[[], float]  # trains on all rows once; returns the last loss


class Rows:
    """Rows of random tokens with given lengths."""

    def __init__(self, lengths: np.ndarray, width: int, vocabulary_size: int) -> None:
        random = np.random.default_rng(0)
        self.lengths, self.width = lengths, width
        self.mask = (np.arange(width) < lengths[:, None]).astype(np.int32)
        low = min(1000, vocabulary_size // 2)  # above the special tokens
        self.ids = random.integers(low, vocabulary_size, self.mask.shape).astype(np.int32) * self.mask
        self.labels = random.integers(0, LABELS, len(lengths)).astype(np.int32)


def lengths_of(kind: str, count: int, width: int) -> np.ndarray:
    """Lengths of rows: all ``width``, or log-normal with a mean of 40 / 128 of it, cut at ``width``."""
    if kind == "fixed":
        return np.full(count, width)
    sigma, mean = 0.7, width * 40 / 128
    drawn = np.random.default_rng(1).lognormal(np.log(mean) - sigma**2 / 2, sigma, count)
    return np.clip(np.rint(drawn), min(4, width), width).astype(int)


def ours(checkpoint: Any, rows: Rows, batch_size: int, precision: str, folder: Path) -> Way:
    """Our step on our batches, as in ``tfpipeline train``."""
    tf = import_tensorflow()
    from tfpipeline.data import TokenCache
    from tfpipeline.data.examples import Example
    from tfpipeline.models import TextModel
    from tfpipeline.tasks.classification import Classification, ClassificationOptions
    from tfpipeline.training.batching import Batching, Split
    from tfpipeline.training.optimizer import build_optimizer
    from tfpipeline.training.options import TrainingOptions
    from tfpipeline.training.precision import policy
    from tfpipeline.training.step import TrainStep

    def encode(texts: Any, max_length: int) -> dict[str, np.ndarray]:
        chosen = [int(text) for text in texts["text"]]
        zeros = np.zeros((len(chosen), max_length), np.int32)
        return {
            "input_ids": rows.ids[chosen],
            "attention_mask": rows.mask[chosen],
            "token_type_ids": zeros,
        }

    examples = [Example(text=str(index)) for index in range(len(rows.lengths))]
    cache = TokenCache.build(folder, examples, encode=encode, max_length=rows.width, fingerprint="")
    split = Split(examples, cache, {"label": rows.labels}, np.ones(len(examples), np.float32))
    options = TrainingOptions.model_validate(
        {"precision": precision, "learning_rate": RATE, "schedule": "constant", "batch_size": batch_size}
    )
    task = Classification(ClassificationOptions(pooling="pooler"), [str(label) for label in range(LABELS)])
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope(), policy(precision):
        model = TextModel(checkpoint.encoder(), task.head(checkpoint.config, seed=0))
        optimizer = build_optimizer(options, model, 1000)
    step = TrainStep(strategy, model, task, optimizer, options)
    batching = Batching(split, options, batch_size, None, static=False)
    done = 0

    def epoch() -> float:
        nonlocal done
        loss: Any = None
        for group in batching.groups(done // len(batching), 0, done, []):
            loss = step.many(group.batches, done)["loss"]
            done += len(group.batches)
        return float(loss[-1])

    return epoch


def hub(checkpoint: Any, rows: Rows, batch_size: int, *, best: bool, folder: Path) -> Way:
    """KerasHub's classifier with Keras's fit."""
    tf = import_tensorflow()
    import keras
    import keras_hub

    from tfpipeline import checkpoints
    from tfpipeline.training.precision import policy

    checkpoints.write(checkpoint, folder, to="huggingface")  # KerasHub reads it
    rate = checkpoint.config.hidden_dropout_prob
    with policy("mixed_bfloat16" if best else "float32"):
        model = keras_hub.models.BertTextClassifier(
            backbone=keras_hub.models.BertBackbone.from_preset(str(folder), dropout=rate),
            num_classes=LABELS,
            dropout=0.1,
        )
        model.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=keras.optimizers.AdamW(RATE, weight_decay=0.01, global_clipnorm=1.0),
            metrics=[],
        )
    inputs = {"token_ids": rows.ids, "segment_ids": np.zeros_like(rows.ids), "padding_mask": rows.mask}
    data = tf.data.Dataset.from_tensor_slices((inputs, rows.labels)).shuffle(len(rows.labels))
    if best:
        # By quantiles, so that the last batch of each bucket is as full as possible.
        bounds = sorted(
            {int(bound) + 1 for bound in np.quantile(rows.lengths, np.arange(1, BUCKETS) / BUCKETS)}
        )

        def cut(row: Any, label: Any) -> Any:
            length = tf.reduce_sum(row["padding_mask"])
            return {name: tensor[:length] for name, tensor in row.items()}, label

        data = data.map(cut).bucket_by_sequence_length(
            lambda row, _: tf.size(row["token_ids"]), bounds, [batch_size] * (len(bounds) + 1)
        )
    else:
        data = data.batch(batch_size)
    data = data.prefetch(2)
    return lambda: float(model.fit(data, epochs=1, verbose=0).history["loss"][-1])


def torch_loop(checkpoint: Any, rows: Rows, batch_size: int, folder: Path) -> Way:
    """Hugging Face's classifier in a custom loop, as taught in its course."""
    import torch
    from transformers import BertForSequenceClassification

    from tfpipeline import checkpoints

    checkpoints.write(checkpoint, folder, to="huggingface")
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=LABELS)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    random = np.random.default_rng(0)

    def batches() -> Iterator[dict[str, Any]]:
        order = random.permutation(len(rows.labels))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            width = int(rows.lengths[chosen].max())
            yield {
                "input_ids": torch.from_numpy(rows.ids[chosen, :width]).long(),
                "attention_mask": torch.from_numpy(rows.mask[chosen, :width]).long(),
                "labels": torch.from_numpy(rows.labels[chosen]).long(),
            }

    def epoch() -> float:
        loss: Any = None
        for batch in batches():
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return float(loss)

    return epoch


def has_bfloat16() -> bool:
    """Whether the CPU has bfloat16 multiplication."""
    cpus = Path("/proc/cpuinfo")
    return cpus.exists() and "avx512_bf16" in cpus.read_text()


def ways_of(
    checkpoint: Any, rows: Rows, batch_size: int, bfloat16: bool, bucketed: bool, folder: Path
) -> dict[str, Way]:
    """All ways that can be run on this machine."""
    made: dict[str, Callable[[], Way]] = {
        OURS: lambda: ours(checkpoint, rows, batch_size, "float32", folder / "ours"),
        HUB: lambda: hub(checkpoint, rows, batch_size, best=False, folder=folder / "hub"),
        TORCH: lambda: torch_loop(checkpoint, rows, batch_size, folder / "torch"),
    }
    if bfloat16:
        made[OURS_BF16] = lambda: ours(checkpoint, rows, batch_size, "mixed_bfloat16", folder / "ours")
    if bfloat16 and bucketed:
        made[HUB_BEST] = lambda: hub(checkpoint, rows, batch_size, best=True, folder=folder / "hub")
    ways = {}
    for name, make in made.items():
        try:
            ways[name] = make()
        except ImportError as error:
            print(f"without {name}: {error}")
    return ways


def measure(ways: dict[str, Way], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and CPU seconds of each way in each round, alternately. The first two rounds are warm-ups
    (Keras traces again in the second).
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(_WARM_UP + rounds):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            loss = way()
            if not np.isfinite(loss):
                raise ArithmeticError(f"{name}: the loss is {loss}")
            if number >= _WARM_UP:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of training compared with its peers.")
    parser.add_argument("--checkpoint", help="any that tfpipeline reads; by default the packaged MiniLM")
    parser.add_argument("--examples", type=int, default=1024, help="rows of each data set")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="maximum number of tokens per row")
    parser.add_argument("--rounds", type=int, default=3, help="passes that are timed, after two that are not")
    parser.add_argument("--lengths", choices=LENGTHS, help="only this data set")
    parser.add_argument(
        "--bfloat16", action="store_true", help="also where the CPU has no instructions for it"
    )
    chosen = parser.parse_args(arguments)

    import_tensorflow()
    from tfpipeline import checkpoints

    if chosen.checkpoint is None:
        from examples.packaged import minilm

        chosen.checkpoint = minilm()
    checkpoint = checkpoints.load(chosen.checkpoint)
    bfloat16 = chosen.bfloat16 or has_bfloat16()
    for kind in [chosen.lengths] if chosen.lengths else LENGTHS:
        # A quarter of the rows is enough if each has the maximum length.
        count = chosen.examples if kind == "realistic" else max(chosen.examples // 4, chosen.batch_size)
        rows = Rows(lengths_of(kind, count, chosen.length), chosen.length, checkpoint.config.vocab_size)
        with tempfile.TemporaryDirectory() as folder:
            ways = ways_of(checkpoint, rows, chosen.batch_size, bfloat16, kind == "realistic", Path(folder))
            seconds = measure(ways, chosen.rounds)
        for name, found in seconds.items():
            ratios: dict[str, float] = {}
            for label, mine in (("", OURS), ("bf16_", OURS_BF16)):
                if mine in seconds and name not in (mine, OURS):
                    for column, what in ((0, "ratio"), (1, "cpu_ratio")):
                        pairs = [peer[column] / me[column] for peer, me in zip(found, seconds[mine])]
                        ratios[label + what] = round(statistics.median(pairs), 3)
            report(
                benchmark="train",
                lengths=kind,
                mean_length=round(float(rows.lengths.mean()), 1),
                way=name,
                examples_per_second=round(count / statistics.median(wall for wall, _ in found), 2),
                cpu_seconds_per_example=round(statistics.median(cpu for _, cpu in found) / count, 5),
                **ratios,
            )


if __name__ == "__main__":
    main()
