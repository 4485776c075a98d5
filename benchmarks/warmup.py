"""The first request to a version that was just loaded, compared with later ones.

    python -m benchmarks.warmup [--rounds N]

MiniLM with a random classifier, exported with and without warm-up requests (``warmup``). Each measurement is
the embedded server in a separate process, which sends each signature requests of the sizes below: a first one
of each size, and 20 more.

One JSON line per signature and size: milliseconds of the first request, the median of the later ones, their
ratio, and the seconds from the start of loading until the version is AVAILABLE. Goal: a ratio of at most 1.5
with warm-up requests.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from benchmarks._measure import report
from examples.packaged import minilm
from tfpipeline.export.warmup import REQUESTS
from tfpipeline.runtime import import_tensorflow

SIZES = ((1, 12), (8, 30), (32, 50))  # number of texts, words per text

_PROCESS = """
import json, statistics, sys, time
from pathlib import Path
import numpy as np
from tfpipeline.runtime import import_tensorflow
import_tensorflow()
from tfpipeline.serving.server import EmbeddedServer, make_options
from tfpipeline.serving.client import PredictClient

model, sizes = Path(sys.argv[1]), json.loads(sys.argv[2])
start = time.perf_counter()
with EmbeddedServer(make_options(model, port=0)) as server:
    loading = time.perf_counter() - start
    random = np.random.default_rng(0)
    for signature in ("serving_default", "input_ids"):
        with PredictClient(server.address, model=model.name, signature=signature, timeout=120) as client:
            client.metadata()  # the connection is made
            for rows, words in sizes:
                if signature == "input_ids":
                    asked = {"input_ids": random.integers(1996, 9000, (rows, words)).astype(np.int32),
                             "lengths": np.full(rows, words, np.int32)}
                else:
                    asked = {"text": [" ".join(random.choice(["good", "film", "the", "slowly"], words))
                                      for _ in range(rows)]}
                seconds = []
                for _ in range(21):
                    begin = time.perf_counter()
                    client.predict_raw(asked)
                    seconds.append(time.perf_counter() - begin)
                print(json.dumps({"signature": signature, "rows": rows, "words": words, "first": seconds[0],
                                  "median": statistics.median(seconds[1:]), "loading": loading}), flush=True)
"""


def write_classifier(directory: Path, encoder: Path) -> Path:
    """A fine-tuned checkpoint in Hugging Face's format: an encoder with a random classifier of two labels."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    shutil.copytree(encoder, directory)
    config = json.loads((directory / "config.json").read_text("utf-8"))
    config.update(architectures=["BertForSequenceClassification"], id2label={"0": "bad", "1": "good"})
    (directory / "config.json").write_text(json.dumps(config))
    tensors = load_file(directory / "model.safetensors")
    head = np.random.default_rng(0).standard_normal((2, config["hidden_size"]), np.float32)
    tensors |= {"classifier.weight": head, "classifier.bias": np.zeros(2, np.float32)}
    save_file(tensors, directory / "model.safetensors")
    return directory


def measure(model: Path) -> list[dict[str, Any]]:
    """The figures of one fresh process."""
    command = [sys.executable, "-c", _PROCESS, str(model), json.dumps(SIZES)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def main(arguments: Optional[Sequence[str]] = None, encoder: Optional[Path] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The first request to a version that was just loaded.")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    rounds = parser.parse_args(arguments).rounds
    import_tensorflow()
    from tfpipeline.export import export_run

    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = write_classifier(Path(scratch) / "classifier", encoder or minilm())
        warm = Path(export_run(checkpoint, Path(scratch) / "warm")).parent
        cold = Path(shutil.copytree(warm, Path(scratch) / "cold"))
        (cold / "1" / REQUESTS).unlink()
        found: dict[bool, list[list[dict[str, Any]]]] = {True: [], False: []}
        for _ in range(rounds):
            for warmed, model in ((True, warm), (False, cold)):
                found[warmed].append(measure(model))
        for warmed, processes in found.items():
            for one in zip(*processes):
                middle = {
                    name: statistics.median(m[name] for m in one) for name in ("first", "median", "loading")
                }
                report(
                    benchmark="warmup",
                    warmup=warmed,
                    **{name: one[0][name] for name in ("signature", "rows", "words")},
                    first_milliseconds=round(1e3 * middle["first"], 1),
                    milliseconds=round(1e3 * middle["median"], 1),
                    ratio=round(statistics.median(m["first"] / m["median"] for m in one), 2),
                    loading_seconds=round(middle["loading"], 2),
                )


if __name__ == "__main__":
    main()
