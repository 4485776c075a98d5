"""TF Model Garden's TF2 checkpoints of BERT: trees of objects, ``bert_config.json`` or ``params.yaml``,
``vocab.txt``.

Source: tensorflow/models, ``official/nlp/modeling`` (``networks/bert_encoder.py``,
``layers/transformer_encoder_block.py``, ``models/bert_pretrainer.py``, ``models/bert_classifier.py``). A
variable's key is the shortest path to it through the saved tree of objects. So the key depends on what else
was saved, and on the release that wrote it. The word embeddings, for example, are
``encoder/layer_with_weights-0/embeddings`` (functional models: the releases of 2020 and 2021,
``BertEncoder``), ``encoder/_embedding_layer/embeddings`` (``BertEncoderV2``) or
``masked_lm/embedding_table``. The file also stores the tree, so variables are found by walking it from the
encoder. The table's names are the paths in ``BertEncoderV2``; ``_ways`` lists the paths of older releases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from tfpipeline.checkpoints.bundles import OBJECT_GRAPH, holds, is_of_kind, open_bundle, read_tensor
from tfpipeline.checkpoints.checkpoint import (
    Checkpoint,
    as_float32,
    check_labels,
    check_vocabulary,
)
from tfpipeline.checkpoints.files import VOCABULARY
from tfpipeline.checkpoints.formats._model_garden_config import (
    CONFIG,
    PARAMS,
    encoder_config,
    mlm_activation_fits,
    read_settings,
)
from tfpipeline.checkpoints.table import Ignored, Shape, Table, Tensor, labels_of, lazy
from tfpipeline.checkpoints.tokenizer_files import read_tokenizer
from tfpipeline.errors import UserError

PREFIX = "bert_model.ckpt"
FILES = f"{CONFIG} (or {PARAMS}), {VOCABULARY} and an .index of TensorFlow 2"

_LAYER = "encoder/_transformer_layers/{i}"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
TABLE = Table(
    [
        Tensor("embeddings/word", "encoder/_embedding_layer/embeddings", "V H"),
        Tensor("embeddings/position", "encoder/_position_embedding_layer/embeddings", "P H"),
        Tensor("embeddings/token_type", "encoder/_type_embedding_layer/embeddings", "Y H"),
        Tensor("embeddings/norm/scale", "encoder/_embedding_norm_layer/gamma", "H"),
        Tensor("embeddings/norm/bias", "encoder/_embedding_norm_layer/beta", "H"),
        Tensor("layer_{i}/attention/query/kernel", f"{_LAYER}/_attention_layer/_query_dense/kernel", "H N D"),
        Tensor("layer_{i}/attention/query/bias", f"{_LAYER}/_attention_layer/_query_dense/bias", "N D"),
        Tensor("layer_{i}/attention/key/kernel", f"{_LAYER}/_attention_layer/_key_dense/kernel", "H N D"),
        Tensor("layer_{i}/attention/key/bias", f"{_LAYER}/_attention_layer/_key_dense/bias", "N D"),
        Tensor("layer_{i}/attention/value/kernel", f"{_LAYER}/_attention_layer/_value_dense/kernel", "H N D"),
        Tensor("layer_{i}/attention/value/bias", f"{_LAYER}/_attention_layer/_value_dense/bias", "N D"),
        Tensor(
            "layer_{i}/attention/output/kernel", f"{_LAYER}/_attention_layer/_output_dense/kernel", "N D H"
        ),
        Tensor("layer_{i}/attention/output/bias", f"{_LAYER}/_attention_layer/_output_dense/bias", "H"),
        Tensor("layer_{i}/attention/norm/scale", f"{_LAYER}/_attention_layer_norm/gamma", "H"),
        Tensor("layer_{i}/attention/norm/bias", f"{_LAYER}/_attention_layer_norm/beta", "H"),
        Tensor("layer_{i}/feed_forward/inner/kernel", f"{_LAYER}/_intermediate_dense/kernel", "H I"),
        Tensor("layer_{i}/feed_forward/inner/bias", f"{_LAYER}/_intermediate_dense/bias", "I"),
        Tensor("layer_{i}/feed_forward/outer/kernel", f"{_LAYER}/_output_dense/kernel", "I H"),
        Tensor("layer_{i}/feed_forward/outer/bias", f"{_LAYER}/_output_dense/bias", "H"),
        Tensor("layer_{i}/feed_forward/norm/scale", f"{_LAYER}/_output_layer_norm/gamma", "H"),
        Tensor("layer_{i}/feed_forward/norm/bias", f"{_LAYER}/_output_layer_norm/beta", "H"),
        Tensor("pooler/kernel", "encoder/_pooler_layer/kernel", "H K"),
        Tensor("pooler/bias", "encoder/_pooler_layer/bias", "K"),
        Tensor("mlm/dense/kernel", "masked_lm/dense/kernel", "H K"),
        Tensor("mlm/dense/bias", "masked_lm/dense/bias", "K"),
        Tensor("mlm/norm/scale", "masked_lm/layer_norm/gamma", "K"),
        Tensor("mlm/norm/bias", "masked_lm/layer_norm/beta", "K"),
        Tensor("mlm/bias", "masked_lm/bias", "V"),
        Tensor("nsp/kernel", "next_sentence/kernel", "H S"),
        Tensor("nsp/bias", "next_sentence/bias", "S"),
        # BertClassifier, BertTokenClassifier and BertSpanLabeler.
        Tensor("sequence_classifier/kernel", "classifier/out_proj/kernel", "H C"),
        Tensor("sequence_classifier/bias", "classifier/out_proj/bias", "C"),
        Tensor("token_classifier/kernel", "classifier/kernel", "H C"),
        Tensor("token_classifier/bias", "classifier/bias", "C"),
        Tensor("span/kernel", "span_labeling/kernel", "H S"),
        Tensor("span/bias", "span_labeling/bias", "S"),
    ],
    [
        Ignored(OBJECT_GRAPH, "the tree of objects: it says which tensor is which"),
        Ignored("*/.OPTIMIZER_SLOT/*", "optimizer slots of pre-training"),
        Ignored(f"optimizer/*{_VALUE}", "the optimizer's state"),
        Ignored(f"save_counter{_VALUE}", "how often the checkpoint was saved"),
        Ignored(f"global_step{_VALUE}", "the step counter of pre-training"),
        Ignored("*/.ATTRIBUTES/OBJECT_CONFIG_JSON", "a layer's configuration as text: not a weight"),
    ],
)
# Indices in functional models of the parts that BertEncoderV2 names; the layers follow, the pooler is last.
_FUNCTIONAL = {
    "_embedding_layer": 0,
    "_position_embedding_layer": 1,
    "_type_embedding_layer": 2,
    "_embedding_norm_layer": 3,
}
_FIRST_LAYER = 4
_MASKED_LM = ("dense/kernel", "dense/bias", "layer_norm/gamma", "layer_norm/beta", "bias")


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format."""
    return holds(directory, object_based=True)


