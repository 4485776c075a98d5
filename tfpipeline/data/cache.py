"""The token ids of a data set, made once in large batches and memory-mapped.

A row has one sequence, or one for each text if its texts are encoded separately. Each sequence is a folder of
flat files (:mod:`tfpipeline.data.sequences`). In the files, rows are in the order in which they were encoded:
by length within each chunk of rows.

    text/         of a row's text, or of both texts in one sequence
    text_pair/    of its second text, when that is encoded separately; further texts have such folders, too
    cache.json    how many rows there are, how many were cut, what each sequence holds, and the fingerprint of
                  what they were made from
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, Protocol, Union

import numpy as np

from tfpipeline.console import progress
from tfpipeline.data.batches import PAD_TO_MULTIPLE, batch_width
from tfpipeline.data.sequences import SequenceWriter, TokenSequence, is_complete
from tfpipeline.data.text_names import TEXT, TEXT_PAIR, divided, key, texts_of
from tfpipeline.errors import UserError
from tfpipeline.files import publish, temporary_folder

if TYPE_CHECKING:
    from tfpipeline.data.examples import Example

# Whether the two texts of a row are one sequence, or all texts are one sequence each.
Encoding = Literal["joint", "separate"]

FORMAT = 5
ENCODE_ROWS = 2048  # a call of the tokenizer takes milliseconds, even for few texts
ENCODE_CHARACTERS = 4_000_000  # but a batch of huge texts must still fit into memory
PIECE_ROWS, PIECE_CHARACTERS = 32_768, 32_000_000  # rows in memory at a time, and sorted by length together

_CARD = "cache.json"


class Encode(Protocol):
    """A tokenizer of rows, given as name of a text -> B texts: ``text``, perhaps ``text_pair`` and others.

    It returns ``input_ids``, ``token_type_ids``, ``attention_mask``, integer [B, T], right-padded. If it
    encodes the texts separately, those of every text but the first are called ``TEXT/NAME``; the names of the
    texts are the same in every call. It may also return ``cut`` and ``unknown``, integer [B]: the number of
    tokens left out of each row, and how many of the others are not in the vocabulary; and ``cut_pair``, how
    many were left out of the second text. Anything else that it returns is a further integer column, [B, T,
    ...].
    """

    def __call__(self, texts: Mapping[str, Sequence[str]], max_length: int) -> Mapping[str, np.ndarray]: ...


class Align(Protocol):
    """Targets of single tokens: integer columns, [B, T, ...], made from rows and the output of
    :class:`Encode`.

    If rows have several sequences, tensors of all but the first are called ``TEXT/NAME``, in the arguments
    and in the result.
    """

    def __call__(
        self, examples: Sequence[Example], encoded: Mapping[str, np.ndarray], /
    ) -> Mapping[str, np.ndarray]: ...


See = Callable[[Sequence["Example"]], None]


class TokenCache:
    """The tokens of N rows.

    Attributes:
        sequences: the sequences by the name of their text.
        lengths: number of tokens of the longest sequence of each row, special tokens included, int32 [N].
            Rows are batched by this length. With several sequences, the longest bounds all widths of a
            batch; their sum would not.
        max_length: maximum number of tokens of a sequence.
        cut: number of truncated rows, if the tokenizer counts them.
        cut_texts: the number of rows with a truncated first text, and with a truncated second one, if the
            tokenizer counts those.
        unknown: number of tokens that are not in the vocabulary, if the tokenizer counts them.
        text_tokens: number of all tokens, without the special tokens around the texts.
    """

    def __init__(self, directory: Union[str, Path]) -> None:
        directory = Path(directory)
        card = _read_card(directory)
        if card is None:
            raise UserError(f"{directory} is not a complete token cache; remove it and run the command again")
        self.sequences = {
            name: TokenSequence(directory / name, own) for name, own in card["sequences"].items()
        }
        self.lengths = np.max([sequence.lengths for sequence in self.sequences.values()], axis=0)
        self.max_length: int = card["max_length"]
        self.cut: int = card["cut"]
        self.cut_texts: tuple[int, int] = tuple(card.get("cut_texts", (self.cut, 0)))
        self.unknown = sum(sequence.unknown for sequence in self.sequences.values())
        self.text_tokens = sum(sequence.text_tokens for sequence in self.sequences.values())

    @classmethod
    def build(
        cls,
        directory: Union[str, Path],
        examples: Sequence[Example],
        *,
        encode: Encode,
        max_length: int,
        fingerprint: str,
        special: int = 0,
        align: Optional[Align] = None,
        further_texts: Sequence[str] = (),
        see: Optional[See] = None,
    ) -> TokenCache:
        """Open the cache in ``directory``, and build it first unless it exists for the same texts and
        tokenizer.

        Args:
            directory: the directory of the cache; a cache of other texts is replaced.
            examples: the rows; all have a ``text_pair`` or none.
            encode: the tokenizer.
            max_length: maximum number of tokens of a sequence.
            fingerprint: everything besides the texts that determines the tokens: the vocabulary, the
                tokenizer's options, whether texts are encoded separately, and how long texts are handled.
                With ``align``, also everything besides the rows that determines its columns.
            special: number of special tokens of each sequence, which do not count as tokens of the texts.
            align: makes further columns.
            further_texts: the names of the further texts that are encoded; a row that lacks one has an empty
                text there.
            see: receives all rows once, in order and in chunks, so that other readers need no further pass
                over the file.
        Raises:
            UserError: the disk is full or the directory cannot be written.
        """
        directory = Path(directory)

        def made_of() -> _Identity:
            return _Identity(examples, max_length, fingerprint, further_texts, targets=align is not None)

        identity = made_of()
        if _read_card(directory) is not None:
            for piece in _pieces(examples):
                identity.add(piece)
                if see is not None:
                    see(piece)
            if _is_made_of(directory, identity.hexdigest()):
                return cls(directory)
            identity, see = made_of(), None
        with temporary_folder(directory) as folder:
            made = folder / directory.name
            made.mkdir()
            written = _write(made, examples, encode, align, max_length, special, further_texts, identity, see)
            card = {
                "format": FORMAT,
                "fingerprint": identity.hexdigest(),
                "max_length": max_length,
                "rows": len(examples),
                **written,
            }
            (made / _CARD).write_text(json.dumps(card), "utf-8")
            if not _is_made_of(directory, identity.hexdigest()):  # else another process made the same
                publish(made, directory, replace=True)
        return cls(directory)

    def __len__(self) -> int:
        return len(self.lengths)

    def count(self, rows: np.ndarray) -> int:
        """The number of tokens of some rows in all sequences, special tokens included."""
        return int(sum(sequence.lengths[rows].sum() for sequence in self.sequences.values()))

    def token_counts(self, vocabulary_size: int) -> np.ndarray:
        """The number of times that each token id occurs, int64 [V]."""
        counts = [sequence.token_counts(vocabulary_size) for sequence in self.sequences.values()]
        return np.asarray(np.sum(counts, axis=0), np.int64)

    def widths(self, rows: np.ndarray, choose: Callable[[int], int]) -> dict[str, int]:
        """The padded width of each sequence of a batch.

        Args:
            rows: row numbers, integer [B].
            choose: returns the width for a number of tokens of the longest sequence.
        """
        return {
            name: choose(int(sequence.lengths[rows].max(initial=0)))
            for name, sequence in self.sequences.items()
        }

    def batch(
        self,
        rows: np.ndarray,
        *,
        pad_to_multiple: int = PAD_TO_MULTIPLE,
        width: Union[int, Mapping[str, int], None] = None,
        size: Optional[int] = None,
    ) -> dict[str, np.ndarray]:
        """Rows as a dense batch, padded with zeros.

        Args:
            rows: row numbers, integer [B].
            pad_to_multiple: T is the length of the longest sequence, rounded up to a multiple of this, but
                not beyond ``max_length``.
            width: sets T instead, at least the length of the longest sequence; one number, or one per
                sequence by name.
            size: pad the batch to B rows with empty rows (mask all 0), for one static shape.
        Returns:
            ``input_ids``, ``token_type_ids`` and ``attention_mask``, int32 [B, T], and the further columns,
            int32 [B, T, ...]; those of all sequences but the first as ``TEXT/NAME``, with a T of their own.
        Raises:
            ValueError: ``width`` or ``size`` is too small.
        """

        def rounded(longest: int) -> int:
            return batch_width(longest, self.max_length, multiple=pad_to_multiple)

        if width is None:
            width = self.widths(rows, rounded)
        elif not isinstance(width, Mapping):
            width = dict.fromkeys(self.sequences, width)
        size = len(rows) if size is None else size
        return {
            key(name, column): array
            for name, sequence in self.sequences.items()
            for column, array in sequence.batch(rows, width[name], size).items()
        }


def _write(
    directory: Path,
    examples: Sequence[Example],
    encode: Encode,
    align: Optional[Align],
    max_length: int,
    special: int,
    further_texts: Sequence[str],
    identity: _Identity,
    see: Optional[See],
) -> dict[str, Any]:
    """Write all sequences, and return their entry for the card."""
    cut = first = 0
    cut_texts = np.zeros(2, np.int64)
    writers: dict[str, SequenceWriter] = {}
    with (
        contextlib.ExitStack() as files,
        progress("tokenising", len(examples), note="compiling the tokenizer") as step,
    ):

        def begin(names: Sequence[str]) -> None:
            for name in names:
                (directory / name).mkdir()
                writers[name] = SequenceWriter(directory / name, len(examples), files)

        for piece in _pieces(examples):
            identity.add(piece)
            if see is not None:
                see(piece)
            for batch in _encoding_batches(piece):
                rows = [piece[row] for row in batch]
                encoded = encode(texts_of_rows(rows, further_texts), max_length)
                own = divided(encoded, texts_of(encoded))
                if not writers:
                    begin(list(own))
                targets: Mapping[str, np.ndarray] = {} if align is None else align(rows, encoded)
                shares = divided(targets, list(writers))
                for name, writer in writers.items():
                    writer.write(first + batch, own[name], shares[name])
                cut += int(np.count_nonzero(sum(np.asarray(some.get("cut", 0)) for some in own.values())))
                cut_texts += count_cut_texts(encoded) or (0, 0)
                step.advance(len(batch))
            first += len(piece)
        if not writers:  # no rows
            begin([TEXT])
        counted = {"cut_texts": cut_texts.tolist()} if cut_texts.any() else {}
        sequences = {name: writer.card(special) for name, writer in writers.items()}
        return {"cut": cut, **counted, "sequences": sequences}


def count_cut_texts(encoded: Mapping[str, Any]) -> Optional[tuple[int, int]]:
    """The number of rows with a truncated first text, and with a truncated second one; None if the tokenizer
    does not count them.
    """
    if "cut_pair" not in encoded:
        return None
    of_pair = np.asarray(encoded["cut_pair"])
    of_first = np.asarray(encoded["cut"]) - of_pair
    return int(np.count_nonzero(of_first)), int(np.count_nonzero(of_pair))


def texts_of_rows(rows: Sequence[Example], further_texts: Sequence[str]) -> dict[str, list[str]]:
    """The texts of some rows by name; all rows have a ``text_pair`` or none."""
    texts = {TEXT: [example.text for example in rows]}
    if rows[0].text_pair is not None:
        texts[TEXT_PAIR] = [example.text_pair or "" for example in rows]
    for name in further_texts:
        texts[name] = [example.further_texts.get(name, "") for example in rows]
    return texts


def _encoding_batches(examples: Sequence[Example]) -> Iterator[np.ndarray]:
    """Row numbers by length of text, so that the tokenizer's padded batches are small."""
    characters = np.fromiter(
        (sum(map(len, example.texts.values())) for example in examples), np.int64, len(examples)
    )
    order = np.argsort(characters, kind="stable")
    start = 0
    while start < len(order):
        budget = np.cumsum(characters[order[start : start + ENCODE_ROWS]])
        rows = max(1, int(np.searchsorted(budget, ENCODE_CHARACTERS, side="right")))
        yield order[start : start + rows]
        start += rows


