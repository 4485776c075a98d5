"""Hugging Face directories: ``config.json``, weights (safetensors, or a PyTorch state dict), tokenizer files.

Source: transformers, ``models/bert/modeling_bert.py``. Its ``gelu`` is the exact one (erf). Kernels are stored as
[out, in]. A bare ``BertModel`` has no prefix, every other class has ``bert.``.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.checkpoints.activations import activation_of
from tfpipeline.checkpoints.added_tokens import TOKENIZER
from tfpipeline.checkpoints.checkpoint import (
    Checkpoint,
    as_float32,
    check_labels,
    check_vocabulary,
    config_from,
)
from tfpipeline.checkpoints.files import (
    VOCABULARY,
    is_keras_object,
    read_json,
    require_fields,
)
from tfpipeline.checkpoints.table import Ignored, Table, Tensor, labels_of, lazy
from tfpipeline.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from tfpipeline.checkpoints.weights import Weights, open_safetensors, open_shards, open_state_dict
from tfpipeline.errors import UserError
from tfpipeline.files import write_failure
from tfpipeline.models.architectures.bert.config import BertConfig
from tfpipeline.models.neutral import CLASSIFIERS, head_of

CONFIG = "config.json"
OLD_CONFIG = "bert_config.json"  # pytorch-pretrained-bert's, of 2018 and 2019
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
TENSORFLOW = "tf_model.h5"  # read by formats.huggingface_tf
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")
# In the order of preference.
_FILES = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
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
        # Both by the same names: the class in the configuration tells them apart.
        Tensor("sequence_classifier/kernel", "classifier.weight", "C H"),
        Tensor("sequence_classifier/bias", "classifier.bias", "C"),
        Tensor("token_classifier/kernel", "classifier.weight", "C H"),
        Tensor("token_classifier/bias", "classifier.bias", "C"),
        Tensor("span/kernel", "qa_outputs.weight", "S H"),
        Tensor("span/bias", "qa_outputs.bias", "S"),
    ],
    [
        Ignored("embeddings.position_ids", "the numbers 0, 1, 2, ...: not a weight"),
        Ignored("cls.predictions.decoder.weight", "the word embeddings once more"),
        Ignored("cls.predictions.decoder.bias", "cls.predictions.bias once more"),
    ],
)
_PREFIX = "bert."
# Names before 2019.
_OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

# What stands on the encoder in each class; the first that holds all heads there are is the one written.
_CLASSES: dict[str, tuple[str, ...]] = {
    "BertModel": (),
    "BertForMaskedLM": ("mlm",),
    "BertForNextSentencePrediction": ("nsp",),
    "BertForPreTraining": ("mlm", "nsp"),
    "BertForSequenceClassification": ("sequence_classifier",),
    "BertForTokenClassification": ("token_classifier",),
    "BertForQuestionAnswering": ("span",),
}

_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)
# transformers' BertConfig leaves out what equals its own constants.
_DEFAULTS = {
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
_ACTIVATIONS = {"gelu": "gelu_erf"}
_WRITTEN_ACTIVATIONS = {"gelu_erf": "gelu", "gelu_tanh": "gelu_new"}


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format; one with TensorFlow's weights alone is of another."""
    if is_keras_object(directory / CONFIG):
        return False
    if any((directory / name).exists() for name in _FILES):
        return True
    if holds_tensorflow(directory) or any(directory.glob("*.index")):  # the latter are TensorFlow's
        return False
    # Without weights it is recognised for the sake of the sentence that says so; a config.json that cannot be read
    # beside weights of Keras is theirs.
    path = directory / CONFIG
    return path.exists() and (not any(directory.glob("*.weights.h5")) or _is_json(path))


def config_path(directory: Path) -> Path:
    """The configuration's file, by its name of today or of 2018."""
    old = directory / OLD_CONFIG
    return old if old.exists() and not (directory / CONFIG).exists() else directory / CONFIG


def holds_tensorflow(directory: Path) -> bool:
    """Whether a directory holds ``tf_model.h5`` or its shards, and no other weights of transformers."""
    return not any((directory / name).exists() for name in _FILES) and any(
        (directory / name).exists() for name in (TENSORFLOW, f"{TENSORFLOW}.index.json")
    )