def owns(directory: Path, name: str) -> bool:
    """Whether a file of the directory is one of this format's weights."""
    return is_of_kind(directory, name, object_based=True)


def read(directory: Path, name: str = "") -> Checkpoint:
    """Read a checkpoint directory.

    Args:
        directory: with the files.
        name: a checkpoint's prefix, or one of its files, if the directory holds several checkpoints.
    Raises:
        UserError: files are missing or malformed, do not match, or hold no BERT encoder.
    """
    notes: list[str] = []
    settings = read_settings(directory, notes)
    reader, prefix = open_bundle(directory, name, PREFIX, object_based=True)
    shapes = {key: tuple(shape) for key, shape in reader.get_variable_to_shape_map().items()}
    objects = _Objects.parse(read_tensor(reader, prefix, OBJECT_GRAPH), prefix)
    names, outside = _locate(objects, shapes, prefix, notes)
    theirs = {key: ours for ours, key in names.items()}
    shapes_by_name = {theirs.get(key, key): shape for key, shape in shapes.items() if key not in outside}
    config = encoder_config(settings, "encoder/_pooler_layer/kernel" in shapes_by_name, notes)
    heads = [head for head in TABLE.heads() if head != "mlm" or mlm_activation_fits(settings, notes)]
    where = f"{prefix} does not fit {settings.path.name}"
    placed, left_out = TABLE.match(config, shapes_by_name, where, heads)
    count = labels_of(placed)
    if count:
        notes.append(f"the files name no labels; the classifier's {count} are called LABEL_0, LABEL_1 ...")
    vocabulary, tokenizer = read_tokenizer(directory, notes, rows=config.vocab_size)
    notes += check_vocabulary(vocabulary, tokenizer, config, directory / VOCABULARY)
    tensors, head_tensors = lazy(
        placed, lambda ours: as_float32(read_tensor(reader, prefix, names[ours]), names[ours], prefix)
    )
    return Checkpoint(
        source=directory,
        format="model_garden",
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        tensors=tensors,
        heads=head_tensors,
        labels=check_labels(None, count, settings.path),
        left_out={**{names.get(ours, ours): why for ours, why in left_out.items()}, **outside},
        notes=notes,
    )


