"""Reading ``vocab.txt``, and the tables of prefixes that the longest match searches in; no framework."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Union

from tfpipeline import paths
from tfpipeline.console import plural
from tfpipeline.errors import UserError
from tfpipeline.text.options import TokenizerOptions

CONTINUATION = "##"
# A longer word is unknown; characters after normalisation (tokenizers' default, as in BERT's own code).
LONGEST_WORD = 100
_BOM, _BLANKS = "\ufeff", " \t"
# A special token with blanks around it, at one side at least.
_SPECIAL = re.compile(r"[ \t]*\[(PAD|UNK|CLS|SEP|MASK)\][ \t]*")


def load_vocabulary(path: Union[str, Path]) -> tuple[str, ...]:
    """Read a vocabulary file; see :func:`read_vocabulary`."""
    return read_vocabulary(path)[0]


def read_vocabulary(path: Union[str, Path]) -> tuple[tuple[str, ...], list[str]]:
    """Read a vocabulary file, one token per line, UTF-8. A token's id is its line number, counted from 0.

    As in transformers, only line ends are removed (of Unix, Windows or old Macs), an empty line keeps its id
    (and matches nothing), and if a token occurs twice, the last one counts. Real checkpoints have both, and
    ids must not change. Unlike transformers, this function removes a byte order mark, which would spoil the
    first token. If there are blanks around [PAD] and other special tokens, the file was damaged after
    training, and blanks are removed from all lines.

    Args:
        path: a ``vocab.txt``, or its folder.
    Returns:
        The tokens in the order of their ids, and notes about decisions, for the user.
    Raises:
        UserError: the file does not exist, cannot be read, is not UTF-8, or is empty.
    """
    path = paths.local(path)
    if path.is_dir():
        path = path / "vocab.txt"
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"no vocabulary at {path}; give the checkpoint's vocab.txt") from error
    except OSError as error:
        raise UserError(f"cannot read the vocabulary {path}: {error.strerror}; check the path") from error
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path} is UTF-16; save it as UTF-8, one token per line")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: not UTF-8 (byte {raw[error.start]:#04x}); a vocabulary holds one token per line "
            "in UTF-8"
        ) from error
    notes = []
    if text.startswith(_BOM):
        text = text.removeprefix(_BOM)
        notes.append(f"{path.name} begins with a byte order mark, which was cut off")
    # Universal newlines and nothing else: U+2028 or U+0085 are tokens in some vocabularies.
    tokens = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if tokens[-1] == "":
        tokens.pop()
    if not tokens:
        raise UserError(f"{path} is empty; a vocabulary holds one token per line")
    blanks = [line for line, token in enumerate(tokens, 1) if token != token.strip(_BLANKS)]
    if any(_SPECIAL.fullmatch(tokens[line - 1]) for line in blanks):
        tokens = [token.strip(_BLANKS) for token in tokens]
        notes.append(
            f"{len(blanks)} {plural(len(blanks), 'line')} of {path.name} "
            f"{plural(len(blanks), 'begins or ends', 'begin or end')} with "
            "blanks, which were cut off"
        )
    elif blanks:
        notes.append(
            f"{len(blanks)} {plural(len(blanks), 'token')} of {path.name} "
            f"{plural(len(blanks), 'begins or ends', 'begin or end')} with "
            f"blanks and {plural(len(blanks), 'matches', 'match')} nothing, as in transformers, "
            f"{plural(len(blanks), 'in', 'the first in')} "
            f"line {blanks[0]}"
        )
    return tuple(tokens), notes


def token_ids(vocabulary: Sequence[str]) -> dict[str, int]:
    """Token -> id; the last one if a token occurs twice."""
    return {token: i for i, token in enumerate(vocabulary)}


def special_ids(ids: Mapping[str, int], options: TokenizerOptions) -> dict[str, int]:
    """The id of every special and added token.

    Raises:
        UserError: some are not in the vocabulary; the message lists all of them.
    """
    tokens = [token.content for token in options.found_tokens]
    missing = [token for token in tokens if token not in ids]
    if missing:
        raise UserError(
            f"the vocabulary of {len(ids)} tokens lacks {', '.join(missing)}; use the checkpoint's own "
            "vocab.txt, or name its special tokens in tokenizer_config.json"
        )
    return {token: ids[token] for token in tokens}


def special_token_ids(vocabulary: Sequence[str], options: TokenizerOptions) -> list[int]:
    """The ids of the special tokens, as in transformers' ``all_special_ids``; these include [UNK]."""
    special = set(options.all_special_tokens)
    return [number for number, token in enumerate(vocabulary) if token in special]


def ordinary_token_ids(vocabulary: Sequence[str], options: TokenizerOptions) -> list[int]:
    """The ids of all other tokens."""
    special = set(options.all_special_tokens)
    return [number for number, token in enumerate(vocabulary) if token not in special]


def prefix_tables(
    ids: Mapping[str, int], reachable: Callable[[str], bool]
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """For each prefix of a token, the longest token that is a prefix of it.

    With these tables, a binary search over lengths finds the longest token at a position: the set is closed
    under prefixes, so the longest prefix in the table gives the token.

    Args:
        ids: token -> id.
        reachable: whether a text can be a word or a part of one. Unreachable tokens would only let the search
            run past the end of a word.
    Returns:
        Two tables, for the start of a word and for its continuation (without ``##``), from UTF-8 prefix to
        ``length << 32 | id`` of that token, its length in bytes; 0 where no token is a prefix.
    """
    encoded: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
    for token, i in ids.items():
        # No word begins with "##", because '#' is a word of its own.
        continues = token.startswith(CONTINUATION) and len(token) > len(CONTINUATION)
        text = token[len(CONTINUATION) :] if continues else token
        if text and len(text) <= LONGEST_WORD and reachable(text):
            try:
                encoded[continues][text.encode("utf-8")] = i
            except UnicodeEncodeError as error:
                raise UserError(
                    f"token {i} of the vocabulary, {token!r}, holds a surrogate; it is not valid Unicode text"
                ) from error
    return prefixes(encoded[0]), prefixes(encoded[1])


def prefixes(tokens: Mapping[bytes, int]) -> dict[bytes, int]:
    """Every prefix of a token -> the longest token within it, as ``length << 32 | id``; 0 for none."""
    table = {}
    for key in tokens:
        longest = 0
        for end in range(1, len(key) + 1):
            prefix = key[:end]
            i = tokens.get(prefix, -1)
            if i >= 0:
                longest = end << 32 | i
            table[prefix] = longest
    return table
