"""Cost of loading a checkpoint, compared with safetensors and assignment alone.

    python -m benchmarks.load [--rounds N]

Each measurement is a separate process, alternately. TensorFlow is imported before the clock starts, and a
tiny model is loaded in the same way first. Its time, ``first_seconds``, is what Python, Keras and TensorFlow
need at their first use, the same 0.1 s for a model of any size.

- ours: ``checkpoints.load(DIRECTORY).encoder()``, including vocabulary, configuration, checks and packing;
- alone: ``safetensors.numpy.load_file`` and one ``tf.Variable.assign`` per tensor, into variables of zeros.

Models: MiniLM (91 MB), and one of BERT-base's size (440 MB) with random weights, as Hugging Face and as
Google checkpoint. One JSON line per measurement: seconds, peak memory above that of the process with
TensorFlow imported, and the ratios of ours to alone. Goals: at most 1.3 in both for MiniLM, and 1.3 GB for
BERT-base's size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks._measure import report
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow

_PROCESS = """
import json, sys, time
from pathlib import Path
from tfpipeline.runtime import import_tensorflow
tf = import_tensorflow()
import safetensors.numpy
from tfpipeline import checkpoints
from tfpipeline.models import BertEncoder

def memory(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) / 1e3

def ours(directory):
    return checkpoints.load(directory).encoder().variables

def alone(directory):
    tensors = safetensors.numpy.load_file(Path(directory) / "model.safetensors")
    variables = [tf.Variable(tf.zeros(array.shape, array.dtype)) for array in tensors.values()]
    for variable, array in zip(variables, tensors.values()):
        variable.assign(array)
    return variables

load = {"ours": ours, "alone": alone}[sys.argv[1]]
start = time.perf_counter()
load(sys.argv[3])
first = time.perf_counter() - start
Path("/proc/self/clear_refs").write_text("5")  # the peak so far counts no more
before, start = memory("VmRSS"), time.perf_counter()
kept = load(sys.argv[2])
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "megabytes": memory("VmHWM") - before, "first_seconds": first}))
"""
TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def measure(
    ways: Mapping[str, tuple[str, Path]], first: Path, rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Load in fresh processes, each way in turn; the first round only fills the file cache.

    Args:
        ways: name -> "ours" or "alone", and the checkpoint's directory.
        first: the tiny model's directory.
    """
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, (way, directory) in ways.items():
            measured[name].append(_load(way, directory, first))
    return {name: figures[1:] for name, figures in measured.items()}


def _load(way: str, directory: Path, first: Path) -> dict[str, float]:
    """The figures of one fresh process."""
    command = [sys.executable, "-c", _PROCESS, way, str(directory), str(first)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def write_random(directory: Path, vocabulary: Path, shape: dict[str, Any]) -> Path:
    """A Hugging Face directory of a given size, with random weights and MiniLM's vocabulary."""
    from tfpipeline import checkpoints
    from tfpipeline.models import BertConfig, neutral
    from tfpipeline.text import TokenizerOptions, load_vocabulary

    tokens = load_vocabulary(vocabulary)
    constants: dict[str, Any] = {
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }
    config = BertConfig(vocab_size=len(tokens), hidden_act="gelu_erf", **constants, **shape)
    random = np.random.default_rng(0)
    tensors = {
        name: random.standard_normal(sizes, np.float32) for name, sizes in neutral.shapes(config).items()
    }
    made = checkpoints.Checkpoint(directory, "none", config, tokens, TokenizerOptions(), tensors)
    checkpoints.write(made, directory, to="huggingface")
    return directory


def main(arguments: Optional[Sequence[str]] = None, base: dict[str, int] = BASE) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of loading a checkpoint.")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind")
    rounds = parser.parse_args(arguments).rounds
    import_tensorflow()
    from tfpipeline import checkpoints

    with tempfile.TemporaryDirectory() as scratch:
        large = write_random(Path(scratch) / "base", minilm() / "vocab.txt", base)
        first = write_random(Path(scratch) / "tiny", minilm() / "vocab.txt", TINY)
        checkpoints.convert(large, Path(scratch) / "google", to="google")
        for model, plain, directories in (
            ("MiniLM", minilm(), {"huggingface": minilm()}),
            ("BERT-base's size", large, {"huggingface": large, "google": Path(scratch) / "google"}),
        ):
            ways = {"alone": ("alone", plain), **{name: ("ours", path) for name, path in directories.items()}}
            measured = measure(ways, first, rounds)
            for format_name in directories:
                fields: dict[str, float] = {}
                for what in ("seconds", "megabytes", "first_seconds"):
                    ours, alone = (
                        statistics.median(m[what] for m in measured[way]) for way in (format_name, "alone")
                    )
                    fields |= {what: round(ours, 3), f"alone_{what}": round(alone, 3)}
                    if what != "first_seconds":
                        fields[f"{what}_ratio"] = round(ours / alone, 2)
                report(benchmark="load", model=model, format=format_name, **fields)


if __name__ == "__main__":
    main()
