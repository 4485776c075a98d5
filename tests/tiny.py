"""A checkpoint small enough to train in seconds, and texts it can learn."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD, BAD, PLAIN = ["good", "great", "fine"], ["bad", "awful", "poor"], ["table", "chair", "door"]
FILLER = ["the", "a", "is", "was", "food", "film", "very", "##ly", "so", "and", ",", ".", "!", "x", "y"]
VOCABULARY = [*SPECIAL, *GOOD, *BAD, *PLAIN, *FILLER]
LABELS = ["positive", "negative", "neutral"]
# What a fine-tuned classifier's configuration adds.
CLASSIFIER = {
    "architectures": ["BertForSequenceClassification"],
    "id2label": {str(index): label for index, label in enumerate(LABELS)},
}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def write_checkpoint(
    directory: Path, seed: int = 0, std: float = 0.3, pooler: bool = True, **changes
) -> Path:
    """A Hugging Face directory with random weights; written without any code of ours."""
    directory.mkdir(parents=True)
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": 40,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        **SHAPE,
        **changes,
    }
    h, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], h),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], h),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], h),
        "embeddings.LayerNorm.weight": (h,),
        "embeddings.LayerNorm.bias": (h,),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            shapes |= {f"{at}.attention.self.{name}.weight": (h, h), f"{at}.attention.self.{name}.bias": (h,)}
        for name, (out, into) in {
            "attention.output.dense": (h, h),
            "intermediate.dense": (inner, h),
            "output.dense": (h, inner),
        }.items():
            shapes |= {f"{at}.{name}.weight": (out, into), f"{at}.{name}.bias": (out,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}.{name}.weight": (h,), f"{at}.{name}.bias": (h,)}
    if pooler:
        shapes |= {"pooler.dense.weight": (h, h), "pooler.dense.bias": (h,)}
    prefix = ""
    if "Classification" in config["architectures"][0]:
        shapes |= {"classifier.weight": (len(LABELS), h), "classifier.bias": (len(LABELS),)}
        prefix = "bert."
    random = np.random.default_rng(seed)
    tensors = {name: random.normal(0, std, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in tensors:
        if name.endswith("LayerNorm.weight"):
            tensors[name] += 1
    tensors = {
        name if name.startswith("classifier") else prefix + name: array for name, array in tensors.items()
    }
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    return directory


def texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label): each text has one word that gives it away, among 1 to 12 that do not."""
    random = np.random.default_rng(seed)
    words = {"positive": GOOD, "negative": BAD, "neutral": PLAIN}
    rows = []
    for index in range(count):
        label = ["positive", "negative", "neutral"][index % 3]
        chosen = list(random.choice(FILLER[:7], random.integers(1, 13)))
        chosen.insert(int(random.integers(len(chosen) + 1)), str(random.choice(words[label])))
        rows.append((" ".join(chosen), label))
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def write_run_file(folder: Path, train: int = 120, test: int = 30, layers: int = 1, **changes) -> Path:
    """A whole run, ready to train: checkpoint, data and run file under ``folder``.

    The encoder has a single layer unless layers are the test's subject: half of a short training is tracing
    them.
    """
    write_checkpoint(folder / "checkpoint", num_hidden_layers=layers)
    write_csv(folder / "train.csv", texts(train, seed=1))
    write_csv(folder / "test.csv", texts(test, seed=2))
    settings = {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        "data": {"train": str(folder / "train.csv"), "test": str(folder / "test.csv")},
        "text": {"max_length": 24},
        "task": {"name": "classification"},
        "training": {"epochs": 3, "batch_size": 16, "bucket_window": 32, "learning_rate": 0.01, **changes},
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path
