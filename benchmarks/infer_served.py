"""The exported model in a real server, compared with the same model in this process.

    python -m benchmarks.infer_served [--rounds N]

Needs ``tensorflow_model_server`` on the PATH; otherwise it prints a line that says so. The model is MiniLM
with an untrained head of three labels. The ways, alternately, with the same requests:

- ``in process``: the SavedModel loaded here, one request after another;
- ``server``: over gRPC from several callers, each request computed on its own;
- ``server, batched``: the server batches concurrent requests, with the embedded server's parameters.

Texts have log-normal lengths, mean 40 tokens, 128 at most. One JSON line per measurement: ``speed_ratio`` is
the time in process over the way's time, so above 1 is faster. ``case`` is either a stream of texts
(``texts_per_second`` is measured) or one request of token ids, rows x tokens, from one caller.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks._measure import report, side_by_side
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow
from tfpipeline.serving.client import ClientError, PredictClient
from tfpipeline.serving.server.batching_parameters import to_text
from tfpipeline.serving.server.binary import socket_directory
from tfpipeline.serving.server.binary_command import command_line, server_files, write_files
from tfpipeline.serving.server.options import BatchingOptions, make_options
from tfpipeline.serving.server.run import find_binary
from tfpipeline.serving.server.sources import find_models

NAME, LABELS = "minilm", ("negative", "neutral", "positive")
SHAPES = ((1, 16), (1, 64), (8, 32), (32, 32), (32, 128))
MEAN_TOKENS, MOST_TOKENS, SPREAD = 40, 128, 0.6
# Rows per request, from and to; callers; texts in a stream.
STREAMS = ((1, 1, 16, 128), (1, 4, 16, 192), (32, 64, 1, 192), (32, 64, 4, 384))

Way = Callable[[Sequence[dict[str, np.ndarray]]], object]


@contextlib.contextmanager
def running(binary: Path, model_dir: Path, batching: Optional[BatchingOptions]) -> Iterator[str]:
    """The target of a new server that is ready: a Unix socket."""
    with socket_directory() as folder:
        socket = folder / "grpc.sock"
        parameters = folder / "batching_params.pbtxt"
        if batching is not None:
            parameters.write_text(to_text(batching))
        options = make_options(
            model_dir, name=NAME, port=0, batching_file=parameters if batching is not None else None
        )
        files = server_files(options, find_models(options))
        write_files(files, folder)
        command = command_line(
            options, [str(binary)], directory=str(folder), files=files, port=0, socket_path=str(socket)
        )
        log = folder / "log"
        with (
            log.open("wb") as output,
            subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL) as process,
        ):
            try:
                with PredictClient(f"unix:{socket}", model=NAME) as client:
                    try:
                        client.wait_until_ready(120)
                    except ClientError as error:
                        raise RuntimeError(log.read_text(errors="replace")[-2000:]) from error
                yield f"unix:{socket}"
            finally:
                process.terminate()


def saved_model(checkpoint: Path, folder: Path) -> Path:
    """A version of a classifier with an untrained head on an encoder.

    Returns:
        The version's directory.
    """
    tf = import_tensorflow()
    from tfpipeline import checkpoints
    from tfpipeline.export.signatures import ServingModule
    from tfpipeline.models import TextModel
    from tfpipeline.tasks import classification
    from tfpipeline.text import Truncation, build_tokenizer
    from tfpipeline.training.prediction_graph import PredictionGraph, TextInputs

    loaded = checkpoints.load(checkpoint)
    task = classification.Classification(classification.ClassificationOptions(), LABELS)
    model = TextModel(loaded.encoder(), task.head(loaded.config, seed=0))
    text_inputs = TextInputs(
        build_tokenizer(loaded.vocabulary, loaded.tokenizer),
        Truncation(MOST_TOKENS),
        pair=False,
        offsets=False,
    )
    module = ServingModule(PredictionGraph(model, task, text_inputs).for_serving())
    version = folder / NAME / "1"
    tf.saved_model.save(module, str(version), signatures=module.functions)
    return version


def whole_words(tokens: Sequence[str]) -> np.ndarray:
    """The tokens of a vocabulary that are words."""
    return np.array([token for token in tokens if token.isascii() and token.isalpha() and len(token) > 2])


def stream(
    words: np.ndarray, least: int, most: int, texts: int, random: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Requests of ``least`` to ``most`` texts each, ``texts`` in total."""
    requests, left = [], texts
    while left:
        rows = min(left, int(random.integers(least, most + 1)))
        left -= rows
        tokens = random.lognormal(np.log(MEAN_TOKENS) - SPREAD**2 / 2, SPREAD, rows)
        counts = np.clip(np.round(tokens), 3, MOST_TOKENS).astype(int) - 2  # without [CLS] and [SEP]
        made = [" ".join(random.choice(words, count)).encode() for count in counts]
        requests.append({"text": np.array(made, object)})
    return requests


