"""Writes a run's adapter in the files of Hugging Face's PEFT library.

:mod:`tfpipeline.checkpoints.peft_library` has the names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.checkpoints import Checkpoint
from tfpipeline.checkpoints import peft_library as library
from tfpipeline.checkpoints.formats import huggingface
from tfpipeline.checkpoints.formats._transformers_config import CLASSES
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_directory, write_failure
from tfpipeline.models.neutral import head_of

Arrays = dict[str, np.ndarray]


def require_writable_method(method: str, name: str) -> None:
    """Refuse a method that PEFT's files have no place for here.

    Raises:
        UserError: it is neither of those in :data:`tfpipeline.checkpoints.peft_library.PARTS`.
    """
    if method not in library.PARTS:
        raise UserError(
            f"{name} has peft.method {method}; files of the PEFT library can hold "
            f"{' and '.join(library.PARTS)}: use --format safetensors"
        )


def write(adaptation: Any, described: Checkpoint, base: str, dest: Path) -> None:
    """Write an adapter; the directory appears whole or not at all.

    Args:
        adaptation: the trained :class:`tfpipeline.models.peft.Adaptation`.
        described: the run as a checkpoint: configuration, labels and head.
        base: the checkpoint that the run was trained on, for ``base_model_name_or_path``.
        dest: the directory.
    Raises:
        UserError: PEFT's files have no place for something, or ``dest`` cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    options = adaptation.options
    require_writable_method(options.method, described.display_name)
    head = next((head for head in described.head_names if head in library.TASK_TYPES), None)
    prefix = library.PREFIX + (library.BERT if head else "")
    find = {"lora": _lora, "ia3": _ia3}[options.method]
    settings, tensors = find(adaptation, library.projections(described.config))
    tensors = {prefix + name: array for name, array in tensors.items()}
    task, saved = (None, None) if head is None else library.TASK_TYPES[head]
    if head is not None:
        for tensor in huggingface.TABLE.place(described.config, [head], len(described.labels)):
            if head_of(tensor.ours) == head:
                tensors[library.PREFIX + tensor.theirs] = tensor.to_theirs(described.heads[tensor.ours])
    settings = {
        "peft_type": library.TYPES[options.method],
        "task_type": task or "FEATURE_EXTRACTION",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "modules_to_save": None if saved is None else [saved],
        **settings,
    }
    kind = next(name for name, heads in CLASSES.items() if heads == (() if head is None else (head,)))
    with atomic_directory(dest) as temporary:
        for name, values in (
            (library.CONFIG, settings),
            (huggingface.CONFIG, huggingface.config_values(described, kind)),
        ):
            text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
            (temporary / name).write_text(text, "utf-8")
        try:
            arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
            save_file(arrays, temporary / library.WEIGHTS, {"format": "pt"})
        except SafetensorError as error:
            raise write_failure(dest, str(error)) from error


def _lora(adaptation: Any, modules: Mapping[str, str]) -> tuple[dict[str, Any], Arrays]:
    options, tensors, ranks, alphas = adaptation.options, Arrays(), {}, {}
    for name, layer, role in adaptation.projections():
        part, module = layer.parts[role], modules[name]
        divisor = part.rank**0.5 if options.rank_stabilized else part.rank
        ranks[module], alphas[module] = part.rank, part.scale * divisor
        tensors[module + library.PARTS["lora"]["a"]] = np.asarray(layer.down(role)).T
        tensors[module + library.PARTS["lora"]["b"]] = np.asarray(layer.up(role)).T
    chosen = [name for name, module in modules.items() if module in ranks]
    return {
        "target_modules": library.target_modules(chosen, modules),
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        "use_rslora": options.rank_stabilized,
        "bias": "none",
        "rank_pattern": {module: rank for module, rank in ranks.items() if rank != options.rank},
        "alpha_pattern": {
            module: alpha
            for module, alpha in alphas.items()
            if not np.isclose(alpha, options.alpha, rtol=1e-12)
        },
    }, tensors


def _ia3(adaptation: Any, modules: Mapping[str, str]) -> tuple[dict[str, Any], Arrays]:
    tensors, inputs, outputs = Arrays(), [], []
    end = library.PARTS["ia3"]["scale"]
    for name, layer, role in adaptation.projections():
        if role in layer.factors:
            outputs.append(name)
            tensors[modules[name] + end] = np.asarray(layer.factors[role])[:, None]
        if layer.input_scale is not None:
            if role in layer.factors:
                raise UserError(
                    f"peft: the inputs and the outputs of {name} are both multiplied; PEFT's files can hold "
                    "one of them"
                )
            inputs.append(name)
            tensors[modules[name] + end] = np.asarray(layer.input_scale)[None, :]
    read = library.target_modules(inputs, modules)
    return {
        "target_modules": [*library.target_modules(outputs, modules), *read],
        "feedforward_modules": read,
    }, tensors
