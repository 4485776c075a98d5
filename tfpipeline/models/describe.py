"""Describes a model to the user: ``repr``, and the table that notebooks show."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfpipeline.models.head import describe_head


def line(model: Any) -> str:
    """A :class:`TextModel` in one line."""
    facts = dict(_facts(model))
    settings = "; ".join(f"{name} {value}" for name, value in facts.items())
    return f"<{type(model).__name__} {model.name}: {settings}>"


def table(model: Any) -> str:
    """The same as an HTML table."""
    rows = "".join(
        f"<tr><th style='text-align: left'>{html.escape(name)}</th><td style='text-align: "
        f"left'>{html.escape(value)}</td></tr>"
        for name, value in _facts(model)
    )
    title = html.escape(f"{type(model).__name__} {model.name}")
    return f"<table><caption>{title}</caption>{rows}</table>"


def _facts(model: Any) -> Iterable[tuple[str, str]]:
    encoder = getattr(model.encoder, "config", None)
    if encoder is None:  # an encoder outside this package
        yield "encoder", type(model.encoder).__name__
    else:
        yield (
            "encoder",
            f"{encoder.num_hidden_layers} layers, hidden size {encoder.hidden_size}, "
            f"{encoder.num_attention_heads} heads, {encoder.max_position_embeddings} positions",
        )
    yield "head", "none" if model.head is None else describe_head(model.head)
    trained, all_ = _count(model.trainable_variables), _count(model.weights)
    yield "parameters", f"{all_:,}" + (f" ({trained:,} trainable)" if trained < all_ else "")
    yield "dtype", str(model.encoder.dtype_policy.name)
    if model.windows is not None:
        cut = model.windows.cut
        yield (
            "windows",
            f"{cut.max_length} tokens, overlap {cut.overlap}, at most {cut.max_windows} of a text",
        )
    if model.tokenizer is None:
        yield "tokenizer", "none"
    else:
        case = "uncased" if model.tokenizer.options.lowercase else "cased"
        yield "tokenizer", f"{model.tokenizer.vocabulary_size:,} tokens, {case}"


def _count(variables: Iterable[Any]) -> int:
    return int(sum(np.prod(variable.shape, dtype=np.int64) for variable in variables))
