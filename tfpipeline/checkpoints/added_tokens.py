"""Added tokens and their ids, from any of the tokenizer's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints.files import TOKENIZER_CONFIG
from tfpipeline.errors import UserError
from tfpipeline.text import AddedToken
from tfpipeline.text.vocabulary import token_ids

TOKENIZER = "tokenizer.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
# Files that describe a tokenizer in more detail than its vocabulary.
FILES = (TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS)


class AddedTokens:
    """The tokens to which files give an id in addition to the vocabulary.

    Attributes:
        ids: token -> id.
        options: token -> how it is matched, if a file says so.
    """

    def __init__(self, directory: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
        self._directory = directory
        self.ids: dict[str, int] = {}
        self.options: dict[str, AddedToken] = {}
        self._from: dict[str, str] = {}
        decoder = files.get(TOKENIZER_CONFIG, {}).get("added_tokens_decoder") or {}
        entries = decoder.items() if isinstance(decoder, Mapping) else ()
        self._take(TOKENIZER_CONFIG, [(key, value) for key, value in entries])
        fast = files.get(TOKENIZER, {}).get("added_tokens") or []
        self._take(
            TOKENIZER, [(value.get("id") if isinstance(value, Mapping) else None, value) for value in fast]
        )
        for token, number in files.get(ADDED_TOKENS, {}).items():
            self._place(token, number, ADDED_TOKENS)

    def _take(self, name: str, entries: Sequence[tuple[Any, Any]]) -> None:
        for number, value in entries:
            try:
                token = AddedToken.from_dict(value)
            except UserError as error:
                raise UserError(f"{self._directory / name}: {error}") from error
            self._place(token.content, number, name)
            self.options.setdefault(token.content, token)

    def _place(self, token: str, number: Any, name: str) -> None:
        where = self._directory / name
        try:
            number = int(number)
        except (TypeError, ValueError):
            number = -1
        if number < 0 or not token:
            raise UserError(
                f'{where}: the id of the added token "{token}" is not a number from 0; correct it'
            )
        if self.ids.setdefault(token, number) != number:
            raise UserError(
                f'{where} gives the added token "{token}" the id {number}, but {self._from[token]} '
                f"{self.ids[token]}; remove the file that does not belong to the checkpoint"
            )
        self._from.setdefault(token, name)

    def extend(self, vocabulary: list[str]) -> list[str]:
        """The vocabulary with these tokens at their ids.

        Raises:
            UserError: an id belongs to another token, or ids are skipped.
        """
        ids = token_ids(vocabulary)
        vocabulary = list(vocabulary)
        for token, number in sorted(self.ids.items(), key=lambda item: item[1]):
            where = self._directory / self._from[token]
            if number > len(vocabulary):
                raise UserError(
                    f'{where} gives the added token "{token}" the id {number}, but no file has a token '
                    f"{len(vocabulary)}; "
                    "copy all of the tokenizer's files"
                )
            if ids.get(token, number) != number:
                raise UserError(
                    f'{where} gives the added token "{token}" the id {number}, but the vocabulary '
                    f"{ids[token]}; remove the file that does not belong to the checkpoint"
                )
            if number == len(vocabulary):
                vocabulary.append(token)
                ids[token] = number
            elif vocabulary[number] != token:
                raise UserError(
                    f'{where} gives the added token "{token}" the id {number}, which is that of '
                    f'"{vocabulary[number]}"; remove the file that does not belong to the checkpoint'
                )
        return vocabulary
