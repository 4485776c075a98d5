"""Warm-up requests, which a server runs on a new version before it answers callers with it.

The first run of a signature builds its executor and takes seconds. So TensorFlow Serving and the embedded
server replay the requests of ``assets.extra/tf_serving_warmup_requests`` before a version becomes AVAILABLE.

The requests are made from the signatures' own specifications, so there are some for every signature. Their
texts consist of words of the tokenizer's vocabulary: the file holds none of the run's data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.export import prediction_logs
from tfpipeline.export.signatures import ServingModule, token_inputs
from tfpipeline.text import Tokenizer
from tfpipeline.training.prediction_graph import TextInputs

REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"

_BATCHES = (1, 8, 32)
_NARROWEST = 16  # tokens; each next width is twice as large, up to the longest text
# Rows x width: replay takes time before a version is AVAILABLE, and larger requests warm up nothing more.
_MOST_TOKENS = 4096
_WORDS = 512
_TEXTS = ("text", "text_pair")  # a signature may take two texts even if predictions take one
_TYPICAL, _SPREAD = 0.3, 0.6  # text lengths, as shares of the longest, are log-normal


def write(saved_model: Path, module: ServingModule, text_inputs: TextInputs, most: int) -> int:
    """Write the warm-up requests of a SavedModel.

    Args:
        saved_model: its directory.
        module: the module with the signatures.
        text_inputs: converts texts to tokens.
        most: the maximum number of requests; the largest are left out first. 0 writes no file.
    Returns:
        The number of requests written.
    """
    asked = list(_first(requests(module, text_inputs), most))
    if asked:
        path = saved_model / REQUESTS
        path.parent.mkdir(exist_ok=True)
        prediction_logs.write(str(path), asked)
    return len(asked)


def _first(made: Iterator[Any], most: int) -> Iterator[Any]:
    return (request for _, request in zip(range(most), made))


def requests(module: ServingModule, text_inputs: TextInputs) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield all warm-up requests, the small ones first: each size for every signature that supports it.

    Further signatures run the same model, so they get fewer sizes. With an index of 100,000 rows, a first
    request of any other size then takes as long as the fifth, and warming up takes 11 seconds, not 17.

    Returns:
        A signature, and its inputs: name -> array.
    """
    texts, further = _Texts(text_inputs), module.further
    sizes = _sizes(text_inputs.truncation.max_length)
    asked_sizes = {
        name: _few(sizes, further[name].cost) if name in further else _within(sizes, module.cost)
        for name in module.functions
    }
    for rows, width in sizes:
        fitting = [name for name, own in asked_sizes.items() if (rows, width) in own]
        if fitting:
            given = texts.batch(rows, width)
            asked = {name: given[name] for name in text_inputs.names}
            given.update({name: spec.example(rows) for name, spec in module.row_inputs.items()})
            tokens = {name: array.numpy() for name, array in token_inputs(text_inputs(asked)).items()}
            for name in fitting:
                if name in further:
                    values = {
                        key: given[key] if key in given else spec.example(rows)
                        for key, spec in further[name].inputs.items()
                    }
                else:
                    _, specs = module.functions[name].structured_input_signature
                    values = {key: {**tokens, **given}[key] for key in specs}
                yield name, values


def _sizes(longest: int) -> list[tuple[int, int]]:
    """Rows and tokens per row of the requests, by increasing number of tokens."""
    widths = [min(_NARROWEST, longest)]
    while widths[-1] < longest:
        widths.append(min(2 * widths[-1], longest))
    return sorted(
        ((rows, width) for rows in _BATCHES for width in widths), key=lambda size: size[0] * size[1]
    )


def _within(sizes: Sequence[tuple[int, int]], cost: int) -> list[tuple[int, int]]:
    """The sizes that are not too large for a signature of this cost."""
    return [(rows, width) for rows, width in sizes if rows * width * cost <= _MOST_TOKENS]


def _few(sizes: Sequence[tuple[int, int]], cost: int) -> list[tuple[int, int]]:
    """The shortest texts for each number of rows, and the longest one alone."""
    allowed = _within(sizes, cost)
    shortest = [min(size for size in allowed if size[0] == rows) for rows in {rows for rows, _ in allowed}]
    return [*shortest, *[size for size in allowed if size[0] == 1][-1:]]


class _Texts:
    """Texts with a given number of tokens, made of words that are one token each."""

    def __init__(self, text_inputs: TextInputs) -> None:
        joint = text_inputs.pair and not text_inputs.separate
        self._joint = joint
        self._special = text_inputs.truncation.template.count(joint)
        self._words = _words(text_inputs.tokenizer)

    def batch(self, rows: int, width: int) -> dict[str, np.ndarray]:
        """Texts whose tokens, including special ones, fill ``width`` in one row and less in the others."""
        random = np.random.default_rng([rows, width])
        shares = np.clip(random.lognormal(np.log(_TYPICAL), _SPREAD, rows), 0, 1)
        shares[0] = 1
        counts = np.maximum(1, np.ceil(shares * (width - self._special)).astype(int))
        parts = [counts - counts // 2, counts // 2] if self._joint else [counts] * len(_TEXTS)
        return {
            name: np.array([" ".join(random.choice(self._words, count)).encode() for count in part], object)
            for name, part in zip(_TEXTS, parts)
        }


def _words(tokenizer: Tokenizer) -> Sequence[str]:
    words = [token for token in tokenizer.vocabulary if token.isalpha()]
    words = words[:: max(1, len(words) // _WORDS)]
    if words:
        single = tokenizer.tokenize(words).row_lengths().numpy() == 1
        words = [word for word, alone in zip(words, single) if alone]
    return words or ["a"]
