"""What a tokenizer needs to know beside its vocabulary; no framework is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfpipeline.errors import UserError

# Hugging Face's tokenizer_config.json -> our field. transformers 5 writes "extra_special_tokens",
# earlier versions "additional_special_tokens".
_KEYS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "tokenize_chinese_chars",
    "unk_token": "unk_token",
    "sep_token": "sep_token",
    "pad_token": "pad_token",
    "cls_token": "cls_token",
    "mask_token": "mask_token",
    "extra_special_tokens": "special_tokens",
    "additional_special_tokens": "special_tokens",
}
_STANDARD_TOKENS = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = {"lowercase": (bool,), "strip_accents": (bool, type(None)), "tokenize_chinese_chars": (bool,)}


@dataclasses.dataclass(frozen=True)
class TokenizerOptions:
    """How text is normalised and which tokens are special.

    Attributes:
        lowercase: lower-case the text.
        strip_accents: decompose (NFD) and drop non-spacing marks; None means "as ``lowercase``".
        tokenize_chinese_chars: make every Chinese character a word of its own.
        unk_token, sep_token, pad_token, cls_token: must be in the vocabulary.
        mask_token: must be in the vocabulary, or None for a vocabulary without one.
        special_tokens: further tokens that are never split, each in the vocabulary.

    Special tokens are recognised in the text before anything is normalised, wherever they stand.
    """

    lowercase: bool = True
    strip_accents: Optional[bool] = None
    tokenize_chinese_chars: bool = True
    unk_token: str = "[UNK]"
    sep_token: str = "[SEP]"
    pad_token: str = "[PAD]"
    cls_token: str = "[CLS]"
    mask_token: Optional[str] = "[MASK]"
    special_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the types; raises UserError naming the field."""
        for name, types in _FLAGS.items():
            value = getattr(self, name)
            if not isinstance(value, types):
                expected = "true, false or null" if type(None) in types else "true or false"
                raise UserError(f"tokenizer option {name} is {value!r}; it must be {expected}")
        if isinstance(self.special_tokens, str) or not isinstance(self.special_tokens, Sequence):
            raise UserError(
                f"tokenizer option special_tokens is {self.special_tokens!r}; it must be a list of tokens"
            )
        object.__setattr__(self, "special_tokens", tuple(self.special_tokens))
        for name in _STANDARD_TOKENS:
            if name != "mask_token" or self.mask_token is not None:
                _check_token(name, getattr(self, name))
        for token in self.special_tokens:
            _check_token("special_tokens", token)

    @property
    def strips_accents(self) -> bool:
        """``strip_accents`` with None resolved."""
        return self.lowercase if self.strip_accents is None else self.strip_accents

    @property
    def all_special_tokens(self) -> tuple[str, ...]:
        """Every special token once, the five standard ones first."""
        standard = (self.unk_token, self.sep_token, self.pad_token, self.cls_token)
        mask = () if self.mask_token is None else (self.mask_token,)
        return tuple(dict.fromkeys((*standard, *mask, *self.special_tokens)))

    def to_dict(self) -> dict[str, Any]:
        """The options under the keys of ``tokenizer_config.json``; :meth:`from_dict` reads them back."""
        values = {
            key: getattr(self, field) for key, field in _KEYS.items() if key != "additional_special_tokens"
        }
        values["extra_special_tokens"] = list(self.special_tokens)
        return {**values, "tokenizer_class": "BertTokenizer"}

    @classmethod
    def from_dict(
        cls, config: Mapping[str, Any], *, source: str = "tokenizer_config.json"
    ) -> TokenizerOptions:
        """Read the keys of a ``tokenizer_config.json``; keys that do not concern WordPiece are passed over.

        Args:
            config: the file's contents. A token may be a string or a mapping with ``content``.
            source: the file's name, for the error.
        Raises:
            UserError: a value of the wrong type, or an added token that is found in text in a way of its own.
        """
        values: dict[str, Any] = {}
        for key, field in _KEYS.items():
            if key not in config:
                continue
            value = config[key]
            if field == "special_tokens":
                if isinstance(value, Mapping):  # transformers 5: a name for each
                    value = list(value.values())
                if value is None:
                    value = []
                if isinstance(value, str) or not isinstance(value, Sequence):
                    raise UserError(f"{source}: {key} is {value!r}; it must be a list of tokens")
                values[field] = (*values.get(field, ()), *(_content(token) for token in value))
            elif field in _FLAGS:
                values[field] = value
            elif value is not None or field == "mask_token":
                values[field] = _content(value)
        for added in (config.get("added_tokens_decoder") or {}).values():
            _check_added(added, source)
            values["special_tokens"] = (*values.get("special_tokens", ()), _content(added))
        if "special_tokens" in values:
            standard = {values.get(name, getattr(cls, name)) for name in _STANDARD_TOKENS}
            values["special_tokens"] = tuple(
                token
                for token in dict.fromkeys(values["special_tokens"])
                if token is None or token not in standard
            )
        try:
            return cls(**values)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


def infer_lowercase(vocabulary: Sequence[str]) -> bool:
    """Whether a checkpoint that says nothing about case is an uncased one.

    A vocabulary that holds cased words is cased: a lower-casing tokenizer could never reach them. Special
    tokens in brackets do not count, nor do single letters, which some uncased vocabularies carry by accident.

    Args:
        vocabulary: the tokens, in the order of their ids.
    """
    cased = 0
    for token in vocabulary:
        if token[:1] in "[<" and token[-1:] in "]>":
            continue
        word = token.removeprefix("##") if hasattr(token, "removeprefix") else token.replace("##", "", 1)
        cased += len(word) > 1 and word != word.lower()
    return cased <= 0.001 * len(vocabulary)


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, Mapping) else token


def _check_added(added: Any, source: str) -> None:
    """An entry of ``added_tokens_decoder`` that is no plain special token would be tokenised wrongly."""
    if not isinstance(added, Mapping) or not isinstance(added.get("content"), str):
        raise UserError(
            f"{source}: added_tokens_decoder holds {added!r}; each entry must be a mapping with content"
        )
    unusual = [flag for flag in ("lstrip", "rstrip", "single_word", "normalized") if added.get(flag)]
    if not added.get("special", False):
        unusual.append("special: false")
    if unusual:
        raise UserError(
            f"{source}: added token {added['content']!r} has {', '.join(unusual)}, which is not supported; "
            "make it a plain special token"
        )


def _check_token(name: str, token: Any) -> None:
    if not isinstance(token, str) or not token:
        raise UserError(
            f"tokenizer option {name} is {token!r}; it must be a token, a string that is not empty"
        )
