"""A BERT that deduces: weights that are written, not trained.

An ordinary BERT (LayerNorm after each residual sum, ReLU) whose weights carry out forward chaining. It reads
problems in the style ``en-symbols`` as pairs: ``[CLS] If p1 and p2 then p3. p1 holds. [SEP] p3 [SEP]``. Zhang
et al. 2022 (arXiv:2205.11502, section 3) sketch such parameters for a transformer without LayerNorm.
docs/reasoning.md explains the layers.

P predicates. The hidden state is divided into places (:class:`Places`). All values in it are 0 or 1, up to
rounding:

- Layer 1 reads the text. Each head looks at a fixed distance to the left, by position embeddings alone. So
  the full stop that ends a sentence learns the sentence's conclusion and conditions. [CLS] looks for the
  query.
- Each further layer is a round of forward chaining. A full stop looks, with one head per condition, for a
  sentence that is known to hold and concludes that condition. If all are found, its own conclusion holds.
  [CLS] looks for the query in the same way.

LayerNorm is made harmless: two coordinates hold a large constant M and -M, which determine the deviation, and
one coordinate holds minus the sum of all others, so that the mean is 0. The scale restores the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.models.architectures.bert.config import BertConfig
from tfpipeline.reasoning.templates import TEMPLATES

STYLE = "en-symbols"
LABELS = ("0", "1")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = ("if", "and", "then", "holds", ".")
_HEADS, _HEAD_SIZE, _INNER = 8, 48, 768
_FREQUENCIES = 24  # of position embeddings: two numbers each, which fill a head
_CONSTANT = 1024.0  # M, exact in bfloat16
_SHARPNESS = 64.0  # difference of scores between what is looked for and all else; exp(-32) is left of it
_SLOPE = 4.0  # of the step that tells a flag of 0 from one of 1
_DISTANCES = (1, 2, 3, 4, 5, 6, 7)
_READING_LAYERS = 2  # besides the rounds: one that reads the text, one that looks for the query at the end


@dataclass(frozen=True)
class Places:
    """The coordinates of the hidden state.

    Attributes:
        size: H.
        at: name -> index of its first coordinate.
        predicates: P, the length of the places that hold predicates.
    """

    size: int
    at: Mapping[str, int]
    predicates: int

    def one(self, name: str) -> int:
        """The coordinate of a flag."""
        return self.at[name]

    def all(self, name: str) -> range:
        """The coordinates of a place that holds predicates."""
        return range(self.at[name], self.at[name] + self.predicates)


_FLAGS = (
    *("cls", "dot", "and", "then", "holds", "predicate", "second"),
    *(
        "then_2",
        "holds_1",
        "and_4",
        "and_6",
        "absent_2",
        "absent_3",
        "known_1",
        "known_2",
        "known_3",
        "answer",
    ),
    *("plus", "minus", "balance"),
)
_SETS = ("word", "conclusion", "first", "second_condition", "third", "proved", "query")


def places(predicates: int) -> Places:
    """The coordinates for P predicates."""
    at, free = {}, 0
    for name in _SETS:
        at[name], free = free, free + predicates
    at["position"], free = free, free + 2 * _FREQUENCIES
    for name in _FLAGS:
        at[name], free = free, free + 1
    size = _HEADS * _HEAD_SIZE
    if free > size:
        raise UserError(
            f"{predicates} predicates need {free} coordinates, but the model has {size}; want fewer"
        )
    return Places(size, at, predicates)


class _Layer:
    """The matrices of a layer, of which most entries are 0."""

    def __init__(self, where: Places, inner: int) -> None:
        size = where.size
        self.where = where
        shape = (size, _HEADS, _HEAD_SIZE)
        self.query, self.key, self.value = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.query_bias = np.zeros(shape[1:])
        self.output = np.zeros((_HEADS, _HEAD_SIZE, size))
        self.inner, self.inner_bias = np.zeros((size, inner)), np.zeros(inner)
        self.outer = np.zeros((inner, size))
        self._units = 0

    def unit(self, reads: Mapping[int, float], bias: float, writes: Mapping[int, float]) -> None:
        """Add ``writes * relu(reads * x + bias)`` to the state."""
        number, self._units = self._units, self._units + 1
        self.inner_bias[number] = bias
        for coordinate, weight in reads.items():
            self.inner[coordinate, number] += weight
        for coordinate, weight in writes.items():
            self.outer[number, coordinate] += weight

    def erase(self, *coordinates: int) -> None:
        """Set coordinates to 0."""
        for coordinate in coordinates:
            self.unit({coordinate: 1}, 0, {coordinate: -1})

    def all_of(self, reads: Sequence[int], writes: Mapping[int, float], *, among: int | None = None) -> None:
        """Add ``writes`` if all flags are 1, or if ``among`` of them are.

        Two units make a step that is exactly 0 or 1 although flags are slightly off. Otherwise, rounding
        would grow from layer to layer, by a factor of the number of predicates.
        """
        bias = 0.5 - (len(reads) if among is None else among)
        steep = dict.fromkeys(reads, _SLOPE)
        self.unit(steep, _SLOPE * bias, writes)
        self.unit(steep, _SLOPE * bias - 1, {coordinate: -weight for coordinate, weight in writes.items()})

    def balance(self) -> None:
        """Let everything that is written sum to 0, with the coordinate for that."""
        at = self.where.one("balance")
        for matrix in (self.output, self.outer):
            matrix[..., at] -= matrix.sum(-1)


def construct(
    *, depth: int = 8, predicates: int = 30, positions: int = 512
) -> tuple[BertConfig, tuple[str, ...], dict[str, np.ndarray]]:
    """The configuration, the vocabulary and all tensors, of the encoder and a classifier, by neutral name.

    Args:
        depth: the deepest query that follows and is found; the model has two layers more.
        predicates: P, at most 30.
        positions: the greatest number of tokens.
    Raises:
        UserError: there are no names, or no room, for so many predicates, or positions cannot be told apart.
    """
    names = TEMPLATES[STYLE].names
    if not 2 <= predicates <= len(names):
        raise UserError(f"{predicates} predicates are wanted; it can be 2 to {len(names)}")
    if depth < 0:
        raise UserError(f"a depth of {depth} is wanted; it is at least 0")
    vocabulary = (*_SPECIAL, *_WORDS, *names[:predicates])
    where = places(predicates)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=where.size,
        num_hidden_layers=depth + _READING_LAYERS,
        num_attention_heads=_HEADS,
        intermediate_size=_INNER,
        max_position_embeddings=positions,
        type_vocab_size=2,
        hidden_act="relu",
        layer_norm_eps=1e-12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    angles, factor = _angles(positions)
    tensors = _embeddings(where, vocabulary, angles, positions)
    inner = config.intermediate_size
    for index in range(config.num_hidden_layers):
        last = index == config.num_hidden_layers - 1
        layer = _reading(where, inner, angles, factor) if index == 0 else _round(where, inner, last=last)
        layer.balance()
        tensors.update(_named(layer, f"layer_{index}"))
    tensors.update(_classifier(where))
    scale = np.full(where.size, np.sqrt(2 * _CONSTANT**2 / where.size))
    norms = ["embeddings/norm"] + [
        f"layer_{index}/{part}/norm"
        for index in range(config.num_hidden_layers)
        for part in ("attention", "feed_forward")
    ]
    for name in norms:
        tensors[f"{name}/scale"], tensors[f"{name}/bias"] = scale, np.zeros(where.size)
    return config, vocabulary, {name: value.astype(np.float32) for name, value in tensors.items()}


def write(
    dest: str | Path, *, depth: int = 8, predicates: int = 30, positions: int = 512, overwrite: bool = False
) -> Path:
    """Write the model as a Google checkpoint with a classifier of the labels "0" and "1".

    Args:
        dest: the folder, which appears whole or not at all.
        depth, predicates, positions: see :func:`construct`.
        overwrite: replace ``dest`` if it exists and holds something else.
    Raises:
        UserError: as :func:`construct`, or ``dest`` holds something else.
    """
    from tfpipeline import checkpoints
    from tfpipeline.text import TokenizerOptions

    config, vocabulary, tensors = construct(depth=depth, predicates=predicates, positions=positions)
    of_head = {name for name in tensors if name.startswith("sequence_classifier/")}
    checkpoint = checkpoints.Checkpoint(
        source=Path(dest),
        format="constructed",
        config=config,
        vocabulary=vocabulary,
        tokenizer=TokenizerOptions(lowercase=True),
        tensors={name: value for name, value in tensors.items() if name not in of_head},
        heads={name: tensors[name] for name in of_head},
        labels=LABELS,
        problem_type="single_label_classification",
        display_name="the constructed model",
    )
    return checkpoints.write(checkpoint, dest, to="google", overwrite=overwrite).dest


def _angles(positions: int) -> tuple[np.ndarray, float]:
    """The frequencies of position embeddings [F], and the factor of scores that tells positions apart.

    The score of a distance d is the sum of cos(w d) over the frequencies w: F where d is 0.

    Raises:
        UserError: the sum is nearly F for another distance too.
    """
    angles = np.random.default_rng(0).uniform(0.1, np.pi, _FREQUENCIES)
    distances = np.arange(1, positions + max(_DISTANCES) + 1)
    gap = _FREQUENCIES - np.cos(distances[:, None] * angles).sum(1).max()
    if gap < 1:
        raise UserError(f"{positions} positions cannot be told apart; want fewer")
    return angles, _SHARPNESS / gap


def _embeddings(
    where: Places, vocabulary: Sequence[str], angles: np.ndarray, positions: int
) -> dict[str, np.ndarray]:
    word = np.zeros((len(vocabulary), where.size))
    for index, token in enumerate(vocabulary):
        place = index - len(_SPECIAL) - len(_WORDS)
        if place >= 0:
            word[index, where.all("word")[place]] = 1
            word[index, where.one("predicate")] = 1
        for flag in {"[CLS]": "cls", ".": "dot", "and": "and", "then": "then", "holds": "holds"}.items():
            if token == flag[0]:
                word[index, where.one(flag[1])] = 1
    word[:, where.one("plus")], word[:, where.one("minus")] = _CONSTANT, -_CONSTANT
    position = np.zeros((positions, where.size))
    turns = np.arange(positions)[:, None] * angles
    at = where.one("position")
    position[:, at : at + _FREQUENCIES] = np.cos(turns)
    position[:, at + _FREQUENCIES : at + 2 * _FREQUENCIES] = np.sin(turns)
    token_type = np.zeros((2, where.size))
    token_type[1, where.one("second")] = 1
    for table in (word, position, token_type):
        table[:, where.one("balance")] = -table.sum(1)
    names = ("word", "position", "token_type")
    return {f"embeddings/{name}": table for name, table in zip(names, (word, position, token_type))}


def _reading(where: Places, inner: int, angles: np.ndarray, factor: float) -> _Layer:
    """Layer 1: sentences and the query are read."""
    layer = _Layer(where, inner)
    at, half = where.one("position"), _FREQUENCIES
    root = np.sqrt(_HEAD_SIZE)  # attention divides scores by it
    flags = {2: ("then", "then_2"), 1: ("holds", "holds_1"), 4: ("and", "and_4"), 6: ("and", "and_6")}
    sets = {1: "conclusion", 2: "conclusion", 3: "first", 5: "second_condition", 7: "third"}
    for head, distance in enumerate(_DISTANCES):
        for f, angle in enumerate(angles):  # the query is the position embedding of a place to the left
            cos, sin = np.cos(angle * distance) * factor * root, np.sin(angle * distance) * factor * root
            layer.query[at + f, head, f] = cos
            layer.query[at + half + f, head, f] = sin
            layer.query[at + f, head, half + f] = -sin
            layer.query[at + half + f, head, half + f] = cos
            layer.key[at + f, head, f] = layer.key[at + half + f, head, half + f] = 1
        _copy(layer, head, where.all("word"), where.all(sets[distance]) if distance in sets else ())
        if distance in flags:
            read, write = flags[distance]
            layer.value[where.one(read), head, where.predicates] = 1
            layer.output[head, where.predicates, where.one(write)] = 1
    head = len(_DISTANCES)  # the last head: [CLS] looks for a predicate in the second text
    layer.query[where.one("cls"), head, 0] = _SHARPNESS * root
    layer.key[where.one("second"), head, 0] = layer.key[where.one("predicate"), head, 0] = 1
    _copy(layer, head, where.all("word"), where.all("query"))

    cls, dot, then, holds = (where.one(name) for name in ("cls", "dot", "then_2", "holds_1"))
    and_4, and_6 = where.one("and_4"), where.one("and_6")
    rows = zip(*(where.all(name) for name in ("conclusion", "first", "second_condition", "third", "proved")))
    for (conclusion, first, second, third, proved), query in zip(rows, where.all("query")):
        layer.erase(conclusion, first, second, third, query)
        layer.all_of([conclusion, dot], {conclusion: 1})
        layer.all_of([conclusion, dot, holds], {proved: 1})
        layer.all_of([first, dot, then], {first: 1})
        layer.all_of([second, dot, then, and_4], {second: 1})
        layer.all_of([third, dot, then, and_4, and_6], {third: 1})
        layer.all_of([query, cls], {first: 1})
    absent_2, absent_3 = where.one("absent_2"), where.one("absent_3")
    layer.all_of([dot, then], {absent_2: 1, absent_3: 1})
    layer.all_of([dot, then, and_4], {absent_2: -1})
    layer.all_of([dot, then, and_4, and_6], {absent_3: -1})
    return layer


def _round(where: Places, inner: int, *, last: bool) -> _Layer:
    """A further layer: conditions are looked for, and conclusions that follow become known."""
    layer = _Layer(where, inner)
    root = np.sqrt(_HEAD_SIZE)
    known = [where.one(f"known_{number}") for number in (1, 2, 3)]
    nothing = where.predicates  # the score of finding nothing, which [CLS] stands for: half of a match
    for head, (condition, flag) in enumerate(zip(("first", "second_condition", "third"), known)):
        for number, (read, proved) in enumerate(zip(where.all(condition), where.all("proved"))):
            layer.query[read, head, number] = _SHARPNESS * root
            layer.key[proved, head, number] = 1
            layer.value[proved, head, 0] = 1
        layer.query_bias[head, nothing] = _SHARPNESS / 2 * root
        layer.key[where.one("cls"), head, nothing] = 1
        layer.output[head, 0, flag] = 1
    if last:
        layer.all_of([known[0], where.one("cls")], {where.one("answer"): 1})
        return layer
    satisfied = [*known, where.one("absent_2"), where.one("absent_3")]  # three of them, if a rule applies
    for conclusion, proved in zip(where.all("conclusion"), where.all("proved")):
        layer.erase(proved)
        layer.all_of([proved], {proved: 1})
        layer.all_of([conclusion, *satisfied], {proved: 1}, among=4)
        layer.all_of([conclusion, *satisfied, proved], {proved: -1}, among=5)  # it was known already
    layer.erase(*known)
    return layer


def _copy(layer: _Layer, head: int, source: Sequence[int], target: Sequence[int]) -> None:
    """Let a head copy coordinates of the token that it looks at."""
    for number, (read, write) in enumerate(zip(source, target)):
        layer.value[read, head, number] = 1
        layer.output[head, number, write] = 1


def _named(layer: _Layer, at: str) -> dict[str, np.ndarray]:
    size, empty = layer.where.size, np.zeros((_HEADS, _HEAD_SIZE))
    return {
        f"{at}/attention/query/kernel": layer.query,
        f"{at}/attention/query/bias": layer.query_bias,
        f"{at}/attention/key/kernel": layer.key,
        f"{at}/attention/key/bias": empty,
        f"{at}/attention/value/kernel": layer.value,
        f"{at}/attention/value/bias": empty,
        f"{at}/attention/output/kernel": layer.output,
        f"{at}/attention/output/bias": np.zeros(size),
        f"{at}/feed_forward/inner/kernel": layer.inner,
        f"{at}/feed_forward/inner/bias": layer.inner_bias,
        f"{at}/feed_forward/outer/kernel": layer.outer,
        f"{at}/feed_forward/outer/bias": np.zeros(size),
    }


def _classifier(where: Places) -> dict[str, Any]:
    """The pooler's first output is tanh(4) for an answer of 1, and tanh(-4) for 0. The logits are 5 times
    that.
    """
    pooler, bias = np.zeros((where.size, where.size)), np.zeros(where.size)
    pooler[where.one("answer"), 0], bias[0] = 8, -4
    logits = np.zeros((where.size, len(LABELS)))
    logits[0] = -5, 5
    return {
        "pooler/kernel": pooler,
        "pooler/bias": bias,
        "sequence_classifier/kernel": logits,
        "sequence_classifier/bias": np.zeros(len(LABELS)),
    }
