"""Hugging Face directories: ``config.json``, weights (safetensors, or a PyTorch state dict), tokenizer files.

Source: transformers, ``models/bert/modeling_bert.py``. Its ``gelu`` is the exact form (erf). Kernels are
stored as [out, in]. A bare ``BertModel`` has names without a prefix; in every other class they start with
``bert.``.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.checkpoints import sentence_transformers
from tfpipeline.checkpoints.added_tokens import TOKENIZER
from tfpipeline.checkpoints.checkpoint import (
    Checkpoint,
)
from tfpipeline.checkpoints.files import (
    VOCABULARY,
    is_keras_object,
    read_json,
)
from tfpipeline.checkpoints.formats._transformers_config import (
    CLASSES,
    CONFIG,
    DEFAULTS,
    REQUIRED,
    assemble,
    config_path,
    refuse_others,
)
from tfpipeline.checkpoints.table import Ignored, Table, Tensor
from tfpipeline.checkpoints.tokenizer_files import write_tokenizer
from tfpipeline.checkpoints.weights import Weights, open_safetensors, open_shards, open_state_dict
from tfpipeline.errors import UserError
from tfpipeline.files import write_failure
from tfpipeline.models.neutral import head_of

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
_TENSORFLOW = ("tf_model.h5", "tf_model.h5.index.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")
# In the order of preference.
_FILES = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
KEEPS_SENTENCE_SETTINGS = True  # how a text becomes one vector
FILES = f"{CONFIG}, {VOCABULARY} (or {TOKENIZER}) and {SAFETENSORS} (or {PICKLE})"

_LAYER = "encoder.layer.{i}"
TABLE = Table(
    [
        Tensor("embeddings/word", "embeddings.word_embeddings.weight", "V H"),
        Tensor("embeddings/position", "embeddings.position_embeddings.weight", "P H"),
        Tensor("embeddings/token_type", "embeddings.token_type_embeddings.weight", "Y H"),
        Tensor("embeddings/norm/scale", "embeddings.LayerNorm.weight", "H"),
        Tensor("embeddings/norm/bias", "embeddings.LayerNorm.bias", "H"),
        Tensor("layer_{i}/attention/query/kernel", f"{_LAYER}.attention.self.query.weight", "(N D) H"),
        Tensor("layer_{i}/attention/query/bias", f"{_LAYER}.attention.self.query.bias", "(N D)"),
        Tensor("layer_{i}/attention/key/kernel", f"{_LAYER}.attention.self.key.weight", "(N D) H"),
        Tensor("layer_{i}/attention/key/bias", f"{_LAYER}.attention.self.key.bias", "(N D)"),
        Tensor("layer_{i}/attention/value/kernel", f"{_LAYER}.attention.self.value.weight", "(N D) H"),
        Tensor("layer_{i}/attention/value/bias", f"{_LAYER}.attention.self.value.bias", "(N D)"),
        Tensor("layer_{i}/attention/output/kernel", f"{_LAYER}.attention.output.dense.weight", "H (N D)"),
        Tensor("layer_{i}/attention/output/bias", f"{_LAYER}.attention.output.dense.bias", "H"),
        Tensor("layer_{i}/attention/norm/scale", f"{_LAYER}.attention.output.LayerNorm.weight", "H"),
        Tensor("layer_{i}/attention/norm/bias", f"{_LAYER}.attention.output.LayerNorm.bias", "H"),
        Tensor("layer_{i}/feed_forward/inner/kernel", f"{_LAYER}.intermediate.dense.weight", "I H"),
        Tensor("layer_{i}/feed_forward/inner/bias", f"{_LAYER}.intermediate.dense.bias", "I"),
        Tensor("layer_{i}/feed_forward/outer/kernel", f"{_LAYER}.output.dense.weight", "H I"),
        Tensor("layer_{i}/feed_forward/outer/bias", f"{_LAYER}.output.dense.bias", "H"),
        Tensor("layer_{i}/feed_forward/norm/scale", f"{_LAYER}.output.LayerNorm.weight", "H"),
        Tensor("layer_{i}/feed_forward/norm/bias", f"{_LAYER}.output.LayerNorm.bias", "H"),
        Tensor("pooler/kernel", "pooler.dense.weight", "K H"),
        Tensor("pooler/bias", "pooler.dense.bias", "K"),
        Tensor("mlm/dense/kernel", "cls.predictions.transform.dense.weight", "K H"),
        Tensor("mlm/dense/bias", "cls.predictions.transform.dense.bias", "K"),
        Tensor("mlm/norm/scale", "cls.predictions.transform.LayerNorm.weight", "K"),
        Tensor("mlm/norm/bias", "cls.predictions.transform.LayerNorm.bias", "K"),
        Tensor("mlm/bias", "cls.predictions.bias", "V"),
        Tensor("nsp/kernel", "cls.seq_relationship.weight", "S H"),
        Tensor("nsp/bias", "cls.seq_relationship.bias", "S"),
        # Both have the same names; the class in the configuration distinguishes them.
        Tensor("sequence_classifier/kernel", "classifier.weight", "C H"),
        Tensor("sequence_classifier/bias", "classifier.bias", "C"),
        Tensor("token_classifier/kernel", "classifier.weight", "C H"),
        Tensor("token_classifier/bias", "classifier.bias", "C"),
        Tensor("span/kernel", "qa_outputs.weight", "S H"),
        Tensor("span/bias", "qa_outputs.bias", "S"),
    ],
    [
        Ignored("embeddings.position_ids", "the numbers 0, 1, 2, ...: not a weight"),
        Ignored("cls.predictions.decoder.weight", "a copy of the word embeddings"),
        Ignored("cls.predictions.decoder.bias", "a copy of cls.predictions.bias"),
    ],
)
_PREFIX = "bert."
# Tensor names before 2019.
_OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

_WRITTEN_ACTIVATIONS = {"gelu_erf": "gelu", "gelu_tanh": "gelu_new"}


def holds_weights(directory: Path) -> bool:
    """Whether a directory holds safetensors or PyTorch weights under their usual names."""
    return any((directory / name).exists() for name in _FILES)


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format; with only TensorFlow's weights it belongs to another format."""
    if is_keras_object(directory / CONFIG):
        return False
    if holds_weights(directory):
        return True
    if (directory / "adapter_config.json").exists():
        return False  # an adapter of the PEFT library, with the configuration of its model
    if any((directory / name).exists() for name in _TENSORFLOW) or any(directory.glob("*.index")):
        return False  # TensorFlow's format
    # A directory without weights is recognised so that the error can say what is missing. An unreadable
    # config.json beside weights of Keras belongs to Keras.
    path = directory / CONFIG
    return path.exists() and (not any(directory.glob("*.weights.h5")) or _is_json(path))


