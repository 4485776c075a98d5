"""KerasHub presets (formerly KerasNLP): ``config.json``, ``model.weights.h5``,
``assets/tokenizer/vocabulary.txt``.

Source: keras-hub 0.3x and keras-nlp 0.6 to 0.2x, ``models/bert/bert_backbone.py`` and
``bert_text_classifier.py``. Its gelu is the tanh form and LayerNorm's epsilon is 1e-12; the configuration
stores neither. Kernels are [in, out] and [H, N, D]. A task (``BertTextClassifier``, formerly
``BertClassifier``) is stored in ``task.json`` and ``task.weights.h5``. Older presets store it in
``config.json`` and a single file of weights, with the backbone in a group of its own. Within a file, layers
are numbered per class, and the first has no number.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints import tokenizer_kinds as kinds
from tfpipeline.checkpoints.checkpoint import (
    Checkpoint,
    as_float32,
    check_labels,
    check_vocabulary,
    config_from,
)
from tfpipeline.checkpoints.files import is_keras_object, read_json, require_fields
from tfpipeline.checkpoints.table import Ignored, Table, Tensor, labels_of, lazy
from tfpipeline.checkpoints.weights import Weights, open_h5, open_h5_shards
from tfpipeline.errors import UserError
from tfpipeline.models.architectures.bert.config import BertConfig
from tfpipeline.text import TokenizerOptions, infer_lowercase
from tfpipeline.text.vocabulary import read_vocabulary

CONFIG, TASK, TOKENIZER = "config.json", "task.json", "tokenizer.json"
MODEL, INDEX, TASK_MODEL = "model.weights.h5", "model.weights.json", "task.weights.h5"
FILES = f"{CONFIG}, {MODEL} and assets/tokenizer/vocabulary.txt"
_VOCABULARIES = ("assets/tokenizer/vocabulary.txt", "assets/vocabulary.txt", "vocabulary.txt", "vocab.txt")

_LAYER = "layers/transformer_encoder_{i}"
_ATTENTION = f"{_LAYER}/_self_attention_layer"
TABLE = Table(
    [
        Tensor("embeddings/word", "layers/reversible_embedding/vars/0", "V H"),
        Tensor("embeddings/position", "layers/position_embedding/vars/0", "P H"),
        Tensor("embeddings/token_type", "layers/embedding/vars/0", "Y H"),
        Tensor("embeddings/norm/scale", "layers/layer_normalization/vars/0", "H"),
        Tensor("embeddings/norm/bias", "layers/layer_normalization/vars/1", "H"),
        Tensor("layer_{i}/attention/query/kernel", f"{_ATTENTION}/query_dense/vars/0", "H N D"),
        Tensor("layer_{i}/attention/query/bias", f"{_ATTENTION}/query_dense/vars/1", "N D"),
        Tensor("layer_{i}/attention/key/kernel", f"{_ATTENTION}/key_dense/vars/0", "H N D"),
        Tensor("layer_{i}/attention/key/bias", f"{_ATTENTION}/key_dense/vars/1", "N D"),
        Tensor("layer_{i}/attention/value/kernel", f"{_ATTENTION}/value_dense/vars/0", "H N D"),
        Tensor("layer_{i}/attention/value/bias", f"{_ATTENTION}/value_dense/vars/1", "N D"),
        Tensor("layer_{i}/attention/output/kernel", f"{_ATTENTION}/output_dense/vars/0", "N D H"),
        Tensor("layer_{i}/attention/output/bias", f"{_ATTENTION}/output_dense/vars/1", "H"),
        Tensor("layer_{i}/attention/norm/scale", f"{_LAYER}/_self_attention_layer_norm/vars/0", "H"),
        Tensor("layer_{i}/attention/norm/bias", f"{_LAYER}/_self_attention_layer_norm/vars/1", "H"),
        Tensor(
            "layer_{i}/feed_forward/inner/kernel", f"{_LAYER}/_feedforward_intermediate_dense/vars/0", "H I"
        ),
        Tensor("layer_{i}/feed_forward/inner/bias", f"{_LAYER}/_feedforward_intermediate_dense/vars/1", "I"),
        Tensor("layer_{i}/feed_forward/outer/kernel", f"{_LAYER}/_feedforward_output_dense/vars/0", "I H"),
        Tensor("layer_{i}/feed_forward/outer/bias", f"{_LAYER}/_feedforward_output_dense/vars/1", "H"),
        Tensor("layer_{i}/feed_forward/norm/scale", f"{_LAYER}/_feedforward_layer_norm/vars/0", "H"),
        Tensor("layer_{i}/feed_forward/norm/bias", f"{_LAYER}/_feedforward_layer_norm/vars/1", "H"),
        Tensor("pooler/kernel", "layers/dense/vars/0", "H K"),
        Tensor("pooler/bias", "layers/dense/vars/1", "K"),
        Tensor("sequence_classifier/kernel", "task/layers/dense/vars/0", "H C"),
        Tensor("sequence_classifier/bias", "task/layers/dense/vars/1", "C"),
    ],
    [
        Ignored(
            "task/layers/masked_lm_head/*",
            "a masked-LM head with another gelu and epsilon than the encoder's",
        ),
        Ignored("task/backbone/*", "a copy of the backbone"),
        Ignored("*optimizer/*", "the optimizer's state"),
        Ignored("*seed_generator*", "the state of dropout"),
    ],
)
_BACKBONE = re.compile(r"layers/bert_backbone(_\d+)?/")
_TASKS = ("BertTextClassifier", "BertClassifier", "BertMaskedLM")
_FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format."""
    if is_keras_object(directory / CONFIG):
        return True
    # Also with a missing or malformed configuration, so that the error can say so.
    return (directory / MODEL).exists() and not (directory / "model.safetensors").exists()


