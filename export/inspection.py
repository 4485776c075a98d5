"""Inspects a version (signatures, operations, size, card), and compares two versions."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline import paths
from tfpipeline._tensorflow_internals import SavedModel, TrackableObjectGraph
from tfpipeline.console import say
from tfpipeline.errors import UserError, visible
from tfpipeline.export import card, labels
from tfpipeline.export.model_directory import MARKER, open_directory
from tfpipeline.paths import AnyPath

_BATCH = 32
_SHOWN = 20
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ATTRIBUTE = "/.ATTRIBUTES/VARIABLE_VALUE"
# Entries of the card that differ between any two exports.
_OF_THE_EXPORT = ("identity", "created", "run", "name")


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A version, as returned by :func:`inspect`.

    Attributes:
        path: the version's path.
        signatures: name -> its inputs and its outputs: name -> dtype and shape, such as "string [?]".
        operations: kind -> number of nodes in the graph and its functions.
        size: bytes of all files.
        weights: number of values in its variables.
        card: the facts stored by the export; empty for a SavedModel of another program.
    """

    path: str
    signatures: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]
    operations: Mapping[str, int]
    size: int
    weights: int
    card: Mapping[str, Any]

    def text(self) -> str:
        """A text for the terminal."""
        lines = [f"{self.path}: {self.size / 1e6:.1f} MB, {self.weights:,} weights"]
        for name, (inputs, outputs) in sorted(self.signatures.items()):
            lines += ["", f"signature {name}"]
            for arrow, tensors in (("<-", inputs), ("->", outputs)):
                lines += [f"  {arrow} {tensor}: {kind}" for tensor, kind in sorted(tensors.items())]
        most = sorted(self.operations.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{kind} {count}" for kind, count in most[:_SHOWN])
        more = f" and {len(most) - _SHOWN} kinds more" if len(most) > _SHOWN else ""
        lines += ["", f"{sum(self.operations.values()):,} operations: {shown}{more}"]
        if self.card:
            lines += ["", "card"]
            lines += [f"  {name}: {value}" for name, value in _flat(self.card).items()]
        return visible_lines(lines)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The differences of two versions, as returned by :func:`compare`.

    Attributes:
        one, other: the paths.
        weights: variable -> difference, for variables that differ or exist in only one version.
        equal_weights: number of variables that are equal bit for bit.
        options: entry -> its two values, for entries of the cards that differ; None if a card lacks it.
        answers: output -> number of rows that differ, and the largest difference (None for strings); None if
            no texts were given.
        only: output -> the path of the version that has it, for outputs that the other one lacks.
        rows: number of texts.
    """

    one: str
    other: str
    weights: Mapping[str, str]
    equal_weights: int
    options: Mapping[str, tuple[Any, Any]]
    answers: Mapping[str, tuple[int, float | None]] | None
    only: Mapping[str, str]
    rows: int

    def text(self) -> str:
        """A text for the terminal."""
        lines = [f"{self.one} and {self.other}"]
        lines += ["", f"weights: {self.equal_weights} equal, {len(self.weights)} different"]
        lines += [f"  {name}: {what}" for name, what in self.weights.items()]
        lines += ["", f"card: {len(self.options) or 'no'} differences"]
        lines += [
            f"  {name}: {json.dumps(a, ensure_ascii=False)} -> {json.dumps(b, ensure_ascii=False)}"
            for name, (a, b) in self.options.items()
        ]
        if self.answers is not None:
            lines += ["", f"answers to {self.rows} rows"]
            for name, (rows, largest) in self.answers.items():
                most = "" if largest is None else f", by {largest:.2e} at most"
                lines.append(f"  {name}: {rows} differ{most}" if rows else f"  {name}: equal")
            lines += [f"  {name}: only in {path}" for name, path in sorted(self.only.items())]
        return visible_lines(lines)


def inspect(version: AnyPath) -> Inspection:
    """Inspect a version.

    Args:
        version: its directory, local or remote.
    Raises:
        UserError: there is no SavedModel.
    """
    path = _version(version)
    _say_missing_labels(path)
    proto = SavedModel.FromString(_read(f"{path}/{MARKER}"))
    operations: Counter[str] = Counter()
    signatures = {}
    for meta_graph in proto.meta_graphs:
        operations.update(node.op for node in meta_graph.graph_def.node)
        for function in meta_graph.graph_def.library.function:
            operations.update(node.op for node in function.node_def)
        for name, signature in meta_graph.signature_def.items():
            if not name.startswith("__"):
                signatures[name] = (_tensors(signature.inputs), _tensors(signature.outputs))
    sizes = [
        tf.io.gfile.stat(f"{folder}/{name}").length
        for folder, _, names in tf.io.gfile.walk(path)
        for name in names
    ]
    weights = sum(int(np.prod(shape)) for shape in _shapes(path).values())
    return Inspection(path, signatures, dict(operations), sum(sizes), weights, _card(path))


def compare(one: AnyPath, other: AnyPath, texts: Mapping[str, Sequence[str]] | None = None) -> Comparison:
    """Compare two versions.

    Args:
        one, other: their directories.
        texts: "text", and "text_pair" for pair tasks: inputs for both versions; None to compare no answers.
    Raises:
        UserError: there is no SavedModel, or it has other inputs.
    """
    paths_ = _version(one), _version(other)
    _say_missing_labels(*paths_)
    weights, equal = _different_weights(*paths_)
    cards = [_flat(_card(path)) for path in paths_]
    options = {
        name: (cards[0].get(name), cards[1].get(name))
        for name in {**cards[0], **cards[1]}
        if cards[0].get(name) != cards[1].get(name) and name not in _OF_THE_EXPORT
    }
    if texts is None:
        return Comparison(*paths_, weights, equal, options, None, {}, 0)
    answers, only = _different_answers(*paths_, texts)
    return Comparison(*paths_, weights, equal, options, answers, only, len(texts["text"]))


def visible_lines(lines: Sequence[str]) -> str:
    """Lines in which terminal control characters are escaped."""
    return "\n".join(map(visible, lines))


def _version(given: AnyPath) -> str:
    """The path of a version; checks that it holds a SavedModel."""
    path = paths.expand(given).removeprefix("file://").rstrip("/") or "/"
    if paths.is_far(given) and paths.scheme(given) not in tf.io.gfile.get_registered_schemes():
        raise paths.unusable(given, "gs")
    try:
        if tf.io.gfile.exists(f"{path}/{MARKER}"):
            return path
        there = tf.io.gfile.listdir(path) if tf.io.gfile.isdir(path) else []
    except tf.errors.OpError as error:
        raise _unreadable(path, error) from error
    versions = sorted(int(name.rstrip("/")) for name in there if name.rstrip("/").isdecimal())
    if versions:
        raise UserError(f"{path} holds versions; give one of them: {path}/{versions[-1]}")
    model, number = _split(path)
    others = open_directory(model).versions() if number is not None else {}
    if number is not None and others and number not in others:
        has = ", ".join(map(str, others))
        raise UserError(f"{model} has no version {number}; it has {has}")
    raise UserError(f"{path} holds no {MARKER}; give the directory of a version, such as models/NAME/1")


def _split(path: str) -> tuple[str, int | None]:
    """The model's directory and the version's number; None if its name is not a number."""
    model, slash, name = path.rpartition("/")
    return model or slash or ".", int(name) if re.fullmatch(r"[0-9]+", name) else None


def _say_missing_labels(*versions: str) -> None:
    """Tell the user which labels of the versions' models point to versions that do not exist."""
    for model in dict.fromkeys(model for model, number in map(_split, versions) if number is not None):
        directory = open_directory(model)
        try:
            labels.say_missing(directory, labels.read(directory))
        except UserError as error:  # the versions can be inspected nevertheless
            say(str(error))


def _read(path: str) -> bytes:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return bytes(file.read())
    except tf.errors.OpError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: tf.errors.OpError) -> UserError:
    reason = (str(error.message).strip().splitlines() or [type(error).__name__])[0][:200]
    return UserError(f"cannot read {path}: {reason}; check the path and your permissions")


