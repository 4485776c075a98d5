"""The cost of an export: memory in addition to the weights, and disk. One JSON line per precision, without
and with explanations.

    python -m benchmarks.export
    python -m benchmarks.export --layers 2 --hidden 64

A model of BERT-base's shape with random weights is exported in a separate process. ``peak_ratio`` is the peak
memory of this process, minus its memory after loading TensorFlow, over the bytes of the weights.
``disk_ratio`` is the bytes of the version over those of its float32 weights. Goals: below 4; at most 1.1.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import memory_mb, peak_mb, report, reset_peak

_VOCABULARY = 30522


def main(arguments: Sequence[str] | None = None) -> None:
    """Export once with each of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=_VOCABULARY)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        _export(Path(options.worker[0]), json.loads(options.worker[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        weights = write_checkpoint(checkpoint, options.layers, options.hidden, options.vocabulary)
        for export_options in _precisions():
            command = [
                sys.executable,
                "-m",
                "benchmarks.export",
                "--worker",
                folder,
                json.dumps(export_options),
            ]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            report(
                benchmark="export",
                precision=export_options.get("precision", "float32"),
                explain="explain" in export_options,
                weights_mb=round(weights / 2**20, 1),
                base_mb=found["base_mb"],
                peak_mb=found["peak_mb"],
                peak_ratio=round((found["peak_mb"] - found["base_mb"]) * 2**20 / weights, 3),
                disk_mb=round(found["bytes"] / 2**20, 1),
                disk_ratio=round(found["bytes"] / weights, 3),
            )


def write_checkpoint(folder: Path, layers: int, hidden: int, vocabulary: int) -> int:
    """Write a fine-tuned checkpoint in transformers' format with random weights.

    Returns:
        The bytes of its weights.
    """
    from safetensors.numpy import save_file

    random, inner = np.random.default_rng(0), 4 * hidden
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, hidden),
        "embeddings.position_embeddings.weight": (512, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
        "pooler.dense.weight": (hidden, hidden),
        "pooler.dense.bias": (hidden,),
    }
    for layer in range(layers):
        for name, shape in {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
            "attention.output.dense": (hidden, hidden),
            "attention.output.LayerNorm": (hidden,),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
            "output.LayerNorm": (hidden,),
        }.items():
            shapes[f"encoder.layer.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
    tensors = {
        f"bert.{name}": random.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()
    }
    tensors["classifier.weight"] = random.normal(0, 0.02, (2, hidden)).astype(np.float32)
    tensors["classifier.bias"] = np.zeros(2, np.float32)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
        "id2label": {"0": "no", "1": "yes"},
        "label2id": {"no": 0, "yes": 1},
    }
    (folder / "config.json").write_text(json.dumps(config))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(f"word{number}" for number in range(vocabulary - len(special)))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return sum(tensor.nbytes for tensor in tensors.values())


def _precisions() -> list[dict[str, Any]]:
    """The options of each export (a checkpoint has no validation rows). The disk goal of bfloat16 is 0.55."""
    bfloat16 = {"precision": "bfloat16", "max_accuracy_loss": math.inf}
    return [{}, bfloat16, {"explain": True}, {**bfloat16, "explain": True}]


def _export(folder: Path, options: dict[str, Any]) -> None:
    from tfpipeline.runtime import import_tensorflow

    import_tensorflow()
    from tfpipeline.export import export_run

    base = memory_mb()
    reset_peak()
    version = Path(export_run(folder / "checkpoint", folder / f"model-{'-'.join(options)}", **options))
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    print(json.dumps({"base_mb": base, "peak_mb": peak_mb(), "bytes": size}))


if __name__ == "__main__":
    main()
