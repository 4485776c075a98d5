"""Methods as graphs on the host, and what they are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfpipeline.errors import UserError

HOST = "/CPU:0"


def strings(texts: Any, name: str) -> Any:
    """Texts as a string tensor [B].

    Args:
        texts: a tensor, or str and bytes in a list, an array or whatever else can be walked over.
        name: of the argument.
    Raises:
        UserError: one text instead of several, or something among them that is no text.
    """
    if not tf.is_tensor(texts):
        if isinstance(texts, (str, bytes)):
            raise UserError(f"{name} is one string; give a list of texts: [{texts[:40]!r}]")
        try:
            rows = list(texts)
        except TypeError as error:
            raise UserError(f"{name} is {type(texts).__name__}; give a list of texts") from error
        for row, text in enumerate(rows):
            if not isinstance(text, (str, bytes)):
                raise UserError(f"{name}[{row}] is {text!r} ({type(text).__name__}), not a text")
        texts = tf.constant(rows, tf.string, [len(rows)])
    if texts.dtype != tf.string or texts.shape.rank not in (None, 1):
        raise UserError(f"{name} is a tensor {texts.dtype.name} {texts.shape}; expected string [B]")
    return texts


def graph(*signature: tf.TensorSpec) -> Callable[[Callable[..., Any]], Any]:
    """A method as one graph for all sizes, on the host; two of them, with and without offsets.

    Strings live on the host; integer operations that were placed on an accelerator would copy their inputs and
    outputs across, many times a call.
    """

    def compile_method(method: Callable[..., Any]) -> Any:
        def on_host(offsets: bool) -> Any:
            def run(*arguments: Any) -> Any:
                with tf.device(HOST):
                    return method(*arguments, offsets=offsets)

            # What tf.function shall see: the method without the keyword.
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
        """One of them, as an instance's own ``tf.function``."""
        return (self._with_offsets if offsets else self._plain).__get__(instance, type(instance))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return lambda *arguments, offsets=False: self.bound(instance, offsets=offsets)(*arguments)
