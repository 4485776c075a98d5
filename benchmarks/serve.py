"""Throughput and latency of served models compared with peers.

    python -m benchmarks.serve [--rounds N] [--torch PYTHON]

MiniLM with mean pooling (and, ours, an untrained head of three labels) behind these servers, each in a
process of its own, all with the same requests of one text, alternately:

- ``embedded``: the embedded development server, ``tfpipeline serve``;
- ``server``, ``server, batched``: ``tensorflow_model_server`` on a socket, without and with batching by
  ``tfpipeline serve``'s defaults;
- ``relayed``: the same binary, unbatched, behind the relay of ``tfpipeline serve``;
- ``onnxruntime``, ``torch``: a plain gRPC server around ONNX Runtime and around transformers in PyTorch, in
  float32, one request at a time per thread (``_peer_server.py``);
- ``in process``: the SavedModel in the callers' process, one request after another.

A way whose program or packages are missing is left out, and a line says so. Cases: tweets, reviews, and 16
token ids, each from 1 and from 16 callers that send their next request when the last one is answered.

One JSON line per case, way and number of callers. ``speed_ratio`` is the median over rounds of the embedded
server's time over the way's: below 1, the embedded server is faster. Goals for tweets and 16 callers: at
least the real server's batched figure, twice PyTorch's, and ONNX Runtime's; from 16 callers 2.5 times the
requests of one caller for 16 ids, 1.3 times for reviews; one caller within 1.3 times of the time in process.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks import _onnx, _peer_server
from benchmarks._measure import report
from benchmarks.infer_served import NAME, running, saved_model
from benchmarks.tokenize import texts
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow
from tfpipeline.serving.client import PredictClient
from tfpipeline.serving.server.options import BatchingOptions
from tfpipeline.serving.server.run import find_binary

EMBEDDED, IN_PROCESS = "embedded", "in process"
CALLERS = (1, 16)
_READY = re.compile(r"serving .* on (\S+) \(")

Inputs = Mapping[str, np.ndarray]
Ask = Callable[[Inputs], object]


@contextlib.contextmanager
def _ending(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextlib.contextmanager
def tfpipeline_serve(model_dir: Path, binary: Optional[Path]) -> Iterator[str]:
    """The address of a ``tfpipeline serve``: the embedded server, or the binary behind the relay."""
    arguments = [str(model_dir), "--port", "0"]
    environment = dict(os.environ)
    if binary is not None:
        arguments += ["--server-binary", str(binary)]
    else:
        environment["PATH"] = str(Path(sys.executable).parent)
    process = subprocess.Popen(
        [sys.executable, "-m", "tfpipeline", "serve", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with _ending(process):
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if match := _READY.match(line):
                yield match[1]
                return
        raise RuntimeError("".join(said))


@contextlib.contextmanager
def peer(python: str, kind: str, folder: Path) -> Iterator[str]:
    """The address of a peer's server."""
    process = subprocess.Popen(
        [python, "-m", "benchmarks._peer_server", kind, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with _ending(process):
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"the server of {kind} did not start")
        yield f"127.0.0.1:{port}"


def closed_loop(ask: Ask, requests: Sequence[Inputs], pool: ThreadPoolExecutor) -> list[float]:
    """Send the requests from the pool's callers; the seconds that each took."""

    def timed(inputs: Inputs) -> float:
        start = time.perf_counter()
        ask(inputs)
        return time.perf_counter() - start

    return list(pool.map(timed, requests))


def measure(
    ways: Mapping[str, Ask], rounds: Sequence[Sequence[Inputs]], callers: int
) -> dict[str, dict[str, float]]:
    """Send each round's requests to each way, alternately. The first round is a warm-up.

    Returns:
        For each way ``requests_per_second`` (median over rounds), ``p50_milliseconds`` and
        ``p99_milliseconds`` (of all requests), and ``speed_ratio``.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    latencies: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    with ThreadPoolExecutor(callers) as pool:
        for number, requests in enumerate(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                start = time.perf_counter()
                took = closed_loop(ways[name], requests, pool)
                if number:
                    seconds[name].append(time.perf_counter() - start)
                    latencies[name] += took
    base = seconds[EMBEDDED]
    return {
        name: {
            "requests_per_second": round(
                statistics.median(len(sent) / t for sent, t in zip(rounds[1:], seconds[name])), 1
            ),
            "p50_milliseconds": round(1e3 * float(np.percentile(latencies[name], 50)), 2),
            "p99_milliseconds": round(1e3 * float(np.percentile(latencies[name], 99)), 2),
            "speed_ratio": round(statistics.median(b / t for b, t in zip(base, seconds[name])), 3),
        }
        for name in ways
    }


def cases(texts_per_case: int, rounds: int, vocabulary: int) -> dict[str, tuple[str, list[list[Inputs]]]]:
    """Case -> signature and, per round, its requests of one text each."""
    random = np.random.default_rng(0)

    def of(corpus: Sequence[str]) -> list[list[Inputs]]:
        drawn = random.choice(len(corpus), ((rounds + 1), texts_per_case))
        return [[{"text": np.array([corpus[i].encode()], object)} for i in chosen] for chosen in drawn]

    ids: list[list[Inputs]] = [
        [
            {
                "input_ids": random.integers(1000 % vocabulary, vocabulary, (1, 16), np.int32),
                "lengths": np.full(1, 16, np.int32),
            }
            for _ in range(texts_per_case)
        ]
        for _ in range(rounds + 1)
    ]
    return {
        "tweets": ("serving_default", of(texts("tweets"))),
        "reviews": ("serving_default", of(texts("movie", "amazon"))),
        "16 ids": ("input_ids", ids),
    }


def _peers(chosen: argparse.Namespace, checkpoint: Path, folder: Path) -> Iterator[tuple[str, Any]]:
    from tfpipeline import checkpoints

    loaded = checkpoints.load(checkpoint)
    checkpoints.write(loaded, folder, to="huggingface")
    if all(map(importlib.util.find_spec, ("onnx", "onnxruntime", "transformers"))):
        _onnx.write(loaded.config, loaded.encoder().tensors(), folder / "model.onnx")
        yield "onnxruntime", peer(sys.executable, "onnxruntime", folder)
    else:
        print("without onnxruntime: onnx, onnxruntime and transformers are not all installed", flush=True)
    python = chosen.torch if chosen.torch.exists() else None
    if python is None and importlib.util.find_spec("torch"):
        python = Path(sys.executable)
    if python is not None:
        yield "torch", peer(str(python), "torch", folder)
    else:
        print(f"without torch: there is no {chosen.torch}; make parity makes it", flush=True)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Throughput and latency of served models.")
    parser.add_argument("--checkpoint", type=Path, help="by default the packaged MiniLM")
    parser.add_argument("--rounds", type=int, default=7, help="times that each way is measured in each case")
    parser.add_argument(
        "--requests", type=int, default=192, help="per round from 16 callers; a third from one"
    )
    parser.add_argument(
        "--only", nargs="*", help="the ways to measure, in place of all; embedded is always one"
    )
    parser.add_argument(
        "--torch", type=Path, default=Path(".venv-parity/bin/python"), help="a Python with torch and grpcio"
    )
    chosen = parser.parse_args(arguments)
    checkpoint = chosen.checkpoint or minilm()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        version = saved_model(checkpoint, folder)
        model_dir = folder / NAME
        wanted = None if chosen.only is None else {EMBEDDED, *chosen.only}
        targets = {EMBEDDED: tfpipeline_serve(model_dir, None)}
        if (binary := find_binary(None)) is not None:
            targets |= {
                "server": running(binary, model_dir, None),
                "server, batched": running(binary, model_dir, BatchingOptions()),
                "relayed": tfpipeline_serve(model_dir, binary),
            }
        else:
            print("without tensorflow_model_server, which is not on the PATH", flush=True)
        peers = dict(_peers(chosen, checkpoint, folder / "peers"))
        started = {
            name: stack.enter_context(server)
            for name, server in {**targets, **peers}.items()
            if wanted is None or name in wanted
        }
        in_process = import_tensorflow().saved_model.load(str(version)).signatures
        vocabulary = len((checkpoint / "vocab.txt").read_text("utf-8").splitlines())
        for case, (signature, rounds) in cases(chosen.requests, chosen.rounds, vocabulary).items():
            for callers in CALLERS:
                with contextlib.ExitStack() as clients:
                    asks = {
                        name: clients.enter_context(_asking(name, target, signature, name in peers))
                        for name, target in started.items()
                        if signature == "serving_default" or name not in peers
                    }
                    if callers == 1 and (wanted is None or IN_PROCESS in wanted):
                        asks[IN_PROCESS] = _in_process(in_process[signature])
                    sent = rounds if callers > 1 else [one[: len(one) // 3] for one in rounds]
                    for way, figures in measure(asks, sent, callers).items():
                        report(benchmark="serve", case=case, callers=callers, way=way, **figures)


@contextlib.contextmanager
def _asking(name: str, target: str, signature: str, plain: bool) -> Iterator[Ask]:
    if plain:
        import grpc

        with grpc.insecure_channel(target) as channel:
            embed = channel.unary_unary(_peer_server.METHOD)

            def ask(inputs: Inputs) -> np.ndarray:
                request = json.dumps([text.decode() for text in inputs["text"]]).encode()
                return np.frombuffer(embed(request, timeout=60), np.float32)

            yield ask
    else:
        with PredictClient(target, model=NAME, signature=signature, timeout=60) as client:
            yield client.predict_raw


def _in_process(signature: Any) -> Ask:
    tf = import_tensorflow()

    def ask(inputs: Inputs) -> list[np.ndarray]:
        outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return [tensor.numpy() for tensor in outputs.values()]

    return ask


if __name__ == "__main__":
    main()
