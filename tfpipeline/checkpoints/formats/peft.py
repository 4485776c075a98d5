"""Directories of Hugging Face's PEFT library: an adapter of LoRA or IA3, read as its base with the adapter
merged into it. It is written from runs, by ``tfpipeline adapter extract``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline import paths
from tfpipeline.checkpoints import peft_library as library
from tfpipeline.checkpoints.checkpoint import Checkpoint, as_float32
from tfpipeline.checkpoints.files import read_json
from tfpipeline.checkpoints.formats import huggingface
from tfpipeline.checkpoints.formats._transformers_config import read_labels
from tfpipeline.checkpoints.table import Replaced, TensorMapping
from tfpipeline.checkpoints.weights import Weights, open_safetensors, open_state_dict
from tfpipeline.errors import UserError
from tfpipeline.models import neutral

FILES = f"{library.CONFIG} and {library.WEIGHTS} (or {library.PICKLE})"
TABLE = huggingface.TABLE


def recognise(directory: Path) -> bool:
    """Whether a directory holds this format."""
    return (directory / library.CONFIG).exists()


def owns(directory: Path, name: str) -> bool:
    """Whether a file of the directory is one of this format's weights."""
    return name in (library.WEIGHTS, library.PICKLE)


def read(directory: Path, name: str = "", base: Checkpoint | None = None) -> Checkpoint:
    """Read an adapter as its base with the adapter merged into it.

    Args:
        directory: with the files.
        name: the file of weights; by default the one that is there.
        base: the checkpoint; by default the one that ``adapter_config.json`` names.
    Raises:
        UserError: files are missing, damaged, or do not fit the base; or a setting is not supported.
    """
    settings, weights = open_directory(directory, name)
    where = directory / library.CONFIG
    method = library.method_of(settings, where)
    base = _base_of(where) if base is None else base
    heads, others = _named(weights, base, settings)
    changes = _merged(method, settings, weights, base, others)
    count = next((array.shape[-1] for name, array in heads.items() if name.endswith("classifier/bias")), 0)
    notes: list[str] = []
    labels = _labels(directory, base, count, notes) if count else base.labels
    kept = {} if count else dict(base.heads)
    return dataclasses.replace(
        base,
        source=directory,
        format="peft",
        tensors=Replaced(base.tensors, changes),
        heads={**kept, **heads},
        labels=labels,
        problem_type=_problem_type(directory, base) if count else base.problem_type,
        own_tokenizer=False,
        display_name=str(directory),
        notes=[*base.notes, f"the adapter ({method}) is merged into {_name(base)}", *notes],
        keep=(base.keep, weights),
    )


def open_directory(directory: Path, name: str = "") -> tuple[dict[str, Any], Weights]:
    """The settings and the tensors of a directory.

    Raises:
        UserError: files are missing or damaged.
    """
    settings = read_json(directory / library.CONFIG)
    found = (
        [name] if name else [one for one in (library.WEIGHTS, library.PICKLE) if (directory / one).exists()]
    )
    if not found:
        raise UserError(
            f"{directory} has neither {library.WEIGHTS} nor {library.PICKLE}; copy the whole adapter"
        )
    path = directory / found[0]
    return settings, open_safetensors(path) if path.suffix == ".safetensors" else open_state_dict(path)


def named_base(directory: Path) -> str:
    """The base that ``adapter_config.json`` names; "" if it names none."""
    named = read_json(directory / library.CONFIG).get("base_model_name_or_path")
    return named if isinstance(named, str) else ""


def _name(checkpoint: Checkpoint) -> str:
    return checkpoint.display_name or str(checkpoint.source)


def _base_of(where: Path) -> Checkpoint:
    from tfpipeline.checkpoints.conversion import load

    named = named_base(where.parent)
    if not named:
        raise UserError(
            f"{where} names no base; give it: tfpipeline adapter merge {where.parent} --base CHECKPOINT "
            "--to DIR"
        )
    if not paths.is_far(named) and not paths.local(named).exists():
        raise UserError(
            f"{where} names the base {named}, which is not on this machine; give it: tfpipeline adapter "
            f"merge {where.parent} --base CHECKPOINT --to DIR (hf://{named}, if it is a model of the hub)"
        )
    return load(named)


