"""One ragged sequence of tokens per row, stored in memory-mapped flat files.

Rows are stored in the order in which they were encoded:

    tokens.int32    the ids of all rows, without padding
    types.uint8     their token types
    column0.int32   further data per token, such as its origin or its own target;
                    column1.int32 and so on
    rows.int64      [N, 2]: the start of each row in the files above, and its length
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.mapped_files import open_mapped, release_pages

_OWN = {"input_ids", "token_type_ids", "attention_mask", "cut", "cut_pair", "unknown"}
_TOKENS, _TYPES, _ROWS = "tokens.int32", "types.uint8", "rows.int64"
_COUNTED_TOKENS = 1 << 20  # at a time
_RELEASE_ROWS = 512  # after this many rows the mapped pages are released: 64 KiB per row and file


class TokenSequence:
    """One sequence of tokens for each of N rows.

    Args:
        directory: the directory of the files.
        card: the result of :meth:`SequenceWriter.card`.

    Attributes:
        lengths: number of tokens per row, including special ones, int32 [N].
        unknown: number of tokens that are not in the vocabulary, if the tokenizer reported it.
        text_tokens: number of tokens, without the special ones around the texts.
    """

    def __init__(self, directory: Path, card: Mapping[str, Any]) -> None:
        rows = open_mapped(directory / _ROWS, np.int64).reshape(-1, 2)
        self._starts, self.lengths = rows[:, 0], rows[:, 1].astype(np.int32)
        self._flat = {
            "input_ids": open_mapped(directory / _TOKENS, np.int32),
            "token_type_ids": open_mapped(directory / _TYPES, np.uint8),
        }
        for number, (name, shape) in enumerate(card["columns"].items()):
            self._flat[name] = open_mapped(directory / _file_of(number), np.int32).reshape(-1, *shape)
        self.unknown: int = card["unknown"]
        self.text_tokens: int = card["text_tokens"]
        self._read = 0

    def batch(self, rows: np.ndarray, width: int, size: int) -> dict[str, np.ndarray]:
        """Rows as a dense batch, padded with zeros.

        Args:
            rows: row numbers, integer [B].
            width: T, at least the length of the longest row.
            size: the batch is padded to this number of rows with empty rows.
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
        # Indices into the flat files, row after row: each row's start plus the position in the row.
        before = np.cumsum(lengths) - lengths
        places = np.repeat(self._starts[rows] - before, lengths) + np.arange(lengths.sum())
        batch = {"attention_mask": mask.astype(np.int32)}
        for name, values in self._flat.items():
            batch[name] = np.zeros((size, width, *values.shape[1:]), np.int32)
            batch[name][mask] = values[places]
        self._read += len(lengths)
        if self._read >= _RELEASE_ROWS:
            self._read = 0
            release_pages(*self._flat.values(), self._starts)
        return batch

    def token_counts(self, vocabulary_size: int) -> np.ndarray:
        """The number of times that each token id occurs, int64 [V]."""
        counts = np.zeros(vocabulary_size, np.int64)
        ids = self._flat["input_ids"]
        for start in range(0, len(ids), _COUNTED_TOKENS):
            counts += np.bincount(ids[start : start + _COUNTED_TOKENS], minlength=vocabulary_size)
        release_pages(ids)
        return counts


class SequenceWriter:
    """Writes the files of a :class:`TokenSequence`, batch by batch.

    Args:
        directory: an empty directory.
        rows: N.
        files: closes the files when it is closed.
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
            encoded: their encoding, from :class:`tfpipeline.data.cache.Encode`.
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
        """Finish writing, and describe the files.

        Args:
            special: number of special tokens per row.
        """
        self._rows.tofile(self._directory / _ROWS)
        return {
            "tokens": self._total,
            "unknown": self._unknown,
            "text_tokens": self._total - len(self._rows) * special,
            "columns": self._columns,
        }


def is_complete(directory: Path, card: Mapping[str, Any], rows: int) -> bool:
    """Whether a sequence's files exist and have the sizes that its card states.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: a file is missing, or the card is malformed.
    """
    sizes = {_TOKENS: 4 * card["tokens"], _TYPES: card["tokens"], _ROWS: 16 * rows}
    for number, shape in enumerate(card["columns"].values()):
        sizes[_file_of(number)] = 4 * card["tokens"] * math.prod(shape)
    complete = all((directory / name).stat().st_size == size for name, size in sizes.items())
    return complete and card["unknown"] >= 0 and isinstance(card["text_tokens"], int)


def _file_of(number: int) -> str:
    """A further column's file. It is not named after the column, whose name may be no valid file name."""
    return f"column{number}.int32"


def _integers(name: str, array: Any) -> np.ndarray:
    """Convert a further column to integers that can be stored."""
    array = np.asarray(array)
    if array.dtype.kind not in "iub":
        raise TypeError(f"the column {name} of the tokens holds {array.dtype}, not integers")
    return array
