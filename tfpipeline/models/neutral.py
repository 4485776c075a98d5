"""The checkpoint-neutral names of a model's tensors, with their axes: the truth that every format maps to.

V vocabulary, P positions, Y token types, H hidden size, N heads, D = H / N, I intermediate size, C labels, S = 2;
``{i}`` is the layer, from 0. No framework is imported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Optional

from tfpipeline.errors import UserError
from tfpipeline.models.config import BertConfig

AXES = {
    "embeddings/word": "V H",
    "embeddings/position": "P H",
    "embeddings/token_type": "Y H",
    "embeddings/norm/scale": "H",
    "embeddings/norm/bias": "H",
    "layer_{i}/attention/query/kernel": "H N D",
    "layer_{i}/attention/query/bias": "N D",
    "layer_{i}/attention/key/kernel": "H N D",
    "layer_{i}/attention/key/bias": "N D",
    "layer_{i}/attention/value/kernel": "H N D",
    "layer_{i}/attention/value/bias": "N D",
    "layer_{i}/attention/output/kernel": "N D H",
    "layer_{i}/attention/output/bias": "H",
    "layer_{i}/attention/norm/scale": "H",
    "layer_{i}/attention/norm/bias": "H",
    "layer_{i}/feed_forward/inner/kernel": "H I",
    "layer_{i}/feed_forward/inner/bias": "I",
    "layer_{i}/feed_forward/outer/kernel": "I H",
    "layer_{i}/feed_forward/outer/bias": "H",
    "layer_{i}/feed_forward/norm/scale": "H",
    "layer_{i}/feed_forward/norm/bias": "H",
    "pooler/kernel": "H K",  # K: as many as H, but another axis, so that a transposition is seen
    "pooler/bias": "K",
}

# What may stand on the encoder, by the first part of the names. The masked-LM head's last kernel is the word
# embeddings, transposed; `nsp` answers 0 for "is the next sentence"; `span` gives start and end of an answer.
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
    """The head that a neutral name belongs to; None for the encoder's own."""
    first = name.partition("/")[0]
    return first if first in HEADS else None


def axes(template: str) -> str:
    """The axes of a name of an encoder or of a head."""
    head = head_of(template)
    return AXES[template] if head is None else HEADS[head][template]


def sizes(config: BertConfig, labels: int = 0) -> dict[str, int]:
    """How long each axis is; ``labels`` of a classifier."""
    return {
        "V": config.vocab_size,
        "P": config.max_position_embeddings,
        "Y": config.type_vocab_size,
        "H": config.hidden_size,
        "K": config.hidden_size,
        "N": config.num_attention_heads,
        "D": config.head_size,
        "I": config.intermediate_size,
        "C": labels,
        "S": 2,
    }


def expand(template: str, config: BertConfig) -> list[str]:
    """The names a template stands for: one, or one a layer; none for the pooler of a model without one."""
    if template.startswith("pooler/") and not config.pooler:
        return []
    if "{i}" not in template:
        return [template]
    return [template.replace("{i}", str(index)) for index in range(config.num_hidden_layers)]


def shapes(config: BertConfig, heads: Collection[str] = (), labels: int = 0) -> dict[str, tuple[int, ...]]:
    """Every neutral name of a model, with its shape."""
    length = sizes(config, labels)
    templates = [*AXES, *(name for head in heads for name in HEADS[head])]
    return {
        name: tuple(length[axis] for axis in axes(template).split())
        for template in templates
        for name in expand(template, config)
    }


def check(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], complaint: str
) -> None:
    """Hold the shapes of a file's tensors against those of a model.

    Args:
        wanted: name -> shape, of the model.
        found: name -> shape, of the file.
        complaint: the first words of the error, such as "x.safetensors does not fit config.json".
    Raises:
        UserError: tensors are missing, unknown or of another shape; all of them are listed.
    """
    problems = {
        "missing": [name for name in wanted if name not in found],
        "unknown": [name for name in found if name not in wanted],
        "shape": [
            f"{name}: found {list(found[name])}, expected {list(shape)}"
            for name, shape in wanted.items()
            if name in found and tuple(found[name]) != tuple(shape)
        ],
    }
    if not any(problems.values()):
        return
    words = {"missing": "missing", "unknown": "unknown", "shape": "misshapen"}
    counts = ", ".join(f"{len(names)} {words[kind]}" for kind, names in problems.items() if names)
    lines = "".join(f"\n  {kind:<8} {name}" for kind, names in problems.items() for name in sorted(names))
    raise UserError(f"{complaint} ({counts}): use its own configuration{lines}")
