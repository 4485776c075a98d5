"""Token ids of a data set, made once in large batches and read from disk by memory mapping.

Flat files and a description; rows lie in the order they were encoded in, which is by length within each piece
of the rows:

    tokens.int32    the ids of all rows, padding left out
    types.uint8     their token types
    column0.int32   what else there is of each token: where it comes from, its own target; column1.int32 ...
    rows.int64      [N, 2]: where a row starts in the two above, and its length
    cache.json      how many there are, how many were cut or are unknown, the columns' names, and the
                    fingerprint of what they were made from
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Protocol, Union

import numpy as np

from tfpipeline.console import progress
from tfpipeline.data.batches import PAD_TO_MULTIPLE, batch_width
from tfpipeline.errors import UserError
from tfpipeline.files import publish, temporary_folder

if TYPE_CHECKING:
    from tfpipeline.data.examples import Example

FORMAT = 4
PIECE_ROWS, PIECE_CHARACTERS = 32_768, 32_000_000  # in memory at a time, and sorted by length together
ENCODE_ROWS = 2048  # a call of the tokenizer costs milliseconds however few texts it gets
ENCODE_CHARACTERS = 4_000_000  # but a batch of huge texts must still fit into memory
_RELEASE_ROWS = (
    512  # every so many rows read, what was mapped of the files is given back: 64 KiB a row and file
)


_OWN = {"input_ids", "token_type_ids", "attention_mask", "cut", "unknown"}
_TOKENS, _TYPES, _ROWS, _CARD = "tokens.int32", "types.uint8", "rows.int64", "cache.json"


class Encode(Protocol):
    """A tokenizer: ``input_ids``, ``token_type_ids`` and ``attention_mask``, integer [B, T], padded on the
    right.

    It may also give ``cut`` and ``unknown``, integer [B]: the tokens left out of each row, 0 of one that is
    whole, and how many of the others the vocabulary does not know. Whatever else it gives is one more integer
    column, [B, T, ...].
    """

    def __call__(
        self, texts: Sequence[str], text_pair: Optional[Sequence[str]], max_length: int
    ) -> Mapping[str, np.ndarray]: ...


class Align(Protocol):
    """Targets of single tokens: integer columns, [B, T, ...], of some rows and what :class:`Encode` gave for
    them.
    """

    def __call__(
        self, examples: Sequence[Example], encoded: Mapping[str, np.ndarray], /
    ) -> Mapping[str, np.ndarray]: ...


See = Callable[[Sequence["Example"]], None]


class TokenCache:
    """The tokens of N rows.

    Attributes:
        lengths: tokens of each row, special ones counted, int32 [N].
        max_length: the most tokens a row may have.
        cut: how many rows have more than that in their texts, as far as the tokenizer said so.
        unknown: how many tokens the vocabulary does not know, as far as the tokenizer said so.
        text_tokens: how many tokens there are, without the special ones around the texts.
    """

    def __init__(self, directory: Union[str, Path]) -> None:
        directory = Path(directory)
        card = _read_card(directory)
        if card is None:
            raise UserError(f"{directory} is not a complete token cache; remove it and run the command again")
        rows = _map(directory / _ROWS, np.int64).reshape(-1, 2)
        self._starts, self.lengths = rows[:, 0], rows[:, 1].astype(np.int32)
        self._tokens = _map(directory / _TOKENS, np.int32)
        self._types = _map(directory / _TYPES, np.uint8)
        self._columns = {
            name: _map(directory / _file_of(number), np.int32).reshape(-1, *shape)
            for number, (name, shape) in enumerate(card["columns"].items())
        }
        self.max_length: int = card["max_length"]
        self.cut: int = card["cut"]
        self.unknown: int = card["unknown"]
        self.text_tokens: int = card["text_tokens"]
        self._read = 0

    @classmethod
    def build(
        cls,
        directory: Union[str, Path],
        examples: Sequence[Example],
        *,
        encode: Encode,
        max_length: int,
        fingerprint: str,
        align: Optional[Align] = None,
        see: Optional[See] = None,
    ) -> TokenCache:
        """Open the cache in ``directory``, making it first unless it is there for the same texts and
        tokenizer.

        Args:
            directory: the cache's own; one that was made from something else is replaced.
            examples: the rows; all have a ``text_pair`` or none.
            encode: the tokenizer.
            max_length: tokens of a row at most.
            fingerprint: what the tokens depend on besides the texts: the vocabulary, the tokenizer's options,
                what becomes of long texts; with ``align`` also on what its columns depend on besides the
                rows.
            align: gives further columns.
            see: is given the rows, piece by piece and in their order, each once: what else is to be read of
                them costs no further walk over their file.
        Raises:
            UserError: the disk is full or the directory cannot be written.
        """
        directory = Path(directory)
        made_of = _Identity(examples, max_length, fingerprint, targets=align is not None)
        if _read_card(directory) is not None:
            for piece in _pieces(examples):
                made_of.add(piece)
                if see is not None:
                    see(piece)
            if _is_made_of(directory, made_of.hexdigest()):
                return cls(directory)
            made_of, see = _Identity(examples, max_length, fingerprint, targets=align is not None), None
        with temporary_folder(directory) as folder:
            made = folder / directory.name
            made.mkdir()
            _write(made, examples, encode, align, max_length, made_of, see)
            if not _is_made_of(directory, made_of.hexdigest()):  # else somebody else has made the same one
                publish(made, directory, replace=True)
        return cls(directory)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(
        self,
        rows: np.ndarray,
        *,
        pad_to_multiple: int = PAD_TO_MULTIPLE,
        width: Optional[int] = None,
        size: Optional[int] = None,
    ) -> dict[str, np.ndarray]:
        """Rows as a dense batch, zeros where there is no token.

        Args:
            rows: row numbers, integer [B].
            pad_to_multiple: T is the longest row rounded up to this, but not beyond ``max_length``.
            width: T itself instead, at least the longest row.
            size: B to fill up to with empty rows (mask all 0), for one static shape.
        Returns:
            ``input_ids``, ``token_type_ids`` and ``attention_mask``, int32 [B, T], and the further columns,
            int32 [B, T, ...].
        Raises:
            ValueError: ``width`` or ``size`` is too small.
        """
        lengths = self.lengths[rows].astype(np.int64)
        longest = int(lengths.max(initial=0))
        if width is None:
            width = batch_width(longest, self.max_length, multiple=pad_to_multiple)
        size = len(lengths) if size is None else size
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
        flat = {"input_ids": self._tokens, "token_type_ids": self._types, **self._columns}
        for name, values in flat.items():
            batch[name] = np.zeros((size, width, *values.shape[1:]), np.int32)
            batch[name][mask] = values[places]
        self._read += len(lengths)
        if self._read >= _RELEASE_ROWS:
            self._read = 0
            _release(*flat.values(), self._starts)
        return batch


def _write(
    directory: Path,
    examples: Sequence[Example],
    encode: Encode,
    align: Optional[Align],
    max_length: int,
    made_of: _Identity,
    see: Optional[See],
) -> None:
    pairs = False
    rows = np.zeros((len(examples), 2), np.int64)
    total = cut = unknown = 0
    columns: dict[str, list[int]] = {}
    with (
        contextlib.ExitStack() as stack,
        progress("tokenising", len(examples), note="compiling the tokenizer") as step,
    ):

        def opened(name: str) -> Any:
            return stack.enter_context((directory / name).open("wb"))

        tokens, types = opened(_TOKENS), opened(_TYPES)
        further: dict[str, Any] = {}
        first = 0
        for piece in _pieces(examples):
            made_of.add(piece)
            if see is not None:
                see(piece)
            pairs = piece[0].text_pair is not None
            for batch in _encoding_batches(piece):
                texts = [piece[row].text for row in batch]
                second = [piece[row].text_pair or "" for row in batch] if pairs else None
                encoded = encode(texts, second, max_length)
                mask = np.asarray(encoded["attention_mask"], bool)
                lengths = mask.sum(-1)
                rows[first + batch, 0] = total + np.cumsum(lengths) - lengths
                rows[first + batch, 1] = lengths
                total += int(lengths.sum())
                cut += int(np.count_nonzero(encoded.get("cut", 0)))
                unknown += int(np.sum(encoded.get("unknown", 0)))
                tokens.write(np.asarray(encoded["input_ids"])[mask].astype(np.int32).tobytes())
                types.write(np.asarray(encoded["token_type_ids"])[mask].astype(np.uint8).tobytes())
                more = {name: array for name, array in encoded.items() if name not in _OWN}
                if align is not None:
                    more.update(align([piece[row] for row in batch], encoded))
                for name, array in more.items():
                    if name not in further:
                        further[name], columns[name] = (
                            opened(_file_of(len(columns))),
                            list(np.shape(array)[2:]),
                        )
                    further[name].write(_integers(name, array)[mask].astype(np.int32).tobytes())
                step.advance(len(batch))
            first += len(piece)
    rows.tofile(directory / _ROWS)
    card = {
        "format": FORMAT,
        "fingerprint": made_of.hexdigest(),
        "max_length": max_length,
        "rows": len(examples),
        "tokens": total,
        "cut": cut,
        "unknown": unknown,
        "text_tokens": total - len(examples) * (3 if pairs else 2),
        "columns": columns,
    }
    (directory / _CARD).write_text(json.dumps(card), "utf-8")


def _file_of(number: int) -> str:
    """A further column's file; not by its name, which may hold anything, or be that of another file."""
    return f"column{number}.int32"