def _card(path: str) -> dict[str, Any]:
    for name in card.FILES:
        if tf.io.gfile.exists(f"{path}/{name}"):
            return card.parse(_read(f"{path}/{name}"))
    return {}


def _tensors(infos: Mapping[str, Any]) -> dict[str, str]:
    """Name -> dtype and shape, for a signature's inputs or outputs."""
    tensors = {}
    for name, info in infos.items():
        sizes = ["?" if size.size < 0 else str(size.size) for size in info.tensor_shape.dim]
        shape = "[any rank]" if info.tensor_shape.unknown_rank else f"[{', '.join(sizes)}]"
        tensors[name] = f"{tf.dtypes.as_dtype(info.dtype).name} {shape}"
    return tensors


def _reader(path: str) -> Any:
    # Not tf.train.load_checkpoint, which checks whether the prefix is a folder: some file systems say yes.
    return tf.compat.v1.train.NewCheckpointReader(f"{path}/variables/variables")


def _shapes(path: str) -> dict[str, list[int]]:
    """Variable -> its shape, by its key in the checkpoint; empty for a SavedModel without variables."""
    if not tf.io.gfile.exists(f"{path}/variables/variables.index"):
        return {}
    shapes = _reader(path).get_variable_to_shape_map()
    return {key: shape for key, shape in shapes.items() if key.endswith(_ATTRIBUTE)}