def owns(directory: Path, name: str) -> bool:
    """Whether a file of the directory is one of this format's weights."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _WEIGHTS)


def read(directory: Path, name: str = "") -> Checkpoint:
    """Read a checkpoint directory.

    Args:
        directory: with the files.
        name: the file of weights, if the directory holds several; safetensors by default.
    Raises:
        UserError: files are missing or malformed, do not match, or do not belong to a BERT model.
    """
    values = read_json(config_path(directory))
    refuse_others(values, config_path(directory))
    weights = _open(directory, name)
    names = {_rename(theirs, weights.shapes): theirs for theirs in weights.shapes}
    if len(names) < len(weights.shapes):
        twice = sorted(
            theirs for theirs in weights.shapes if names[_rename(theirs, weights.shapes)] != theirs
        )
        raise UserError(f"{weights.path} holds {', '.join(twice)} under another name too; leave one of each")
    return assemble("huggingface", TABLE, directory, values, weights, names)


def write(checkpoint: Checkpoint, directory: Path) -> list[str]:
    """Write a checkpoint into an empty directory in the form that transformers reads; returns notes.

    Raises:
        UserError: the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    notes = []
    heads = checkpoint.head_names
    kind = next((name for name, holds in CLASSES.items() if set(heads) <= set(holds)), None)
    if kind is None:  # no class has all heads: a task's heads matter more than those of pre-training
        kind = next(name for name, holds in reversed(CLASSES.items()) if set(heads) & set(holds))
        dropped = [head for head in heads if head not in CLASSES[kind]]
        notes.append(f"transformers has no class with all heads; {kind} leaves out {', '.join(dropped)}")
        heads = CLASSES[kind]
    prefix = _PREFIX if heads else ""
    placed = TABLE.place(checkpoint.config, heads, len(checkpoint.labels))
    tensors = {
        (prefix if head_of(tensor.ours) is None else "") + tensor.theirs: np.ascontiguousarray(
            tensor.to_theirs(checkpoint.tensor(tensor.ours))
        )
        for tensor in placed
    }
    values = config_values(checkpoint, kind)
    (directory / CONFIG).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
    notes += write_tokenizer(directory, checkpoint.vocabulary, checkpoint.tokenizer)
    if checkpoint.sentence is not None:
        notes += sentence_transformers.write(checkpoint.sentence, checkpoint.config.hidden_size, directory)
    try:
        save_file(tensors, directory / SAFETENSORS, {"format": "pt"})
    except SafetensorError as error:
        raise write_failure(directory / SAFETENSORS, str(error)) from error
    return notes


def config_values(checkpoint: Checkpoint, kind: str) -> dict[str, Any]:
    """The contents of a ``config.json``, for a class of transformers."""
    config = checkpoint.config
    values: dict[str, Any] = {"architectures": [kind], "model_type": "bert"}
    values |= {field: getattr(config, field) for field in (*REQUIRED, *DEFAULTS)}
    values["hidden_act"] = _WRITTEN_ACTIVATIONS.get(config.hidden_act, config.hidden_act)
    values["pad_token_id"] = checkpoint.vocabulary.index(checkpoint.tokenizer.pad_token)
    values["dtype"] = values["torch_dtype"] = "float32"
    if checkpoint.labels:
        values["id2label"] = {str(index): label for index, label in enumerate(checkpoint.labels)}
        values["label2id"] = {label: index for index, label in enumerate(checkpoint.labels)}
    if checkpoint.problem_type is not None:
        values["problem_type"] = checkpoint.problem_type
    return values


def _is_json(path: Path) -> bool:
    try:
        read_json(path)
    except UserError:
        return False
    return True


def _open(directory: Path, name: str) -> Weights:
    """Open the weights: the named file, or the first kind that exists."""
    present = [file for file in _FILES if (directory / file).exists()]
    if not present:
        raise UserError(f"{directory} has neither {SAFETENSORS} nor {PICKLE}; copy the whole checkpoint")
    chosen = directory / (name if name in present else present[0])
    open_one = open_safetensors if chosen.name.startswith(SAFETENSORS) else open_state_dict
    return open_shards(chosen, open_one) if chosen.suffix == ".json" else open_one(chosen)


def _rename(name: str, names: Collection[str]) -> str:
    """The name in the table."""
    name = name.removeprefix(_PREFIX)
    for old, new in _OLD.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    if name == "cls.predictions.decoder.bias" and "cls.predictions.bias" not in names:
        return "cls.predictions.bias"  # one tensor with two names; a file may have either
    return name