@contextlib.contextmanager
def ways(
    signatures: Mapping[str, Any], name: str, targets: Mapping[str, str], callers: int
) -> Iterator[dict[str, Way]]:
    """The ways of running requests.

    Args:
        signatures: of the model in this process.
        name: the signature to call.
        targets: of the servers.
        callers: the number of concurrent requests.
    """
    tf = import_tensorflow()
    signature = signatures[name]

    def here(requests: Sequence[dict[str, np.ndarray]]) -> None:
        for request in requests:
            outputs = signature(**{key: tf.constant(value) for key, value in request.items()})
            for tensor in outputs.values():
                tensor.numpy()

    def there(client: PredictClient, pool: ThreadPoolExecutor) -> Way:
        return lambda requests: list(pool.map(client.predict_raw, requests))

    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(callers))
        yield {
            "in process": here,
            **{
                way: there(
                    stack.enter_context(PredictClient(target, model=NAME, signature=name, timeout=600)), pool
                )
                for way, target in targets.items()
            },
        }


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The exported model in a real server.")
    parser.add_argument("--checkpoint", type=Path, help="by default the packaged MiniLM")
    parser.add_argument(
        "--model", type=Path, help="a version directory to serve in place of an untrained one"
    )
    parser.add_argument("--rounds", type=int, default=7, help="times that each stream is sent")
    parser.add_argument("--texts", type=int, help="texts of a stream, in place of those of each")
    chosen = parser.parse_args(arguments)
    binary = find_binary(None)
    if binary is None:
        print("infer_served: no tensorflow_model_server on the PATH, nothing is measured", flush=True)
        return
    checkpoint = chosen.checkpoint or minilm()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        version = chosen.model or saved_model(checkpoint, folder)
        model_dir = folder / NAME
        if chosen.model:
            model_dir.mkdir()
            os.symlink(chosen.model.absolute(), model_dir / "1")
        targets = {
            "server": stack.enter_context(running(binary, model_dir, None)),
            "server, batched": stack.enter_context(running(binary, model_dir, BatchingOptions())),
        }
        signatures = import_tensorflow().saved_model.load(str(version)).signatures
        vocabulary = (checkpoint / "vocab.txt").read_text("utf-8").splitlines()
        _streams(chosen, signatures, targets, whole_words(vocabulary))
        _shapes(chosen, signatures, {"server": targets["server"]}, len(vocabulary))


def _streams(
    chosen: argparse.Namespace, signatures: Mapping[str, Any], targets: Mapping[str, str], words: np.ndarray
) -> None:
    for least, most, callers, texts in STREAMS:
        texts = chosen.texts or texts
        random = np.random.default_rng(0)
        sent = [stream(words, least, most, texts, random) for _ in range(chosen.rounds + 1)]
        with ways(signatures, "serving_default", targets, callers) as asked:
            measured = side_by_side(asked, sent, baseline="in process")
        size = str(least) if least == most else f"{least} to {most}"
        for way, figures in measured.items():
            report(
                benchmark="infer served",
                case=f"{callers} callers, requests of {size}",
                way=way,
                texts_per_second=round(1e3 * texts / figures["milliseconds"], 1),
                **figures,
            )


def _shapes(
    chosen: argparse.Namespace, signatures: Mapping[str, Any], targets: Mapping[str, str], vocabulary: int
) -> None:
    for rows, tokens in SHAPES:
        random = np.random.default_rng(0)
        request = {
            "input_ids": random.integers(0, vocabulary, (rows, tokens), np.int32),
            "lengths": np.full(rows, tokens, np.int32),
        }
        with ways(signatures, "input_ids", targets, 1) as asked:
            measured = side_by_side(asked, [[request]] * (5 * chosen.rounds + 1), baseline="in process")
        for way, figures in measured.items():
            report(benchmark="infer served", case=f"{rows} x {tokens} tokens", way=way, **figures)


if __name__ == "__main__":
    main()
