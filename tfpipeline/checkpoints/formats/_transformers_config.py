"""Code for all directories of transformers: the configuration, the heads of each class, the tokenizer.

Source: transformers, ``models/bert/configuration_bert.py``. Its ``gelu`` is the exact form (erf).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints import sentence_transformers
from tfpipeline.checkpoints.activations import activation_of
from tfpipeline.checkpoints.checkpoint import (
    Checkpoint,
    as_float32,
    check_labels,
    check_vocabulary,
    config_from,
)
from tfpipeline.checkpoints.files import VOCABULARY, require_fields
from tfpipeline.checkpoints.table import Table, labels_of, lazy
from tfpipeline.checkpoints.tokenizer_files import read_tokenizer
from tfpipeline.checkpoints.weights import Weights
from tfpipeline.errors import UserError
from tfpipeline.models import neutral
from tfpipeline.models.architectures.bert.config import BertConfig

CONFIG = "config.json"
OLD_CONFIG = "bert_config.json"  # of pytorch-pretrained-bert, 2018 and 2019

# The heads of each class. The first class that has all of a model's heads is the one written.
CLASSES: dict[str, tuple[str, ...]] = {
    "BertModel": (),
    "BertForMaskedLM": ("mlm",),
    "BertForNextSentencePrediction": ("nsp",),
    "BertForPreTraining": ("mlm", "nsp"),
    "BertForSequenceClassification": ("sequence_classifier",),
    "BertForTokenClassification": ("token_classifier",),
    "BertForQuestionAnswering": ("span",),
}

REQUIRED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)
# transformers' BertConfig omits fields that equal these defaults.
DEFAULTS = {
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
_ACTIVATIONS = {"gelu": "gelu_erf"}


def config_path(directory: Path) -> Path:
    """The configuration file, by its current name or its name of 2018."""
    old = directory / OLD_CONFIG
    return old if old.exists() and not (directory / CONFIG).exists() else directory / CONFIG


def refuse_others(values: Mapping[str, Any], path: Path) -> None:
    """Raise an error for a configuration that does not describe a BERT encoder."""
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


def assemble(
    kind: str,
    table: Table,
    directory: Path,
    values: Mapping[str, Any],
    weights: Weights,
    names: Mapping[str, str],
) -> Checkpoint:
    """Make a checkpoint of a configuration, a tokenizer, and weights in any of transformers' files.

    Args:
        kind: the format's name.
        table: the format's table.
        directory: with ``config.json`` and the tokenizer.
        values: the contents of ``config.json``.
        weights: the tensors.
        names: name in the table -> name in the file.
    Raises:
        UserError: the files do not match.
    """
    notes: list[str] = []
    shapes = {ours: weights.shapes[theirs] for ours, theirs in names.items()}
    there = {row.ours for row in table.tensors if row.theirs in shapes}
    pooler, classifier = "pooler/kernel" in there, "sequence_classifier/kernel" in there
    path = config_path(directory)
    config = encoder_config(values, path, pooler, notes)
    heads = heads_of(values, path, notes, classifier=classifier, pooler=pooler)
    placed, left_out = table.match(config, shapes, f"{weights.path} does not fit {path.name}", heads)
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
        sentence=sentence_transformers.read(directory, config.max_position_embeddings, notes),
        left_out={names[ours]: why for ours, why in left_out.items()},
        notes=notes,
    )


def heads_of(
    values: Mapping[str, Any], path: Path, notes: list[str], *, classifier: bool, pooler: bool
) -> list[str]:
    """The heads to look for. The configuration's class tells which kind of classifier the weights have.

    The other heads have names of their own, and files may hold more heads than their class has:
    bert-base-uncased, a ``BertForMaskedLM``, also has the next-sentence head.

    Args:
        values: the configuration, which may name no class.
        path: the configuration's file.
        notes: if it names none, the decision is appended here.
        classifier: whether the weights have a classifier.
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
            f"{path.name} names no architectures; the classifier is assumed to be that of a {kind}: "
            f"{reason}. If it is another, name its class in architectures"
        )
    of_class = CLASSES.get(str(kind), ())
    return [head for head in neutral.HEADS if head not in neutral.CLASSIFIERS or head in of_class]


def read_labels(values: Mapping[str, Any], path: Path, count: int, notes: list[str]) -> tuple[str, ...]:
    """A classifier's labels, from ``id2label``; empty without a classifier.

    Raises:
        UserError: they do not match the classifier's outputs.
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
    """The architecture that a ``config.json`` describes; decisions are appended to the notes."""
    require_fields(values, REQUIRED, path)
    fields = {field: values[field] for field in REQUIRED}
    for field, default in DEFAULTS.items():
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
