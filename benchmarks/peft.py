"""Many LoRA adapters in one served model, compared with one merged model: time, memory and disk.

    make bench
    python -m benchmarks.peft [--rounds N] [--counts 10 50 1000]

The encoder is MiniLM's, the adapters have rank 8 on query and value, and each has a head of its own, of three
classes. The models are saved, loaded as in a server, and asked in turn: requests of 32 texts whose lengths
are those of ``benchmarks.infer``'s stream, each text with an adapter drawn at random.

One JSON line per number of adapters: ``time_ratio`` is the median of its time over that of the merged model
on the same request, ``flatness`` the same over the smallest number of adapters. ``kilobytes_each`` is what an
adapter adds to the variables of the SavedModel, ``arithmetic`` what its matrices and its head take as
float32. ``difference`` is the largest one from the merged model, for rows of its adapter. Goals: at most 1.2
with 50 adapters, and within 10 % from 10 to 1,000.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks._measure import report
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow

ROWS, RANK, CLASSES = 32, 8, 3
MEAN, SIGMA, CAP = 40, 0.7, 128  # of the lengths, in tokens
MERGED = 0  # the number of adapters that stands for the merged model

Request = tuple[np.ndarray, np.ndarray, np.ndarray]


def changes_of(encoder: Any, random: np.random.Generator) -> dict[str, Any]:
    """The changes of one adapter, at random, as large as trained ones."""
    from tfpipeline.models.layer_changes import LayerChange, LowRankChange

    changes: dict[str, dict[str, LowRankChange]] = {}
    for name, projection in encoder.projections().items():
        role = name.rpartition("/")[2]
        if role in ("query", "value"):
            kernel = projection.dense.kernel
            size, width = kernel.shape[0], len(range(kernel.shape[1])[projection.columns])
            down = random.normal(0, 0.05, (size, RANK)).astype(np.float32)
            up = random.normal(0, 0.05, (RANK, width)).astype(np.float32)
            own = changes.setdefault(projection.dense.path, {})
            own[role] = LowRankChange(projection.columns, down, up)
    return {path: LayerChange(low_rank) for path, low_rank in changes.items()}


def head_of(model: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
    """A head of one adapter, at random."""
    return {
        variable.path: random.normal(0, 0.3, variable.shape).astype(np.float32)
        for variable in model.head.weights
    }


def merge(model: Any, changes: Mapping[str, Any], head: Mapping[str, np.ndarray]) -> None:
    """Write an adapter into a model's own weights."""
    layers = {projection.dense.path: projection.dense for projection in model.encoder.projections().values()}
    for path, change in changes.items():
        kernel = layers[path].kernel.numpy().astype(np.float64)
        for columns, down, up in change.low_rank.values():
            kernel[:, columns] += down.astype(np.float64) @ up
        layers[path].kernel.assign(kernel)
    for variable in model.head.weights:
        variable.assign(head[variable.path])


def saved(model: Any, variables: Sequence[Any], folder: Path, *, adapted: bool) -> Callable[[Request], Any]:
    """A model, saved, and loaded as in a server."""
    tf = import_tensorflow()

    def logits(input_ids: Any, lengths: Any, adapters: Any) -> dict[str, Any]:
        mask = tf.sequence_mask(lengths, tf.shape(input_ids)[1], tf.int32)
        inputs = {"input_ids": input_ids, "token_type_ids": tf.zeros_like(mask), "attention_mask": mask}
        if adapted:
            inputs["adapters"] = adapters
        return {"logits": model(inputs)["logits"]}

    module = tf.Module()
    module.weights = list(variables)
    specs = {
        "input_ids": tf.TensorSpec([None, None], tf.int32, "input_ids"),
        "lengths": tf.TensorSpec([None], tf.int32, "lengths"),
        "adapters": tf.TensorSpec([None], tf.int32, "adapters"),
    }
    module.ask = tf.function(logits, autograph=False).get_concrete_function(**specs)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=module.ask, options=options)
    loaded = tf.saved_model.load(str(folder))

    def ask(request: Request, loaded: Any = loaded) -> np.ndarray:
        given = dict(zip(specs, map(tf.constant, request)))
        answer: np.ndarray = loaded.signatures["serving_default"](**given)["logits"].numpy()
        return answer

    return ask