@dataclasses.dataclass(frozen=True)
class _Objects:
    """The tree of objects from which a checkpoint was saved; an object is a number, the root is 0.

    Attributes:
        children: for each object, its children by the name of the attribute that holds them.
        keys: for each object that is a variable, the key of its value.
    """

    children: list[dict[str, int]]
    keys: list[Optional[str]]

    @classmethod
    def parse(cls, graph: Any, prefix: Path) -> _Objects:
        """Parse the tree as stored in a checkpoint, a serialized ``TrackableObjectGraph``."""
        from google.protobuf.message import DecodeError

        from tfpipeline._tensorflow_internals import TrackableObjectGraph

        damaged = f"{prefix}: {OBJECT_GRAPH} is damaged; copy the checkpoint again"
        try:
            nodes = TrackableObjectGraph.FromString(graph).nodes
        except (DecodeError, TypeError) as error:
            raise UserError(damaged) from error
        children = [{child.local_name: child.node_id for child in node.children} for node in nodes]
        if not nodes or any(number >= len(nodes) for names in children for number in names.values()):
            raise UserError(damaged)
        keys = [
            next(
                (value.checkpoint_key for value in node.attributes if value.name == "VARIABLE_VALUE"),
                None,
            )
            for node in nodes
        ]
        return cls(children, keys)

    def at(self, start: int, path: str) -> Optional[int]:
        """The object at a path."""
        number: Optional[int] = start
        for step in path.split("/"):
            number = None if number is None else self.children[number].get(step)
        return number

    def key(self, start: int, path: str) -> Optional[str]:
        """The key of the variable at a path."""
        number = self.at(start, path)
        return None if number is None else self.keys[number]

    def under(self, start: int) -> set[str]:
        """The keys of all variables below an object."""
        seen, rest = {start}, [start]
        while rest:
            for number in self.children[rest.pop()].values():
                if number not in seen:
                    seen.add(number)
                    rest.append(number)
        return {key for number in seen if (key := self.keys[number]) is not None}


def _ways(path: str, layers: int) -> Iterator[str]:
    """The paths from the encoder where the releases store a variable of BertEncoderV2."""
    yield path
    part, rest = path.split("/", 1)
    if part in _FUNCTIONAL:
        yield f"layer_with_weights-{_FUNCTIONAL[part]}/{rest}"
    elif part == "_pooler_layer":
        yield f"layer_with_weights-{_FIRST_LAYER + layers}/{rest}"
    elif part == "_transformer_layers":
        layer, rest = rest.split("/", 1)
        functional = f"layer_with_weights-{_FIRST_LAYER + int(layer)}"
        yield f"{functional}/{rest}"
        if rest.startswith("_attention_layer/_output_dense/"):  # a separate layer before 2020-10
            older = rest.replace("_attention_layer/_output_dense/", "_attention_output_dense/")
            yield f"{functional}/{older}"
            yield f"_transformer_layers/{layer}/{older}"


def _find(objects: _Objects, encoder: int, path: str, layers: int) -> Optional[str]:
    keys = (objects.key(encoder, way) for way in _ways(path, layers))
    return next((key for key in keys if key is not None), None)


