"""The format-neutral names of a model's tensors, with their axes. Every checkpoint format maps to them.

The encoder's names come from its configuration (``config.tensors()``). The names of heads, which work with
any encoder, are here. V vocabulary, H hidden size, K as long as H, C labels, S = 2; ``{i}`` is the layer,
from 0. No framework is imported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Optional

from tfpipeline.errors import UserError
from tfpipeline.models.config import EncoderConfig

# The possible heads, by the first part of their names. The masked-LM head's last kernel is the transposed
# word embeddings. `nsp` gives class 0 for "is the next sentence". `span` gives the start and end of an
# answer.
HEADS = {
    "mlm": {
        "mlm/dense/kernel": "H K",
        "mlm/dense/bias": "K",
        "mlm/norm/scale": "K",
        "mlm/norm/bias": "K",
        "mlm/bias": "V",
    },
    "nsp": {"nsp/kernel": "H S", "nsp/bias": "S"},
    "sequence_classifier": {"sequence_classifier/kernel": "H C", "sequence_classifier/bias": "C"},
    "token_classifier": {"token_classifier/kernel": "H C", "token_classifier/bias": "C"},
    "span": {"span/kernel": "H S", "span/bias": "S"},
}
CLASSIFIERS = ("sequence_classifier", "token_classifier")


def head_of(name: str) -> Optional[str]:
    """The head that a neutral name belongs to; None for the encoder."""
    first = name.partition("/")[0]
    return first if first in HEADS else None


def templates(config: EncoderConfig, heads: Collection[str] = ()) -> dict[str, str]:
    """The names of a model's tensors, with ``{i}`` for the layer, and their axes."""
    return {**config.tensors(), **{name: axes for head in heads for name, axes in HEADS[head].items()}}


def sizes(config: EncoderConfig, labels: int = 0) -> dict[str, int]:
    """The length of each axis; ``labels`` is the number of a classifier's labels."""
    return {**config.axis_sizes(), "C": labels, "S": 2}


def expand(template: str, config: EncoderConfig) -> list[str]:
    """The names that a template represents: one, or one per layer."""
    if "{i}" not in template:
        return [template]
    return [template.replace("{i}", str(index)) for index in range(config.num_hidden_layers)]


def shapes(config: EncoderConfig, heads: Collection[str] = (), labels: int = 0) -> dict[str, tuple[int, ...]]:
    """Every neutral name of a model, with its shape."""
    length = sizes(config, labels)
    return {
        name: tuple(length[axis] for axis in axes.split())
        for template, axes in templates(config, heads).items()
        for name in expand(template, config)
    }


def check(
    wanted: Mapping[str, tuple[int, ...]], actual: Mapping[str, tuple[int, ...]], complaint: str
) -> None:
    """Compare the shapes of a file's tensors with those of a model.

    Args:
        wanted: name -> shape, in the model.
        actual: name -> shape, in the file.
        complaint: the start of the error message, such as "x.safetensors does not fit config.json".
    Raises:
        UserError: tensors are missing or unknown, or have a different shape; all of them are listed.
    """
    problems = {
        "missing": [name for name in wanted if name not in actual],
        "unknown": [name for name in actual if name not in wanted],
        "shape": [
            f"{name}: found {list(actual[name])}, expected {list(shape)}"
            for name, shape in wanted.items()
            if name in actual and tuple(actual[name]) != tuple(shape)
        ],
    }
    if not any(problems.values()):
        return
    words = {"missing": "missing", "unknown": "unknown", "shape": "misshapen"}
    counts = ", ".join(f"{len(names)} {words[kind]}" for kind, names in problems.items() if names)
    lines = "".join(f"\n  {kind:<8} {name}" for kind, names in problems.items() for name in sorted(names))
    raise UserError(f"{complaint} ({counts}): use its own configuration{lines}")