class _Identity:
    """The sha256 of everything that determines the tokens, and perhaps their targets.

    The arguments are those of :meth:`TokenCache.build`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        max_length: int,
        fingerprint: str,
        further_texts: Sequence[str],
        *,
        targets: bool,
    ) -> None:
        self._digest = hashlib.sha256(
            json.dumps([FORMAT, max_length, fingerprint, list(further_texts), len(examples)]).encode()
        )
        self._targets, self._further = targets, further_texts

    def add(self, examples: Sequence[Example]) -> None:
        """The next rows."""
        digest = self._digest
        for example in examples:
            if self._targets:
                row = [example.label, example.weight, example.group, dict(example.columns)]
                digest.update(json.dumps(row).encode() + b"\n")
            further = (example.further_texts.get(name) for name in self._further)
            for text in (example.text, example.text_pair, *further):
                data = b"" if text is None else text.encode("utf-8", "surrogatepass")
                # Lengths first: "ab", "c" is not "a", "bc", and no pair is not an empty one.
                digest.update((-1 if text is None else len(data)).to_bytes(8, "little", signed=True) + data)

    def hexdigest(self) -> str:
        """Of the rows so far."""
        return self._digest.hexdigest()


def _pieces(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Chunks of rows, in order, that fit into memory; each row is read once."""
    piece: list[Example] = []
    characters = 0
    for example in examples:
        piece.append(example)
        characters += sum(map(len, example.texts.values()))
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
        complete = all(
            is_complete(directory / name, own, card["rows"]) for name, own in card["sequences"].items()
        )
        readable = card["format"] == FORMAT and TEXT in card["sequences"] and card["cut"] >= 0
        return card if complete and readable and isinstance(card["max_length"], int) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it does not exist or is not a token cache, so it is built again