def _locate(
    objects: _Objects, shapes: Mapping[str, Shape], prefix: Path, notes: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """(name in the table -> key, keys outside of the encoder and its heads -> why they are left out)."""
    query = "_transformer_layers/{}/_attention_layer/_query_dense/kernel"
    encoders = [
        number
        for number in range(len(objects.children))
        if _find(objects, number, query.format(0), 0)
        and _find(objects, number, "_embedding_layer/embeddings", 0)
    ]
    if len(encoders) != 1:
        parts = ", ".join(sorted(objects.children[0])) or "nothing"
        number_of = "no BERT encoder" if not encoders else f"{len(encoders)} encoders"
        raise UserError(
            f"{prefix} holds {number_of} of TF Model Garden (its parts are {parts}); only checkpoints of one "
            "BertEncoder, with or without heads, can be read"
        )
    encoder = encoders[0]
    layers = 1
    while _find(objects, encoder, query.format(layers), 0):
        layers += 1
    names = {}
    for row in TABLE.tensors:
        if not row.theirs.startswith("encoder/"):
            continue
        for theirs in {row.theirs.replace("{i}", str(layer)): None for layer in range(layers)}:
            key = _find(objects, encoder, theirs.removeprefix("encoder/"), layers)
            if key is not None:
                names[theirs] = key
    heads, pooler = _heads(objects, shapes, notes)
    outside = {}
    if pooler is not None and objects.key(pooler, "kernel"):
        for part in ("kernel", "bias"):
            own, key = names.pop(f"encoder/_pooler_layer/{part}", None), objects.key(pooler, part)
            if own is not None and own != key:
                outside[own] = "the encoder's own pooler, which the head does not stand on"
            if key is not None:
                names[f"encoder/_pooler_layer/{part}"] = key
        notes.append("the pooler is the head's own dense layer; the encoder's was not trained with that head")
    names |= heads
    of_encoder, read = objects.under(encoder), set(names.values())
    for key in shapes:
        if key not in read and key not in of_encoder and TABLE.why_ignored(key) is None:
            outside[key] = "not part of the encoder or of a known head"
    return names, outside


def _heads(
    objects: _Objects, shapes: Mapping[str, Shape], notes: list[str]
) -> tuple[dict[str, str], Optional[int]]:
    """(name in the table -> key, for all heads; the dense layer that is a head's own pooler)."""
    keys_by_name: dict[str, str] = {}

    def take(head: str, start: Optional[int], paths: Sequence[str] = ("kernel", "bias")) -> None:
        for path in paths:
            key = None if start is None else objects.key(start, path)
            if key is not None:
                keys_by_name[f"{head}/{path}"] = key

    root, everything = objects.children[0], range(len(objects.children))
    # MaskedLM; its embedding_table is the word embeddings.
    masked = [
        number
        for number in everything
        if {"embedding_table", "dense", "layer_norm"} <= objects.children[number].keys()
    ]
    if len(masked) == 1:
        take("masked_lm", masked[0], _MASKED_LM)
    # ClassificationHead: out_proj, usually after a dense layer that replaces the encoder's pooler. The head's
    # name is known only if its dense layer was saved under that name (BertPretrainerV2.checkpoint_items).
    pooler = root.get("next_sentence.pooler_dense")
    heads = [number for number in everything if objects.key(number, "out_proj/kernel")]
    if pooler is not None:
        heads = [number for number in heads if objects.at(number, "dense") == pooler]
    if len(heads) == 1:
        projection = objects.at(heads[0], "out_proj")
        outputs = shapes.get(objects.key(heads[0], "out_proj/kernel") or "", ())[-1:]
        known = True
        if not masked:
            take("classifier/out_proj", projection)
        elif outputs == (2,):
            take("next_sentence", projection)
            if pooler is None:
                notes.append("the head with two outputs next to the masked-LM head is the next-sentence head")
        else:
            known = False
        if known and pooler is None:
            pooler = objects.at(heads[0], "dense")
    for number in everything:
        names = objects.children[number]
        if {"masked_lm", "classification"} <= names.keys():  # BertPretrainer, before BertPretrainerV2
            take("next_sentence", objects.at(number, "classification/layer_with_weights-0"))
        if "classifier" in names:
            take("classifier", names["classifier"])
        if "span_labeling" in names:
            take("span_labeling", objects.at(number, "span_labeling/layer_with_weights-0"))
    return keys_by_name, pooler