def _integers(name: str, array: Any) -> np.ndarray:
    """A further column that can be kept."""
    array = np.asarray(array)
    if array.dtype.kind not in "iub":
        raise TypeError(f"the column {name} of the tokens holds {array.dtype}, not integers")
    return array


def _encoding_batches(examples: Sequence[Example]) -> Iterator[np.ndarray]:
    """Row numbers by length of text, so that the tokenizer's padded batches are small."""
    characters = np.fromiter((len(example.joined_text) for example in examples), np.int64, len(examples))
    order = np.argsort(characters, kind="stable")
    start = 0
    while start < len(order):
        budget = np.cumsum(characters[order[start : start + ENCODE_ROWS]])
        rows = max(1, int(np.searchsorted(budget, ENCODE_CHARACTERS, side="right")))
        yield order[start : start + rows]
        start += rows


class _Identity:
    """sha256 of all that the tokens, and perhaps their targets, depend on; arguments as of
    :meth:`TokenCache.build`.
    """

    def __init__(
        self, examples: Sequence[Example], max_length: int, fingerprint: str, *, targets: bool
    ) -> None:
        self._digest = hashlib.sha256(json.dumps([FORMAT, max_length, fingerprint, len(examples)]).encode())
        self._targets = targets

    def add(self, examples: Sequence[Example]) -> None:
        """The next rows."""
        digest = self._digest
        for example in examples:
            if self._targets:
                row = [example.label, example.weight, example.group, dict(example.columns)]
                digest.update(json.dumps(row).encode() + b"\n")
            for text in (example.text, example.text_pair):
                data = b"" if text is None else text.encode("utf-8", "surrogatepass")
                # Lengths first: "ab", "c" is not "a", "bc", and no pair is not an empty one.
                digest.update((-1 if text is None else len(data)).to_bytes(8, "little", signed=True) + data)

    def hexdigest(self) -> str:
        """Of the rows so far."""
        return self._digest.hexdigest()


