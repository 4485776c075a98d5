"""One ragged sequence of tokens per row, in memory-mapped flat files.

Rows lie in the order they were encoded in:

    tokens.int32    the ids of all rows, padding left out
    types.uint8     their token types
    column0.int32   what else there is of each token: where it comes from, its own target;
                    column1.int32 and so on
    rows.int64      [N, 2]: where a row starts in the files above, and its length
"""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

_OWN = {"input_ids", "token_type_ids", "attention_mask", "cut", "unknown"}
_TOKENS, _TYPES, _ROWS = "tokens.int32", "types.uint8", "rows.int64"
_RELEASE_ROWS = 512  # so many rows read, the mapped pages are given back: 64 KiB a row and file


class TokenSequence:
    """One sequence of each of N rows.

    Args:
        directory: of the files.
        card: what :meth:`SequenceWriter.card` gave.

    Attributes:
        lengths: tokens of each row, special ones counted, int32 [N].
        unknown: how many tokens the vocabulary does not know, as far as the tokenizer said so.
        text_tokens: how many tokens there are, without the special ones around the texts.
    """

    def __init__(self, directory: Path, card: Mapping[str, Any]) -> None:
        rows = _map(directory / _ROWS, np.int64).reshape(-1, 2)
        self._starts, self.lengths = rows[:, 0], rows[:, 1].astype(np.int32)
        self._flat = {
            "input_ids": _map(directory / _TOKENS, np.int32),
            "token_type_ids": _map(directory / _TYPES, np.uint8),
        }
        for number, (name, shape) in enumerate(card["columns"].items()):
            self._flat[name] = _map(directory / _file_of(number), np.int32).reshape(-1, *shape)
        self.unknown: int = card["unknown"]
        self.text_tokens: int = card["text_tokens"]
        self._read = 0

    def batch(self, rows: np.ndarray, width: int, size: int) -> dict[str, np.ndarray]:
        """Rows as a dense batch, zeros where there is no token.

        Args:
            rows: row numbers, integer [B].
            width: T, at least the longest row.
            size: B to fill up to with empty rows.
        Returns:
            ``input_ids``, ``token_type_ids`` and ``attention_mask``, int32 [B, T], and the further columns,
            int32 [B, T, ...].
        Raises:
            ValueError: ``width`` or ``size`` is too small.
        """
        lengths = self.lengths[rows].astype(np.int64)
        longest = int(lengths.max(initial=0))
        if width < longest or size < len(lengths):
            raise ValueError(
                f"{len(lengths)} rows of up to {longest} tokens do not fit into [{size}, {width}]"
            )
        mask = np.zeros((size, width), bool)
        mask[: len(lengths)] = np.arange(width) < lengths[:, None]
        # Positions in the flat files, row after row: each row's start, counted on within the row.
        before = np.cumsum(lengths) - lengths
        places = np.repeat(self._starts[rows] - before, lengths) + np.arange(lengths.sum())
        batch = {"attention_mask": mask.astype(np.int32)}
        for name, values in self._flat.items():
            batch[name] = np.zeros((size, width, *values.shape[1:]), np.int32)
            batch[name][mask] = values[places]
        self._read += len(lengths)
        if self._read >= _RELEASE_ROWS:
            self._read = 0
            _release(*self._flat.values(), self._starts)
        return batch


class SequenceWriter:
    """Writes the files of a :class:`TokenSequence`, batch after batch.

    Args:
        directory: an empty one.
        rows: N.
        files: closes the files when it is closed itself.
    """

    def __init__(self, directory: Path, rows: int, files: contextlib.ExitStack) -> None:
        self._directory, self._files = directory, files
        self._rows = np.zeros((rows, 2), np.int64)
        self._total = self._unknown = 0
        self._further: dict[str, Any] = {}
        self._columns: dict[str, list[int]] = {}
        self._tokens, self._types = self._open(_TOKENS), self._open(_TYPES)

    def _open(self, name: str) -> Any:
        return self._files.enter_context((self._directory / name).open("wb"))

    def write(
        self, rows: np.ndarray, encoded: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> None:
        """Add rows.

        Args:
            rows: row numbers, integer [B].
            encoded: what :class:`tfpipeline.data.cache.Encode` gave for them.
            targets: further columns.
        """
        mask = np.asarray(encoded["attention_mask"], bool)
        lengths = mask.sum(-1)
        self._rows[rows, 0] = self._total + np.cumsum(lengths) - lengths
        self._rows[rows, 1] = lengths
        self._total += int(lengths.sum())
        self._unknown += int(np.sum(encoded.get("unknown", 0)))
        self._tokens.write(np.asarray(encoded["input_ids"])[mask].astype(np.int32).tobytes())
        self._types.write(np.asarray(encoded["token_type_ids"])[mask].astype(np.uint8).tobytes())
        more = {name: array for name, array in encoded.items() if name not in _OWN}
        for name, array in {**more, **targets}.items():
            if name not in self._further:
                self._further[name] = self._open(_file_of(len(self._columns)))
                self._columns[name] = list(np.shape(array)[2:])
            self._further[name].write(_integers(name, array)[mask].astype(np.int32).tobytes())

    def card(self, special: int) -> dict[str, Any]:
        """Finish, and describe what was written.

        Args:
            special: special tokens of each row.
        """
        self._rows.tofile(self._directory / _ROWS)
        return {
            "tokens": self._total,
            "unknown": self._unknown,
            "text_tokens": self._total - len(self._rows) * special,
            "columns": self._columns,
        }


def is_complete(directory: Path, card: Mapping[str, Any], rows: int) -> bool:
    """Whether the files of a sequence are there, and as large as its card says.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: a file is not there, or the card is none.
    """
    sizes = {_TOKENS: 4 * card["tokens"], _TYPES: card["tokens"], _ROWS: 16 * rows}
    for number, shape in enumerate(card["columns"].values()):
        sizes[_file_of(number)] = 4 * card["tokens"] * math.prod(shape)
    complete = all((directory / name).stat().st_size == size for name, size in sizes.items())
    return complete and card["unknown"] >= 0 and isinstance(card["text_tokens"], int)


def _file_of(number: int) -> str:
    """A further column's file; not by its name, which may hold anything, or be that of another file."""
    return f"column{number}.int32"


def _integers(name: str, array: Any) -> np.ndarray:
    """A further column that can be kept."""
    array = np.asarray(array)
    if array.dtype.kind not in "iub":
        raise TypeError(f"the column {name} of the tokens holds {array.dtype}, not integers")
    return array


def _map(path: Path, dtype: Any) -> np.ndarray:
    if path.stat().st_size == 0:  # nothing to map
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")


def _release(*arrays: np.ndarray) -> None:
    """Let go of the pages of mapped files: the system may keep them, the process does not."""
    for array in arrays:
        mapped: Optional[Any] = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            mapped.madvise(mmap.MADV_DONTNEED)
