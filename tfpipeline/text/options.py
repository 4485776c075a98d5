"""The options of a tokenizer besides its vocabulary; imports no framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfpipeline.errors import UserError
from tfpipeline.text.template import BERT, Template

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
_ADDED_TOKENS = "added_tokens_decoder"
# Our own key, which transformers ignores: it recognises these tokens by their absence from vocab.txt.
OUTSIDE = "outside_vocabulary"
# Also our own key, written only if the special tokens of a row are not BERT's.
TEMPLATE = "special_tokens_template"
_FLAGS = {"lowercase": (bool,), "strip_accents": (bool, type(None)), "tokenize_chinese_chars": (bool,)}


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text before the text is split into words, like transformers'
    ``AddedToken``.

    Attributes:
        content: the token.
        normalized: search for it in the normalised text (the token is normalised too), after all tokens that
            are searched for in the original text.
        single_word: it only matches where no letter, digit, mark or underscore touches it.
        lstrip, rstrip: it includes the white space next to it; this changes no token.
        special: transformers leaves it out of decoded text; here it is only stored.
        in_vocabulary: it is also a word or a piece of the WordPiece vocabulary. Otherwise, as for a token
            appended by transformers' ``add_tokens``, it is matched as an added token only, never as a part of
            a word.
    """

    content: str
    normalized: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    special: bool = True
    in_vocabulary: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether it has the default options of a special token that is given by its text only."""
        return self == AddedToken(self.content)

    @classmethod
    def from_dict(cls, value: Any, special: bool = False) -> AddedToken:
        """Read one of ``added_tokens_decoder``, ``added_tokens`` or ``special_tokens_map.json``.

        Args:
            value: a mapping with ``content``.
            special: whether it is special if the mapping does not say so.
        Raises:
            UserError: it is not such a mapping, or an option is neither true nor false.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("content"), str):
            raise UserError(f"an added token is {value!r}; each must be a mapping with content")
        if not value["content"]:
            raise UserError("an added token is empty; take it out")
        special = value.get("special", special)
        flags = {"normalized": not special, "single_word": False, "lstrip": False, "rstrip": False}
        flags = {**flags, "special": special}
        for flag, default in flags.items():
            flags[flag] = value.get(flag, default)
            if not isinstance(flags[flag], bool):
                raise UserError(
                    f'added token "{value["content"]}": {flag} is {flags[flag]!r}; it must be true or false'
                )
        return cls(value["content"], **flags)

    def to_dict(self) -> dict[str, Any]:
        """The mapping that transformers writes; it does not include ``in_vocabulary``."""
        values = dataclasses.asdict(self)
        del values["in_vocabulary"]
        return values


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
        added_tokens: tokens with matching options of their own, each in the vocabulary; they may be among the
            tokens above.
        template: the positions of special tokens in a row.

    Special tokens are recognised anywhere in the text, before it is normalised.
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
    added_tokens: tuple[AddedToken, ...] = ()
    template: Template = BERT

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
        object.__setattr__(self, "added_tokens", tuple(self.added_tokens))

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

    @property
    def found_tokens(self) -> tuple[AddedToken, ...]:
        """All tokens that are searched for in texts, with their options, each once."""
        tokens = {token: AddedToken(token) for token in self.all_special_tokens}
        return tuple({**tokens, **{token.content: token for token in self.added_tokens}}.values())

    @property
    def outside_vocabulary(self) -> tuple[str, ...]:
        """The added tokens that are not words or pieces of the WordPiece vocabulary; they still have ids."""
        return tuple(token.content for token in self.added_tokens if not token.in_vocabulary)

    def to_dict(self, vocabulary: Sequence[str] = ()) -> dict[str, Any]:
        """The options under the keys of ``tokenizer_config.json``; :meth:`from_dict` reads them back.

        ``additional_special_tokens`` is the key that all versions of transformers read.

        Args:
            vocabulary: the tokens in the order of their ids; needed if there are added tokens.
        """
        values = {key: getattr(self, field) for key, field in _KEYS.items() if field != "special_tokens"}
        values["additional_special_tokens"] = list(self.special_tokens)
        if self.added_tokens:
            ids = {token: number for number, token in enumerate(vocabulary)}
            values[_ADDED_TOKENS] = {str(ids[token.content]): token.to_dict() for token in self.added_tokens}
        if self.outside_vocabulary:
            values[OUTSIDE] = list(self.outside_vocabulary)
        if self.template != BERT:
            values[TEMPLATE] = self.template.to_dict()
        return {**values, "tokenizer_class": "BertTokenizer"}

    @classmethod
    def from_dict(
        cls, config: Mapping[str, Any], *, source: str = "tokenizer_config.json"
    ) -> TokenizerOptions:
        """Read the keys of a ``tokenizer_config.json``; keys that do not concern WordPiece are ignored.

        Args:
            config: the file's contents. A token may be a string or a mapping with ``content``.
            source: the file's name, for the error.
        Raises:
            UserError: a value of the wrong type.
        """
        try:
            return cls(**_fields(config))
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`TokenizerOptions` that a configuration gives."""
    values: dict[str, Any] = {}
    # Tokens may have any name, such as eos_token. A value that is neither a text nor a mapping is a switch,
    # such as add_bos_token.
    tokens = {key: config[key] for key in config if str(key).endswith("_token")}
    special = [
        token
        for key, token in tokens.items()
        if key not in _STANDARD_TOKENS and isinstance(token, (str, Mapping)) and token
    ]
    for key, field in _KEYS.items():
        if key not in config:
            continue
        value = config[key]
        if field == "special_tokens":
            special += _listed(key, value)
        elif field in _FLAGS:
            values[field] = value
        elif value is not None or field == "mask_token":
            values[field] = _content(value)
    if config.get(TEMPLATE) is not None:
        values["template"] = Template.from_dict(config[TEMPLATE])
    decoder = config.get(_ADDED_TOKENS) or {}
    if not isinstance(decoder, Mapping):
        raise UserError(f"{_ADDED_TOKENS} is {decoder!r}; it must be a mapping from ids to tokens")
    # Options given there take precedence over options given where the token is named.
    named = [*special, *tokens.values()]
    added = {
        token.content: token
        for token in (
            *(AddedToken.from_dict(one, special=True) for one in named if isinstance(one, Mapping)),
            *map(AddedToken.from_dict, decoder.values()),
        )
    }
    standard = {values.get(name, getattr(TokenizerOptions, name)) for name in _STANDARD_TOKENS}
    names = [*map(_content, special), *(token.content for token in added.values() if token.special)]
    values["special_tokens"] = tuple(
        token for token in dict.fromkeys(names) if token is None or token not in standard
    )
    for token in _outside(config):
        # Without the unknown token transformers' WordPiece vocabulary would not work.
        if token == values.get("unk_token", TokenizerOptions.unk_token):
            continue
        if token not in added and token not in standard and token not in values["special_tokens"]:
            raise UserError(f"{OUTSIDE} names {token!r}, which is not an added token; take it out")
        added[token] = dataclasses.replace(added.get(token, AddedToken(token)), in_vocabulary=False)
    values["added_tokens"] = tuple(token for token in added.values() if not token.is_plain)
    return values


def _outside(config: Mapping[str, Any]) -> list[str]:
    tokens = config.get(OUTSIDE) or []
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{OUTSIDE} is {tokens!r}; it must be a list of tokens")
    return tokens


def _listed(key: str, value: Any) -> list[Any]:
    """A list of special tokens; transformers 5 may give each a name."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if value is None:
        value = []
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"{key} is {value!r}; it must be a list of tokens")
    return list(value)


def infer_lowercase(vocabulary: Sequence[str]) -> bool:
    """Whether a checkpoint that does not specify its case is uncased.

    A vocabulary with cased words is cased, because a lower-casing tokenizer could never produce them. Special
    tokens in brackets do not count, nor do single letters, which some uncased vocabularies contain by
    accident.

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


def _check_token(name: str, token: Any) -> None:
    if not isinstance(token, str) or not token:
        raise UserError(
            f"tokenizer option {name} is {token!r}; it must be a token, a string that is not empty"
        )
