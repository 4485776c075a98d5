"""Speed of the served graph compared with the padded graph and with ONNX Runtime; part of ``make bench``.

All ways compute MiniLM's mean-pooled embedding from token ids and lengths, in one process and alternately,
each from a saved and loaded file. Two tables:

- requests of one shape, all tokens real: 1 x 16, 1 x 64, 8 x 32, 32 x 32, 32 x 128, and their geometric mean;
- ``stream``: requests of 32 to 64 texts with log-normal lengths, mean 40 tokens, cut at 128. The peers get
  each request padded to its longest text.

One JSON line per shape, way and peer: ``speed_ratio`` is the peer's time over ours. bfloat16 is measured if
the CPU has AVX512-BF16, ONNX Runtime (in float32) if ``onnx`` and ``onnxruntime`` are installed. Goals:
compared with ONNX Runtime at least 0.87 on average in float32 and 1.1 in bfloat16; one text at least 0.97 of
the padded graph; the stream 1.6 in float32, 2.2 in bfloat16.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks import _onnx
from benchmarks._measure import report, side_by_side
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow

SHAPES = ((1, 16), (1, 64), (8, 32), (32, 32), (32, 128))
MEAN, SIGMA, CAP = 40, 0.7, 128  # of the stream's lengths, in tokens
PADDED, ONNX = "padded", "onnxruntime"

Request = tuple[np.ndarray, np.ndarray]
Ask = Callable[[np.ndarray, np.ndarray], np.ndarray]


def has_bfloat16() -> bool:
    """Whether the CPU has bfloat16 multiplication."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "avx512_bf16" in cpu.read_text()


def saved(model: Callable[..., Any], variables: Sequence[Any], folder: Path) -> Ask:
    """A model with mean pooling, saved, and loaded as in a server."""
    tf = import_tensorflow()
    from tfpipeline.models.heads import mean_pool

    def embed(input_ids: Any, lengths: Any) -> dict[str, Any]:
        mask = tf.sequence_mask(lengths, tf.shape(input_ids)[1], tf.int32)
        inputs = {"input_ids": input_ids, "token_type_ids": tf.zeros_like(mask), "attention_mask": mask}
        return {"embedding": mean_pool(model(inputs)["sequence_output"], mask)}

    module = tf.Module()
    module.weights = list(variables)
    module.embed = tf.function(embed, autograph=False).get_concrete_function(
        input_ids=tf.TensorSpec([None, None], tf.int32, "input_ids"),
        lengths=tf.TensorSpec([None], tf.int32, "lengths"),
    )
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=module.embed, options=options)
    loaded = tf.saved_model.load(str(folder))

    def ask(input_ids: np.ndarray, lengths: np.ndarray, loaded: Any = loaded) -> np.ndarray:
        given = {"input_ids": tf.constant(input_ids), "lengths": tf.constant(lengths)}
        answer: np.ndarray = loaded.signatures["serving_default"](**given)["embedding"].numpy()
        return answer

    return ask


def ways(checkpoint: Any, folder: Path, threads: int) -> dict[str, Ask]:
    """All ways that can be measured on this machine, by name."""
    from tfpipeline.models import TextModel

    encoder = checkpoint.encoder()
    model = TextModel(encoder)
    precisions = ["float32", "bfloat16"] if has_bfloat16() else ["float32"]
    if len(precisions) == 1:
        print("bfloat16 is left out: the CPU has no AVX512-BF16", flush=True)
    forms = {name: model.for_serving(name) for name in precisions}
    found = {name: saved(form, form.variables, folder / name) for name, form in forms.items()}
    found[PADDED] = saved(model, [variable.value for variable in model.weights], folder / PADDED)
    if all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))):
        _onnx.write(encoder.config, encoder.tensors(), folder / "model.onnx")
        found[ONNX] = _onnx.runner(folder / "model.onnx", threads)
    else:
        print("ONNX Runtime is left out: onnx and onnxruntime are not installed", flush=True)
    return found