def _keys(path: str) -> dict[str, str]:
    """The name of each variable at export -> its key in the checkpoint."""
    shapes = _shapes(path)
    if not shapes:
        return {}
    graph = TrackableObjectGraph.FromString(_reader(path).get_tensor(_OBJECT_GRAPH))
    full_names = {
        attribute.checkpoint_key: attribute.full_name for node in graph.nodes for attribute in node.attributes
    }
    named: dict[str, str] = {}
    for key in sorted(shapes, key=_natural):
        name = full_names.get(key) or key.removesuffix(_ATTRIBUTE)
        copies = sum(known == name or known.startswith(f"{name} (") for known in named)
        named[f"{name} ({copies + 1})" if copies else name] = key
    return named


def _natural(key: str) -> list[tuple[bool, int, str]]:
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in key.split("/")]


def _different_weights(one: str, other: str) -> tuple[dict[str, str], int]:
    keys = _keys(one), _keys(other)
    readers = [_reader(path) if by_name else None for path, by_name in zip((one, other), keys)]
    different, equal = {}, 0
    for name in {**keys[0], **keys[1]}:
        if name not in keys[0] or name not in keys[1]:
            different[name] = f"only in {one if name in keys[0] else other}"
            continue
        # One variable of each at a time: a model may be larger than half of the memory.
        a, b = (reader.get_tensor(by_name[name]) for reader, by_name in zip(readers, keys) if reader)
        if a.shape != b.shape:
            different[name] = f"{list(a.shape)} -> {list(b.shape)}"
        elif a.dtype != b.dtype:
            different[name] = f"{a.dtype} -> {b.dtype}, {_largest(a, b)}"
        elif a.tobytes() == b.tobytes():
            equal += 1
        else:
            different[name] = _largest(a, b)
    return different, equal


def _largest(a: np.ndarray, b: np.ndarray) -> str:
    if a.dtype == object or a.dtype.kind in "SU":
        return f"{int((a != b).sum())} of {a.size} strings differ"
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return f"largest difference {gap.max(initial=0):.2e}"


def _different_answers(
    one: str, other: str, texts: Mapping[str, Sequence[str]]
) -> tuple[dict[str, tuple[int, float | None]], dict[str, str]]:
    answers = [_answers(path, texts) for path in (one, other)]
    only = {name: one if name in answers[0] else other for name in answers[0].keys() ^ answers[1].keys()}
    different: dict[str, tuple[int, float | None]] = {}
    for name in sorted(answers[0].keys() & answers[1].keys()):
        a, b = answers[0][name], answers[1][name]
        if a.shape[1:] != b.shape[1:]:  # e.g. different labels
            different[name] = (len(texts["text"]), None)
            continue
        rows = int((a != b).reshape(len(a), -1).any(-1).sum())
        numbers = a.dtype.kind == "f"
        different[name] = (rows, float(np.abs(a - b).max(initial=0)) if numbers else None)
    return different, only


def _answers(path: str, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """The default signature's outputs for texts, with all batches in one array per output."""
    function = tf.saved_model.load(path).signatures["serving_default"]
    wanted = sorted(function.structured_input_signature[1])
    if wanted != sorted(texts):
        raise UserError(
            f"{path} takes {', '.join(wanted)}, but was given {', '.join(texts)}; name the columns with "
            "--column and --pair-column"
        )
    batches: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(texts["text"]), _BATCH):
        batch = {name: tf.constant(column[start : start + _BATCH]) for name, column in texts.items()}
        for name, tensor in function(**batch).items():
            batches.setdefault(name, []).append(tensor.numpy())
    return {name: np.concatenate(pieces) for name, pieces in batches.items()}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A card as dotted names -> values; a list is one value."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat.update(_flat(item, f"{prefix}.{name}" if prefix else str(name)))
    return flat