def owns(directory: Path, name: str) -> bool:
    """Whether a file of the directory is one of this format's weights."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in ("*.weights.h5", "*.weights.json"))


def read(directory: Path, name: str = "") -> Checkpoint:
    """Read a preset's directory.

    Args:
        directory: with the files.
        name: the file of weights, if it is not ``model.weights.h5``.
    Raises:
        UserError: files are missing or malformed, do not match, or do not belong to a BERT model.
    """
    path = directory / CONFIG
    weights, files = _open(directory, name)
    notes: list[str] = []
    config = _config(read_json(path), path, notes)
    names = {_rename(ours): ours for ours in files}
    if len(names) < len(files):
        twice = next(theirs for theirs in files if names[_rename(theirs)] != theirs)
        raise UserError(f"{weights.path} holds {twice} under another name too; leave one of each")
    shapes = {ours: files[theirs].shapes[_in_file(theirs)] for ours, theirs in names.items()}
    placed, left_out = TABLE.match(config, shapes, f"{weights.path} does not fit {CONFIG}", TABLE.heads())
    vocabulary_path = next((directory / one for one in _VOCABULARIES if (directory / one).exists()), None)
    if vocabulary_path is None:
        raise UserError(f"{directory} has no {_VOCABULARIES[0]}; save the tokenizer into the preset too")
    vocabulary, found_notes = read_vocabulary(vocabulary_path)
    notes += found_notes
    kinds.refuse_marks(vocabulary, vocabulary_path)
    tokenizer = _tokenizer(directory, vocabulary, notes)
    notes += check_vocabulary(vocabulary, tokenizer, config, vocabulary_path)
    labels = labels_of(placed)
    if labels:
        notes.append(f"KerasHub names no labels; the classifier's {labels} are called LABEL_0, LABEL_1 ...")

    def tensor(ours: str) -> Any:
        theirs = names[ours]
        return as_float32(files[theirs].read(_in_file(theirs)), _in_file(theirs), files[theirs].path)

    tensors, heads = lazy(placed, tensor)
    return Checkpoint(
        source=directory,
        format="keras_hub",
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        tensors=tensors,
        heads=heads,
        labels=check_labels(None, labels, path),
        left_out={_in_file(names[ours]): why for ours, why in left_out.items()},
        notes=notes,
    )


def _open(directory: Path, name: str) -> tuple[Weights, dict[str, Weights]]:
    """Open the backbone's file; also returns the file of each name. Names of a task start with ``task/``."""
    candidates = [
        file
        for file in (name, MODEL, INDEX)
        if file and owns(directory, file) and (directory / file).exists()
    ]
    candidates = [file for file in candidates if file != TASK_MODEL] or sorted(
        path.name for path in directory.glob("*.weights.h5") if path.name != TASK_MODEL
    )
    if not candidates:
        raise UserError(f"{directory} has no {MODEL}; copy the whole preset")
    path = directory / candidates[0]
    weights = open_h5_shards(path) if path.suffix == ".json" else open_h5(path)
    whole = any(_BACKBONE.match(theirs) for theirs in weights.shapes)  # one file for a task and its backbone
    files = {
        theirs
        if not whole or "token_embedding" in theirs or _BACKBONE.match(theirs)
        else f"task/{theirs}": weights
        for theirs in weights.shapes
    }
    if (directory / TASK_MODEL).exists() and not whole:
        task = open_h5(directory / TASK_MODEL)
        files |= {f"task/{theirs}": task for theirs in task.shapes}
    return weights, files