def _pieces(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Rows in their order, as many at a time as memory holds; each is read once."""
    piece: list[Example] = []
    characters = 0
    for example in examples:
        piece.append(example)
        characters += len(example.text) + len(example.text_pair or "")
        if len(piece) == PIECE_ROWS or characters >= PIECE_CHARACTERS:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece


def _is_made_of(directory: Path, identity: str) -> bool:
    card = _read_card(directory)
    return card is not None and bool(card["fingerprint"] == identity)


def _read_card(directory: Path) -> Optional[dict[str, Any]]:
    """The description of a complete cache, or None."""
    try:
        card: dict[str, Any] = json.loads((directory / _CARD).read_text("utf-8"))
        sizes = {_TOKENS: 4 * card["tokens"], _TYPES: card["tokens"], _ROWS: 16 * card["rows"]}
        for number, shape in enumerate(card["columns"].values()):
            sizes[_file_of(number)] = 4 * card["tokens"] * math.prod(shape)
        complete = all((directory / name).stat().st_size == size for name, size in sizes.items())
        return (
            card if complete and card["format"] == FORMAT and min(card["cut"], card["unknown"]) >= 0 else None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or not one of ours: it is made again


def _map(path: Path, dtype: Any) -> np.ndarray:
    if path.stat().st_size == 0:  # nothing to map
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")


def _release(*arrays: np.ndarray) -> None:
    """Let go of the pages of mapped files: the system keeps them as long as it has room, the process does
    not.
    """
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            mapped.madvise(mmap.MADV_DONTNEED)
