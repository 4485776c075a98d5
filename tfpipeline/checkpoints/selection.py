"""Selects the files of a remote folder that a checkpoint needs: one kind of weights and its companions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tfpipeline.checkpoints import sentence_transformers
from tfpipeline.errors import UserError

_TOKENIZER = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_HUGGINGFACE = ("config.json", *_TOKENIZER, *sentence_transformers.FILES)
_KERAS = ("config.json", "metadata.json", "tokenizer.json", "preprocessor.json", "task.json")
_KERAS_ASSETS = "assets/tokenizer/"
_PREFIX = "bert_model.ckpt"


def select_files(names: Iterable[str], asked: str = "", *, where: str) -> list[str]:
    """The files to download; empty if there are no weights of a known kind.

    If there are several kinds of weights, they are equivalent and only the first of these is selected:
    safetensors, PyTorch's, transformers' ``tf_model.h5``, a TensorFlow checkpoint, a KerasHub preset.

    Args:
        names: the files in the folder, with ``/`` between folders.
        asked: one of the files, or a TensorFlow checkpoint's prefix; if it names weights, they are selected.
        where: the folder, for the error.
    Raises:
        UserError: there are several TensorFlow checkpoints, and ``asked`` names none of them.
    """
    names = sorted(set(names))
    huggingface = [name for name in names if name in _HUGGINGFACE]
    prefixes = sorted(filter(None, map(_prefix_of_index, names)), key=lambda name: (name != _PREFIX, name))
    kinds = [
        (_sharded(names, "model", ".safetensors"), huggingface),
        (_sharded(names, "pytorch_model", ".bin"), huggingface),
        (_sharded(names, "tf_model", ".h5"), huggingface),
        *((_google_weights(names, prefix), _google(names)) for prefix in prefixes),
        (_keras_weights(names), _keras(names)),
    ]
    kinds = [(weights, companions) for weights, companions in kinds if weights]
    asked = asked.removesuffix(".meta")  # the graph of a TensorFlow checkpoint, which is not needed
    for weights, companions in kinds:
        if asked and any(name == asked or name.startswith(f"{asked}.") for name in weights):
            return [*companions, *weights]
    if not kinds:
        return []
    weights, companions = kinds[0]
    if len(prefixes) > 1 and prefixes[0] != _PREFIX and weights == _google_weights(names, prefixes[0]):
        raise UserError(f"{where} holds several checkpoints ({', '.join(prefixes)}); give the path of one")
    return [*companions, *weights]


def _sharded(names: Sequence[str], stem: str, suffix: str) -> list[str]:
    """The file ``stem.suffix``, or else all of its shards with their index; empty if one is missing."""
    if f"{stem}{suffix}" in names:
        return [f"{stem}{suffix}"]
    index = f"{stem}{suffix}.index.json"
    matches = [re.fullmatch(rf"{stem}-(\d+)-of-(\d+){re.escape(suffix)}", name) for name in names]
    shards = {(int(match[1]), int(match[2])): match[0] for match in matches if match}
    whole = shards.keys() == {(number, len(shards)) for number in range(1, len(shards) + 1)}
    return [index, *shards.values()] if shards and whole and index in names else []


def _prefix_of_index(name: str) -> str:
    return name.removesuffix(".index") if name.endswith(".index") and "/" not in name else ""


def _google_weights(names: Sequence[str], prefix: str) -> list[str]:
    parts = re.compile(rf"{re.escape(prefix)}[.](index|data-\d+-of-\d+)")
    return [name for name in names if parts.fullmatch(name)]


def _google(names: Sequence[str]) -> list[str]:
    own = [name for name in names if re.fullmatch(r"[^/]*bert_config[.](json|yaml)|params[.]yaml", name)]
    # Some repositories have Google's weights but only transformers' configuration.
    config = own or [name for name in names if name == "config.json"]
    return [*config, *(name for name in names if name in _TOKENIZER)]


def _keras(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in _KERAS or name.startswith(_KERAS_ASSETS)]


def _keras_weights(names: Sequence[str]) -> list[str]:
    weights = [name for name in names if re.fullmatch(r"model(_\d+)?[.]weights[.](h5|json)", name)]
    heads = [name for name in names if name == "task.weights.h5"]
    return [*weights, *heads] if weights else []