def owns(directory: Path, name: str) -> bool:
    """Whether a file of the directory is one of this format's weights."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _WEIGHTS)


def read(directory: Path, name: str = "") -> Checkpoint:
    """Read a checkpoint directory.

    Args:
        directory: with the files.
        name: the weights' file, where the directory holds several; safetensors by default.
    Raises:
        UserError: files are missing or broken, do not fit each other, or are not those of a BERT.
    """
    if fnmatch.fnmatchcase(name, "tf_model*.h5*"):  # asked for, beside others that come first
        from tfpipeline.checkpoints.formats import huggingface_tf

        return huggingface_tf.read(directory, name)
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


def assemble(
    kind: str,
    table: Table,
    directory: Path,
    values: Mapping[str, Any],
    weights: Weights,
    names: Mapping[str, str],
) -> Checkpoint:
    """A checkpoint of a directory's configuration and tokenizer and of weights in any of transformers' files.

    Args:
        kind: the format's name.
        table: the format's.
        directory: with ``config.json`` and the tokenizer.
        values: of ``config.json``.
        weights: the tensors.
        names: the table's name -> the file's.
    Raises:
        UserError: the files do not fit each other.
    """
    notes: list[str] = []
    found = {ours: weights.shapes[theirs] for ours, theirs in names.items()}
    there = {row.ours for row in table.tensors if row.theirs in found}
    pooler, classifier = "pooler/kernel" in there, "sequence_classifier/kernel" in there
    path = config_path(directory)
    config = encoder_config(values, path, pooler, notes)
    heads = heads_of(values, path, notes, classifier=classifier, pooler=pooler)
    placed, left_out = table.match(config, found, f"{weights.path} does not fit {path.name}", heads)
    vocabulary, tokenizer = read_tokenizer(
        directory, notes, rows=config.vocab_size, named=values.get("tokenizer_class")
    )
    notes += check_vocabulary(vocabulary, tokenizer, config, directory / VOCABULARY)
    tensors, of_heads = lazy(
        placed, lambda ours: as_float32(weights.read(names[ours]), names[ours], weights.path)
    )
    return Checkpoint(
        source=directory,
        format=kind,
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        own_tokenizer=True,
        tensors=tensors,
        heads=of_heads,
        labels=read_labels(values, path, labels_of(placed), notes),
        problem_type=values.get("problem_type"),
        left_out={names[ours]: why for ours, why in left_out.items()},
        notes=notes,
    )


def write(checkpoint: Checkpoint, directory: Path) -> list[str]:
    """Write a checkpoint into an empty directory, as transformers reads it; returns notes.

    Raises:
        UserError: the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    notes = []
    heads = checkpoint.head_names
    kind = next((name for name, holds in _CLASSES.items() if set(heads) <= set(holds)), None)
    if kind is None:  # no class has all of them; those of a task are wanted more than those of pre-training
        kind = next(name for name, holds in reversed(_CLASSES.items()) if set(heads) & set(holds))
        dropped = [head for head in heads if head not in _CLASSES[kind]]
        notes.append(f"transformers has no class with all heads; {kind} leaves out {', '.join(dropped)}")
        heads = _CLASSES[kind]
    prefix = _PREFIX if heads else ""
    placed = TABLE.place(checkpoint.config, heads, len(checkpoint.labels))
    tensors = {
        (prefix if head_of(tensor.ours) is None else "") + tensor.theirs: np.ascontiguousarray(
            tensor.to_theirs(checkpoint.tensor(tensor.ours))
        )
        for tensor in placed
    }
    values = _config_values(checkpoint, kind)
    (directory / CONFIG).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
    notes += write_tokenizer(directory, checkpoint.vocabulary, checkpoint.tokenizer)
    try:
        save_file(tensors, directory / SAFETENSORS, {"format": "pt"})
    except SafetensorError as error:
        raise write_failure(directory / SAFETENSORS, str(error)) from error
    return notes


def _config_values(checkpoint: Checkpoint, kind: str) -> dict[str, Any]:
    config = checkpoint.config
    values: dict[str, Any] = {"architectures": [kind], "model_type": "bert"}
    values |= {field: getattr(config, field) for field in (*_REQUIRED, *_DEFAULTS)}
    values["hidden_act"] = _WRITTEN_ACTIVATIONS.get(config.hidden_act, config.hidden_act)
    values["pad_token_id"] = checkpoint.vocabulary.index(checkpoint.tokenizer.pad_token)
    values["dtype"] = values["torch_dtype"] = "float32"
    if checkpoint.labels:
        values["id2label"] = {str(index): label for index, label in enumerate(checkpoint.labels)}
        values["label2id"] = {label: index for index, label in enumerate(checkpoint.labels)}
    if checkpoint.problem_type is not None:
        values["problem_type"] = checkpoint.problem_type
    return values