def shaped(shape: tuple[int, int], vocabulary: int, random: np.random.Generator) -> Request:
    """A request without padding."""
    ids = random.integers(0, vocabulary, shape, np.int32)
    return ids, np.full(shape[0], shape[1], np.int32)


def mixed(vocabulary: int, random: np.random.Generator) -> Request:
    """A request of the stream, padded to its longest text."""
    drawn = random.lognormal(math.log(MEAN) - SIGMA**2 / 2, SIGMA, random.integers(32, 65))
    lengths = np.clip(drawn.round(), 3, CAP).astype(np.int32)
    ids = random.integers(0, vocabulary, (len(lengths), lengths.max()), np.int32)
    return np.where(np.arange(ids.shape[1]) < lengths[:, None], ids, 0).astype(np.int32), lengths


def largest_difference(asked: Mapping[str, Ask], request: Request) -> dict[str, float]:
    """The largest difference of each way's outputs from those of the padded graph."""
    want = asked[PADDED](*request)
    return {name: float(np.abs(ask(*request) - want).max()) for name, ask in asked.items()}


def measure(
    asked: Mapping[str, Ask], requests: Sequence[Request], case: str, clock: Callable[[], float]
) -> dict[Any, dict[str, Any]]:
    """Time all ways on the same requests, and report ours against each peer."""
    calls = {name: lambda request, ask=ask: ask(*request) for name, ask in asked.items()}
    lines = {}
    for peer in (PADDED, ONNX):
        if peer in asked:
            chosen = {
                name: call for name, call in calls.items() if name == peer or name not in (PADDED, ONNX)
            }
            measured = side_by_side(chosen, requests, baseline=peer, clock=clock)
            for name, figures in measured.items():
                if name != peer:
                    lines[name, peer] = {
                        "milliseconds": figures["milliseconds"],
                        "peer_milliseconds": measured[peer]["milliseconds"],
                        "speed_ratio": figures["speed_ratio"],
                    }
                    report(benchmark="infer", case=case, way=name, peer=peer, **lines[name, peer])
    return lines


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of the served graph.")
    parser.add_argument("--checkpoint", type=Path, help="by default the packaged MiniLM")
    parser.add_argument("--rounds", type=int, default=40, help="requests that are timed, of each shape")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every way")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="measure the processor's time: with one thread right even where others use the machine",
    )
    chosen = parser.parse_args(arguments)

    tf = import_tensorflow()
    clock = time.process_time if chosen.cpu_time else time.perf_counter
    with contextlib.suppress(RuntimeError):  # TensorFlow has begun: its threads are as they are
        tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
        tf.config.threading.set_inter_op_parallelism_threads(chosen.threads)
    from tfpipeline import checkpoints

    checkpoint = checkpoints.load(chosen.checkpoint or minilm())
    random, vocabulary = np.random.default_rng(0), checkpoint.config.vocab_size
    with tempfile.TemporaryDirectory() as folder:
        asked = ways(checkpoint, Path(folder), chosen.threads)
        for name, difference in largest_difference(asked, mixed(vocabulary, random)).items():
            report(benchmark="infer", case="largest difference from padded", way=name, difference=difference)
        found: dict[Any, list[dict[str, Any]]] = {}
        for shape in SHAPES:
            requests = [shaped(shape, vocabulary, random)] * (chosen.rounds + 1)
            for key, line in measure(asked, requests, f"{shape[0]} x {shape[1]}", clock).items():
                found.setdefault(key, []).append(line)
        for (way, peer), lines in found.items():
            means = {
                field: round(statistics.geometric_mean(line[field] for line in lines), 3)
                for field in lines[0]
            }
            report(benchmark="infer", case="geometric mean", way=way, peer=peer, **means)
        stream = [mixed(vocabulary, random) for _ in range(chosen.rounds + 1)]
        measure(asked, stream, "stream", clock)


if __name__ == "__main__":
    main()
