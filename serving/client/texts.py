"""The inputs of text signatures: columns of texts as they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Optional

import numpy as np

from tfpipeline.serving.client import tensors
from tfpipeline.serving.client.errors import InputError

ADAPTER = "adapter"  # the input of models of several adapters


def text_inputs(
    texts: Iterable[Any], text_pair: Optional[Iterable[Any]], adapter: Any = None
) -> dict[str, np.ndarray]:
    """The inputs of a text signature: ``text``, ``text_pair`` for models of pairs, and ``adapter`` for models
    of several adapters.

    Args:
        texts: B texts, str or bytes.
        text_pair: the second text of each pair, B of them; None for models of single texts.
        adapter: the name of each text's adapter, str or bytes, or one for all; None for other models.
    Returns:
        name -> object array [B] of bytes.
    Raises:
        InputError: a single string, a table, a dict or a set instead of a list, a row that cannot be sent, or
            lists of different lengths.
    """
    given = {"text": texts} if text_pair is None else {"text": texts, "text_pair": text_pair}
    columns = {name: _column(list(rows_of(rows, name)), name) for name, rows in given.items()}
    if text_pair is not None and len(columns["text"]) != len(columns["text_pair"]):
        raise InputError(
            f"{_counted(len(columns['text']), 'text')} but {len(columns['text_pair'])} in text_pair; give "
            "one for each text"
        )
    if adapter is not None:
        columns[ADAPTER] = _for_each(adapter, ADAPTER, len(columns["text"]))
    return columns


def explain_inputs(
    texts: Iterable[Any], text_pair: Optional[Iterable[Any]], labels: Optional[Iterable[Any]]
) -> dict[str, np.ndarray]:
    """The inputs of the signature ``explain``: those of a text signature, and ``label``.

    Args:
        texts, text_pair: see :func:`text_inputs`.
        labels: the answer to explain of each text, str or bytes, "" for the predicted one; or one for all.
    Returns:
        name -> object array [B] of bytes.
    Raises:
        InputError: see :func:`text_inputs`; or there are more or fewer labels than texts.
    """
    columns = text_inputs(texts, text_pair)
    columns["label"] = _for_each("" if labels is None else labels, "label", len(columns["text"]))
    return columns


def _for_each(given: Any, name: str, count: int) -> np.ndarray:
    """A column of so many values, from a value for each text or one for all."""
    rows = [given] * count if isinstance(given, (str, bytes)) else list(rows_of(given, f"{name}s"))
    if len(rows) != count:
        raise InputError(
            f"{_counted(count, 'text')} but {_counted(len(rows), name)}; give one for each text, or one "
            "for all"
        )
    return _column(rows, name)


def rows_of(rows: Any, name: str) -> Iterator[Any]:
    """The rows of a column, unchecked.

    Raises:
        InputError: it is no column: iterating over a table or a dict would yield names instead of texts, over
            a set no order.
    """
    what = f'input "{name}" is'
    if isinstance(rows, (str, bytes)):
        raise InputError(f"{what} one string; give a list of texts")
    kind = type(rows).__name__
    if hasattr(rows, "columns"):
        raise InputError(f"{what} a table ({kind}); give one of its columns")
    if isinstance(rows, Mapping):
        raise InputError(f"{what} {kind}; give a list of texts, such as its values")
    if isinstance(rows, Set):
        raise InputError(f"{what} {kind}, which promises no order; give a list of texts")
    if not isinstance(rows, Iterable) or getattr(rows, "ndim", 1) == 0:
        raise InputError(f"{what} {kind}; give a list of texts")
    if hasattr(rows, "to_pylist"):  # a column of Arrow, whose rows are objects of its own
        rows = rows.to_pylist()
    return iter(rows)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _column(rows: list[Any], name: str) -> np.ndarray:
    column = np.empty(len(rows), dtype=object)
    column[:] = tensors.utf8(rows, name)
    return column


def by_length(columns: Mapping[str, np.ndarray]) -> list[int]:
    """The row numbers, the longest texts first; equally long ones keep their order.

    A batch is padded to its longest text, so texts of similar lengths cost least together. The longest come
    first, because the last of several concurrent batches should be the shortest.
    """
    texts = [column for column in columns.values() if column.dtype == object]
    lengths = [sum(map(len, row)) for row in zip(*texts)]
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])