def refuse_others(values: Mapping[str, Any], path: Path) -> None:
    """Raise the sentence for a configuration that is not that of a BERT encoder."""
    kind = values.get("model_type", "bert")
    classes = values.get("architectures") or []
    others = [
        name
        for name in (classes if isinstance(classes, list) else [classes])
        if not str(name).startswith("Bert")
    ]
    if kind != "bert" or others:
        name = others[0] if others else kind
        raise UserError(f"{path}: the architecture is {name}, not BERT; only BERT checkpoints can be read")
    positions = values.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UserError(
            f'{path}: position_embedding_type is "{positions}"; only absolute positions can be read'
        )
    for field in ("is_decoder", "add_cross_attention"):
        if values.get(field):
            raise UserError(f"{path}: {field} is true; only encoders can be read")
    if values.get("tie_word_embeddings") is False:
        raise UserError(
            f"{path}: tie_word_embeddings is false; BERT's masked-LM head shares the word embeddings"
        )


def _is_json(path: Path) -> bool:
    try:
        read_json(path)
    except UserError:
        return False
    return True


def _open(directory: Path, name: str) -> Weights:
    """The weights: the file that was named, or the first kind there is."""
    present = [file for file in _FILES if (directory / file).exists()]
    if not present:
        raise UserError(f"{directory} has neither {SAFETENSORS} nor {PICKLE}; copy the whole checkpoint")
    chosen = directory / (name if name in present else present[0])
    open_one = open_safetensors if chosen.name.startswith(SAFETENSORS) else open_state_dict
    return open_shards(chosen, open_one) if chosen.suffix == ".json" else open_one(chosen)


def _rename(name: str, found: Collection[str]) -> str:
    """The name as the table has it."""
    name = name.removeprefix(_PREFIX)
    for old, new in _OLD.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    if name == "cls.predictions.decoder.bias" and "cls.predictions.bias" not in found:
        return "cls.predictions.bias"  # one tensor by two names, of which a file may hold either
    return name


def heads_of(
    values: Mapping[str, Any], path: Path, notes: list[str], *, classifier: bool, pooler: bool
) -> list[str]:
    """The heads to look for; which kind of classifier, where there is one, the configuration's class says.

    The other heads have names of their own, and files hold more of them than their class has: that of
    bert-base-uncased, a ``BertForMaskedLM``, the next-sentence head as well.

    Args:
        values: of the configuration, which may name no class.
        path: its file.
        notes: get what was decided then.
        classifier: whether the weights have one.
        pooler: whether they have a pooler, as sequence classifiers do.
    """
    classes = values.get("architectures") or []
    kind = classes if isinstance(classes, str) else next(iter(classes), None)
    if kind is None and classifier:
        names = values.get("id2label")
        prefixes = {str(name)[:2] for name in (names.values() if isinstance(names, dict) else names or ())}
        tags = "O" in prefixes and not prefixes.isdisjoint(("B-", "I-"))
        kind = "BertForTokenClassification" if tags or not pooler else "BertForSequenceClassification"
        reason = "its labels are tags" if tags else f"the weights have {'a' if pooler else 'no'} pooler"
        notes.append(
            f"{path.name} names no architectures; the classifier is taken for that of a {kind}: {reason}. If it is "
            "another, name its class in architectures"
        )
    of_class = _CLASSES.get(str(kind), ())
    return [head for head in TABLE.heads() if head not in CLASSIFIERS or head in of_class]


def read_labels(values: Mapping[str, Any], path: Path, count: int, notes: list[str]) -> tuple[str, ...]:
    """A classifier's labels by ``id2label``; none without a classifier.

    Raises:
        UserError: they do not fit its outputs.
    """
    names = values.get("id2label")
    if count and names is None:
        notes.append(f"{path.name} names no labels; the classifier's {count} are called LABEL_0, LABEL_1 ...")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(map(str, range(len(names)))):
            raise UserError(
                f"{path}: the keys of id2label are not 0 to {len(names) - 1}, each once; correct it"
            )
        names = [names[str(index)] for index in range(len(names))]
    return check_labels(names, count, path)


def encoder_config(values: Mapping[str, Any], path: Path, pooler: bool, notes: list[str]) -> BertConfig:
    """The architecture that a ``config.json`` describes; what was decided goes into the notes."""
    require_fields(values, _REQUIRED, path)
    fields = {field: values[field] for field in _REQUIRED}
    for field, default in _DEFAULTS.items():
        fields[field] = values.get(field, default)
        if field not in values:
            notes.append(f"{field} is {default}: {path.name} leaves it out, this is transformers' constant")
    word = fields["hidden_act"]
    fields["hidden_act"] = activation_of(word, _ACTIVATIONS, path)
    if word != fields["hidden_act"]:
        notes.append(f'hidden_act "{word}" is {fields["hidden_act"]}: what transformers computes')
    if not pooler:
        notes.append("the checkpoint has no pooler")
    return config_from(BertConfig, {**fields, "pooler": pooler}, path)
