"""Methods as graphs on the host, and checks of their arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import tensorflow as tf

from tfpipeline.errors import UserError

HOST = "/CPU:0"
_LONE = re.compile("[\ud800-\udfff]")


def strings(texts: Any, name: str) -> Any:
    """Texts as a string tensor [B].

    Args:
        texts: a tensor, or any iterable of str and bytes.
        name: the argument's name, for messages.
    Raises:
        UserError: a single text instead of several, or an element that is not a text.
    """
    if not tf.is_tensor(texts):
        rows = list_of_texts(texts, name)
        texts = tf.constant(rows, tf.string, [len(rows)])
    if texts.dtype != tf.string or texts.shape.rank not in (None, 1):
        raise UserError(f"{name} is a tensor {texts.dtype.name} {texts.shape}; expected string [B]")
    return texts


def list_of_texts(texts: Any, name: str, ask: str = "give a list of texts") -> list[Any]:
    """A list of texts from any iterable.

    Args:
        texts: str and bytes.
        name: the argument's name, for messages.
        ask: what to give instead, for messages.
    Raises:
        UserError: a single text instead of several, a mapping or a table, or an element that is not a text.
    """
    if isinstance(texts, (str, bytes)):
        raise UserError(f"{name} is one string; {ask}: [{texts[:40]!r}]")
    # Iterating over a mapping or a table yields its names, not its texts.
    if isinstance(texts, (Mapping, Set)) or hasattr(texts, "columns"):
        raise UserError(f"{name} is {type(texts).__name__}; {ask}, of a table one column")
    if not isinstance(texts, Iterable) or getattr(texts, "ndim", 1) == 0:
        raise UserError(f"{name} is {type(texts).__name__}; {ask}")
    rows = list(texts)
    for row, text in enumerate(rows):
        if not isinstance(text, (str, bytes)):
            raise UserError(f"{name}[{row}] is {text!r} ({type(text).__name__}), not a text")
        if isinstance(text, str) and not text.isascii() and (lone := _LONE.search(text)):
            raise UserError(
                f"{name}[{row}] holds the lone surrogate U+{ord(lone[0]):04X}, which is no character; read "
                "the text with the "
                "right encoding"
            )
    return rows


def graph(*signature: tf.TensorSpec) -> Callable[[Callable[..., Any]], Any]:
    """Turn a method into graphs for all sizes, on the host: one with offsets and one without.

    Strings live on the host. Integer operations on an accelerator would copy their inputs and outputs many
    times per call.
    """

    def compile_method(method: Callable[..., Any]) -> Any:
        def on_host(offsets: bool) -> Any:
            def run(*arguments: Any) -> Any:
                with tf.device(HOST):
                    return method(*arguments, offsets=offsets)

            # The method without the keyword, as tf.function should see it.
            seen = inspect.signature(method)
            parameters = [one for one in seen.parameters.values() if one.kind != one.KEYWORD_ONLY]
            run.__signature__ = seen.replace(parameters=parameters)  # type: ignore[attr-defined]
            return tf.function(run, input_signature=signature, autograph=False)

        return Graphs(on_host(False), on_host(True))

    return compile_method


class Graphs:
    """A method's two graphs, chosen by the keyword ``offsets``."""

    def __init__(self, plain: Any, with_offsets: Any) -> None:
        self._plain, self._with_offsets = plain, with_offsets

    def bound(self, instance: Any, *, offsets: bool) -> Any:
        """One of the two graphs, as a ``tf.function`` bound to an instance."""
        return (self._with_offsets if offsets else self._plain).__get__(instance, type(instance))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return lambda *arguments, offsets=False: self.bound(instance, offsets=offsets)(*arguments)
