"""The files of Hugging Face's PEFT library for BERT: names of tensors and meaning of settings.

Source: peft 0.21, ``tuners/lora/config.py``, ``tuners/ia3/config.py``, ``utils/save_and_load.py``. A
directory has ``adapter_config.json`` and ``adapter_model.safetensors`` (or ``adapter_model.bin``). A tensor
is called ``base_model.model.MODULE.PART``. MODULE is transformers' name of the adapted module, which the
table of the format huggingface has; PART is in :data:`PARTS`. A tensor of another module that was trained
(``modules_to_save``) is called ``base_model.model.`` and its name in that table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfpipeline.checkpoints.formats import huggingface
from tfpipeline.errors import UserError
from tfpipeline.models import neutral
from tfpipeline.models.config import EncoderConfig

CONFIG = "adapter_config.json"
WEIGHTS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
BERT = "bert."  # in classes with a head

# PEFT's names, by method: our name of a tensor of an adapted projection -> the end of PEFT's name.
# [r, in] and [out, r] there; IA3's factors are [out, 1], or [1, in] for inputs (feedforward_modules).
PARTS = {
    "lora": {"a": ".lora_A.weight", "b": ".lora_B.weight"},
    "ia3": {"scale": ".ia3_l"},
}
TYPES = {"lora": "LORA", "ia3": "IA3"}
# task_type and the module of the head, by the head in `models.neutral`.
TASK_TYPES = {
    "sequence_classifier": ("SEQ_CLS", "classifier"),
    "token_classifier": ("TOKEN_CLS", "classifier"),
    "span": ("QUESTION_ANS", "qa_outputs"),
}

# Settings that are read, or that do not change what the trained tensors mean.
_KNOWN = {
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "target_modules", "exclude_modules", "feedforward_modules", "modules_to_save"),
    *("layers_to_transform", "layers_pattern", "r", "lora_alpha", "rank_pattern", "alpha_pattern"),
    *("lora_dropout", "use_rslora", "init_ia3_weights", "ensure_weight_tying", "megatron_core"),
    *("qalora_group_size", "runtime_config"),
}
# Initial weights that leave the base as it is; the others (pissa, olora, corda, loftq ...) change it.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_WHY = {
    "use_dora": "DoRA is not supported",
    "bias": "trained biases are not supported",
    "lora_bias": "biases of the low-rank matrices are not supported",
    "fan_in_fan_out": "BERT's layers do not store their weights that way",
    "init_lora_weights": "it changes the weights of the base",
    "trainable_token_indices": "trained rows of the word embeddings are not supported",
}


def projections(config: EncoderConfig) -> dict[str, str]:
    """The projections of an encoder: name in ``Encoder.projections`` -> transformers' module."""
    found: dict[str, str] = {}
    for row in huggingface.TABLE.tensors:
        if row.ours.startswith("layer_{i}/") and row.ours.endswith("/kernel"):
            ours = neutral.expand(row.ours.removesuffix("/kernel"), config)
            theirs = neutral.expand(row.theirs.removesuffix(".weight"), config)
            found.update(zip(ours, theirs, strict=True))
    return found


def method_of(settings: Mapping[str, Any], where: object) -> str:
    """The name of the method, if these settings can be read.

    Args:
        settings: the contents of ``adapter_config.json``.
        where: the file, for errors.
    Raises:
        UserError: another method, or a setting that is not supported.
    """
    kind = settings.get("peft_type")
    method = next((name for name, theirs in TYPES.items() if theirs == kind), None)
    if method is None:
        raise UserError(f"{where}: peft_type is {kind}; only {' and '.join(TYPES.values())} can be read")
    for name, value in settings.items():
        plain = {"bias": ("none", None), "init_lora_weights": _PLAIN_STARTS}.get(name, (None, False))
        if name in _KNOWN or value in plain or value == [] or value == {}:
            continue
        why = _WHY.get(name, "this setting is not supported")
        raise UserError(
            f"{where}: {name} is {value!r}: {why}; merge the adapter with PEFT (merge_and_unload)"
        )
    if method == "lora":
        _check_scales(settings, where)
    return method


def _check_scales(settings: Mapping[str, Any], where: object) -> None:
    """Refuse ranks and alphas that are no numbers, and patterns that are no regular expressions."""
    for field, pattern_field in (("r", "rank_pattern"), ("lora_alpha", "alpha_pattern")):
        patterns = settings.get(pattern_field) or {}
        if not isinstance(patterns, dict):
            raise UserError(f"{where}: {pattern_field} is {patterns!r}, not an object; copy it again")
        for name, value in {field: settings.get(field), **patterns}.items():
            of = "" if name == field else f" of {pattern_field}"
            if isinstance(value, bool) or not isinstance(value, int if field == "r" else (int, float)):
                kind = "a whole number" if field == "r" else "a number"
                raise UserError(f"{where}: {name}{of} is {value!r}, not {kind}; copy it again")
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(
                    f'{where}: "{pattern}" of {pattern_field} is no regular expression ({error}); copy '
                    "it again"
                ) from error


def of_module(settings: Mapping[str, Any], field: str, pattern_field: str, module: str) -> Any:
    """A setting of one module: that of the first pattern that matches its name, as PEFT chooses it."""
    patterns = settings.get(pattern_field) or {}
    for pattern, value in patterns.items():
        if is_match(pattern, module):
            return value
    return settings[field]


def is_match(pattern: str, module: str) -> bool:
    """Whether a pattern of PEFT's means a module; the name starts below the encoder or the whole model."""
    return any(re.match(rf"(.*\.)?({pattern})$", name) for name in (module, BERT + module))


def target_modules(chosen: Iterable[str], known: Mapping[str, str]) -> list[str]:
    """The shortest ``target_modules`` that mean exactly some projections.

    PEFT takes a module whose name is one of the list, or ends with a dot and one of it. So names without
    their layer (``query``) if they match in every layer and nothing else, or the whole names.

    Args:
        chosen: projections, by our names.
        known: see :func:`projections`.
    """
    modules = [known[name] for name in chosen]
    ends = sorted({re.sub(r"^.*\.\d+\.(attention\.self\.)?", "", module) for module in modules})
    matched = {module for module in known.values() if any(f".{module}".endswith(f".{end}") for end in ends)}
    return ends if matched == set(modules) else sorted(modules)
