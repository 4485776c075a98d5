"""Warm-up requests: what a server asks a new version before it answers callers with it.

The first run of a signature builds its executor and takes seconds. TensorFlow Serving, and the embedded
server, therefore replay the requests of ``assets.extra/tf_serving_warmup_requests`` before a version becomes
AVAILABLE.

The requests are made from the signatures' own specifications, so every signature has some, with texts of the
tokenizer's words: nothing of the run's data gets into the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.export import prediction_logs
from tfpipeline.export.signatures import ServingModule, token_inputs
from tfpipeline.text import Tokenizer
from tfpipeline.training.prediction_graph import TextInputs

REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"

_BATCHES = (1, 8, 32)
_NARROWEST = 16  # tokens; twice as many for each next width, up to the longest text
# Rows x width: a replay costs time before a version is AVAILABLE, and larger requests warm nothing more.
_MOST_TOKENS = 4096
_COST = {"explain": 100}  # in predictions; an explanation is the integral of gradients
_WORDS = 512
_TYPICAL, _SPREAD = 0.3, 0.6  # lengths of texts, as shares of the longest, are log-normal


def write(saved_model: Path, module: ServingModule, text_inputs: TextInputs, most: int) -> int:
    """Write the warm-up requests of a SavedModel.

    Args:
        saved_model: its directory.
        module: has the signatures.
        text_inputs: how texts become tokens.
        most: the most requests; the largest are left out first. 0 writes no file.
    Returns:
        How many were written.
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
    """All warm-up requests, the small ones first: each size for every signature that has it.

    Returns:
        A signature, and its inputs: name -> array.
    """
    texts = _Texts(text_inputs)
    for rows, width in _sizes(text_inputs.truncation.max_length):
        fitting = [name for name in module.functions if rows * width * _COST.get(name, 1) <= _MOST_TOKENS]
        if fitting:
            given = texts.batch(rows, width)
            tokens = {name: array.numpy() for name, array in token_inputs(text_inputs(given)).items()}
            for name in fitting:
                _, specs = module.functions[name].structured_input_signature
                yield name, {key: _value(key, spec, given, tokens, rows) for key, spec in specs.items()}


def _sizes(longest: int) -> list[tuple[int, int]]:
    """Rows and tokens per row of requests, the fewest tokens first."""
    widths = [min(_NARROWEST, longest)]
    while widths[-1] < longest:
        widths.append(min(2 * widths[-1], longest))
    return sorted(
        ((rows, width) for rows in _BATCHES for width in widths), key=lambda size: size[0] * size[1]
    )


def _value(
    name: str,
    spec: tf.TensorSpec,
    texts: Mapping[str, np.ndarray],
    tokens: Mapping[str, np.ndarray],
    rows: int,
) -> np.ndarray:
    """An input of a request; what is neither texts nor tokens is empty strings or zeros."""
    if name in texts:
        return texts[name]
    if name in tokens:
        return tokens[name]
    shape = [rows if size is None else size for size in spec.shape]
    return (
        np.full(shape, b"", object) if spec.dtype == tf.string else np.zeros(shape, spec.dtype.as_numpy_dtype)
    )


class _Texts:
    """Texts of so many tokens, of the words that are one token each."""

    def __init__(self, text_inputs: TextInputs) -> None:
        self._names = text_inputs.names
        joint = text_inputs.pair and not text_inputs.separate
        self._joint = joint
        self._special = text_inputs.truncation.template.count(joint)
        self._words = _words(text_inputs.tokenizer)

    def batch(self, rows: int, width: int) -> dict[str, np.ndarray]:
        """Texts whose tokens, special ones included, fill ``width`` in one row and less in the others."""
        random = np.random.default_rng([rows, width])
        shares = np.clip(random.lognormal(np.log(_TYPICAL), _SPREAD, rows), 0, 1)
        shares[0] = 1
        counts = np.maximum(1, np.ceil(shares * (width - self._special)).astype(int))
        parts = [counts - counts // 2, counts // 2] if self._joint else [counts] * len(self._names)
        return {
            name: np.array([" ".join(random.choice(self._words, count)).encode() for count in part], object)
            for name, part in zip(self._names, parts)
        }


def _words(tokenizer: Tokenizer) -> Sequence[str]:
    words = [token for token in tokenizer.vocabulary if token.isalpha()]
    words = words[:: max(1, len(words) // _WORDS)]
    if words:
        single = tokenizer.tokenize(words).row_lengths().numpy() == 1
        words = [word for word, alone in zip(words, single) if alone]
    return words or ["a"]
