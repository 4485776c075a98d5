"""Warm-up requests, which a server runs on a new version before it answers callers with it.

The first run of a signature builds its executor and takes seconds. So TensorFlow Serving and the embedded
server replay the requests of ``assets.extra/tf_serving_warmup_requests`` before a version becomes AVAILABLE.

The requests are made from the signatures' own specifications, so there are some for every signature. Their
texts consist of words of the tokenizer's vocabulary: the file holds none of the run's data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.export import explanations, prediction_logs
from tfpipeline.export.signatures import ServingModule, token_inputs
from tfpipeline.text import Tokenizer
from tfpipeline.training.prediction_graph import TextInputs

REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"

_BATCHES = (1, 8, 32)
_NARROWEST = 16  # tokens; each next width is twice as large, up to the longest text
# Rows x width: replay takes time before a version is AVAILABLE, and larger requests warm up nothing more.
_MOST_TOKENS = 4096
_COST = {explanations.SIGNATURE: 100}  # relative to a prediction: an explanation is an integral of gradients
_WORDS = 512
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
    """Rows and tokens per row of the requests, by increasing number of tokens."""
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
    """An input of a request; inputs other than texts and tokens are empty strings or zeros."""
    if name in texts:
        return texts[name]
    if name in tokens:
        return tokens[name]
    shape = [rows if size is None else size for size in spec.shape]
    return (
        np.full(shape, b"", object) if spec.dtype == tf.string else np.zeros(shape, spec.dtype.as_numpy_dtype)
    )


class _Texts:
    """Texts with a given number of tokens, made of words that are one token each."""

    def __init__(self, text_inputs: TextInputs) -> None:
        self._names = text_inputs.names
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