def _named(
    weights: Weights, base: Checkpoint, settings: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a trained head by neutral name, and the other names in the file by their short form."""
    short = {}
    for name in weights.shapes:
        if not name.startswith(library.PREFIX):
            raise UserError(f"{weights.path} holds {name}, which is not a name of PEFT's; copy it again")
        short[name.removeprefix(library.PREFIX).removeprefix(library.BERT)] = name
    kind = settings.get("task_type")
    wanted = [head for head, (theirs, _) in library.TASK_TYPES.items() if theirs == kind]
    if not wanted and "classifier.weight" in short:
        raise UserError(
            f"{weights.path} holds a classifier, but the task_type of {library.CONFIG} is {kind}; set it to "
            "SEQ_CLS or TOKEN_CLS"
        )
    rows = TABLE.labels({name: weights.shapes[theirs] for name, theirs in short.items()}, wanted)
    heads = {}
    for tensor in TABLE.place(base.config, wanted, rows):
        if neutral.head_of(tensor.ours) is not None and tensor.theirs in short:
            heads[tensor.ours] = _tensor(weights, short.pop(tensor.theirs), tensor)
    return heads, short


def _tensor(weights: Weights, name: str, tensor: TensorMapping) -> np.ndarray:
    neutral.check(
        {name: tensor.their_shape}, {name: weights.shapes[name]}, f"{weights.path} does not fit its base"
    )
    return tensor.to_ours(as_float32(weights.read(name), name, weights.path))


def _merged(
    method: str,
    settings: Mapping[str, Any],
    weights: Weights,
    base: Checkpoint,
    names: Mapping[str, str],
) -> dict[str, np.ndarray]:
    """The changed tensors of the encoder, by neutral name; computed in float64."""
    if not names:
        raise UserError(f"{weights.path} holds no tensor of the adapter ({method}); copy it again")
    placed = {tensor.theirs: tensor for tensor in TABLE.place(base.config)}
    left = dict(names)
    changed: dict[str, np.ndarray] = {}
    for theirs in [name for name in left if name in placed]:  # modules_to_save
        changed[placed[theirs].ours] = _tensor(weights, left.pop(theirs), placed[theirs])
    for module in library.projections(base.config).values():
        parts = {part: left.pop(module + end, None) for part, end in library.PARTS[method].items()}
        if all(name is None for name in parts.values()):
            continue
        absent = [library.PARTS[method][part] for part, name in parts.items() if name is None]
        if absent:
            raise UserError(f"{weights.path} holds no {module}{absent[0]}; copy it again")
        arrays = {part: np.asarray(weights.read(str(name)), np.float64) for part, name in parts.items()}
        kernel, bias = placed[f"{module}.weight"], placed[f"{module}.bias"]
        for tensor, value in _change(method, settings, module, arrays, kernel, bias, base, weights.path):
            changed[tensor.ours] = tensor.to_ours(value.astype(np.float32))
    if left:
        raise UserError(
            f"{weights.path} holds {next(iter(left.values()))}, which a BERT of {_name(base)} does not have; "
            "give the base that the adapter was trained on"
        )
    return changed


def _change(
    method: str,
    settings: Mapping[str, Any],
    module: str,
    arrays: Mapping[str, np.ndarray],
    kernel: TensorMapping,
    bias: TensorMapping,
    base: Checkpoint,
    path: Path,
) -> list[tuple[TensorMapping, np.ndarray]]:
    """The changed weights of one projection, [out, in] and [out]."""
    weight = kernel.to_theirs(base.tensors[kernel.ours]).astype(np.float64)
    out, into = weight.shape
    if method == "lora":
        rank = int(library.of_module(settings, "r", "rank_pattern", module))
        alpha = float(library.of_module(settings, "lora_alpha", "alpha_pattern", module))
        _check(path, module, {"lora_A": (rank, into), "lora_B": (out, rank)}, arrays["a"], arrays["b"])
        scale = alpha / (rank**0.5 if settings.get("use_rslora") else rank)
        return [(kernel, weight + scale * (arrays["b"] @ arrays["a"]))]
    factor = arrays["scale"]
    if factor.shape == (1, into):  # of feedforward_modules
        return [(kernel, weight * factor)]
    _check(path, module, {"ia3_l": (out, 1)}, factor)
    return [(kernel, weight * factor), (bias, base.tensors[bias.ours].reshape(-1) * factor[:, 0])]


def _check(path: Path, module: str, wanted: Mapping[str, tuple[int, ...]], *found: np.ndarray) -> None:
    shapes = {f"{module}.{part}": array.shape for part, array in zip(wanted, found, strict=True)}
    neutral.check(
        {f"{module}.{part}": shape for part, shape in wanted.items()},
        shapes,
        f"{path} does not fit {library.CONFIG} and the base",
    )


def _labels(directory: Path, base: Checkpoint, count: int, notes: list[str]) -> tuple[str, ...]:
    """The labels of the trained head: of a ``config.json`` beside it, or of the base."""
    path = directory / "config.json"
    if path.exists():
        return read_labels(read_json(path), path, count, notes)
    if len(base.labels) == count:
        return base.labels
    notes.append(f"PEFT's files name no labels; the classifier's {count} are called LABEL_0, LABEL_1 ...")
    return tuple(f"LABEL_{index}" for index in range(count))


def _problem_type(directory: Path, base: Checkpoint) -> str | None:
    path = directory / "config.json"
    return read_json(path).get("problem_type") if path.exists() else base.problem_type