def request_of(vocabulary: int, count: int, random: np.random.Generator) -> Request:
    """A request of mixed lengths, with an adapter for each text."""
    drawn = random.lognormal(np.log(MEAN) - SIGMA**2 / 2, SIGMA, ROWS)
    lengths = np.clip(drawn.round(), 3, CAP).astype(np.int32)
    ids = random.integers(0, vocabulary, (ROWS, lengths.max()), np.int32)
    ids = np.where(np.arange(ids.shape[1]) < lengths[:, None], ids, 0).astype(np.int32)
    return ids, lengths, random.integers(0, max(count, 1), ROWS, np.int32)


def bytes_of(folder: Path) -> int:
    """The size of a SavedModel's variables."""
    return sum(file.stat().st_size for file in (folder / "variables").iterdir())


def measure(counts: Sequence[int], rounds: int, checkpoint: Any, folder: Path) -> None:
    """Time all numbers of adapters on the same requests, and report them."""
    from tfpipeline.models import ClassificationHead, TextModel
    from tfpipeline.models.adapted_model import AdaptedModel, Adapter

    random = np.random.default_rng(0)

    def built() -> Any:
        return TextModel(
            checkpoint.encoder(), ClassificationHead(CLASSES, pooling="mean", dropout=0.0, seed=0)
        )

    model = built()
    adapters = [
        Adapter(changes_of(model.encoder, random), head_of(model, random)) for _ in range(max(counts))
    ]
    asked = {}
    for count in counts:
        form = AdaptedModel(model, adapters[:count])
        asked[count] = saved(form, form.variables, folder / str(count), adapted=True)
    one = built()
    merge(one, adapters[0].changes, adapters[0].head)
    form = one.for_serving("float32")
    asked[MERGED] = saved(form, form.variables, folder / str(MERGED), adapted=False)

    seconds: dict[int, list[float]] = {count: [] for count in asked}
    differences = dict.fromkeys(counts, 0.0)
    names = list(asked)
    for number in range(rounds + 2):
        ids, lengths, drawn = request_of(checkpoint.config.vocab_size, max(counts), random)
        for count in names[number % len(names) :] + names[: number % len(names)]:
            request = (ids, lengths, drawn % max(count, 1))
            start = time.perf_counter()
            asked[count](request)
            seconds[count].append(time.perf_counter() - start)
        first = (ids, lengths, np.zeros(ROWS, np.int32))
        want = asked[MERGED](first)
        for count in counts:
            differences[count] = max(differences[count], float(np.abs(asked[count](first) - want).max()))
    base = bytes_of(folder / str(MERGED))
    arithmetic = sum(
        array.nbytes for change in adapters[0].changes.values() for array in change.arrays().values()
    ) + sum(array.nbytes for array in adapters[0].head.values())
    for count in counts:
        mine = seconds[count][2:]
        report(
            benchmark="peft",
            adapters=count,
            milliseconds=round(1e3 * statistics.median(mine), 2),
            merged_milliseconds=round(1e3 * statistics.median(seconds[MERGED][2:]), 2),
            time_ratio=round(statistics.median(a / b for a, b in zip(mine, seconds[MERGED][2:])), 3),
            flatness=round(statistics.median(a / b for a, b in zip(mine, seconds[min(counts)][2:])), 3),
            kilobytes_each=round((bytes_of(folder / str(count)) - base) / count / 1000, 1),
            arithmetic=round(arithmetic / 1000, 1),
            difference=differences[count],
        )


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measure, and print JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 50, 1000])
    parser.add_argument("--checkpoint", help="another encoder than the packaged MiniLM")
    options = parser.parse_args(arguments)
    import_tensorflow()
    from tfpipeline import checkpoints

    checkpoint = checkpoints.load(options.checkpoint or minilm())
    with tempfile.TemporaryDirectory() as folder:
        measure(options.counts, options.rounds, checkpoint, Path(folder))


if __name__ == "__main__":
    main()