def _in_file(name: str) -> str:
    return name.removeprefix("task/")


def _rename(name: str) -> str:
    """The name in the table."""
    if name.startswith("task/"):
        return _BACKBONE.sub("backbone/layers/", name) if _BACKBONE.search(name) else name
    name = _BACKBONE.sub("", name)
    name = re.sub(
        r"^(?:_backbone/|layers/masked_lm_head/)?token_embedding/", "layers/reversible_embedding/", name
    )
    name = name.replace("layers/transformer_encoder/", "layers/transformer_encoder_0/")
    return re.sub(
        r"/_self_attention_layer/_(query|key|value|output)_dense/", r"/_self_attention_layer/\1_dense/", name
    )


def _config(values: Mapping[str, Any], path: Path, notes: list[str]) -> BertConfig:
    kind, fields = values.get("class_name"), values.get("config")
    if kind in _TASKS and isinstance(fields, dict) and isinstance(fields.get("backbone"), dict):
        kind, fields = fields["backbone"].get("class_name"), fields["backbone"].get("config")
    if kind != "BertBackbone":
        raise UserError(f"{path}: the architecture is {kind}, not BERT; only BERT checkpoints can be read")
    if not isinstance(fields, dict):
        raise UserError(f'{path} has no "config"; copy the whole preset')
    require_fields(fields, _FIELDS, path)
    dropout = fields.get("dropout", 0.1)
    notes.append("hidden_act is gelu_tanh and layer_norm_eps 1e-12: what KerasHub's BertBackbone computes")
    return config_from(
        BertConfig,
        {
            **{ours: fields[theirs] for theirs, ours in _FIELDS.items()},
            "hidden_act": "gelu_tanh",
            "layer_norm_eps": 1e-12,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        },
        path,
    )


def _tokenizer(directory: Path, vocabulary: tuple[str, ...], notes: list[str]) -> TokenizerOptions:
    path = directory / TOKENIZER
    described = read_json(path) if path.exists() else {}
    kinds.class_of(described.get("class_name"), path)
    values = described.get("config")
    if not isinstance(values, dict):
        lowercase = infer_lowercase(vocabulary)
        case = "uncased: it has no" if lowercase else "cased: it has"
        notes.append(f"no {TOKENIZER}; the vocabulary is {case} upper-case words")
        return TokenizerOptions(lowercase=lowercase)
    notes.append(f"lowercase and strip_accents are those of {TOKENIZER}")
    return TokenizerOptions.from_dict(
        {
            "do_lower_case": values.get("lowercase", False),
            "strip_accents": values.get("strip_accents", False),
            "unk_token": values.get("oov_token", "[UNK]"),
        },
        source=str(path),
    )
