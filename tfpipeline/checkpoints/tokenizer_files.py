"""The tokenizer's files of a checkpoint: vocabulary, options, special and added tokens.

Source: transformers, ``tokenization_utils_base.py``, ``_from_pretrained``. Over the years it has stored the
same information in these files, any of which may be missing:

    vocab.txt                the vocabulary
    tokenizer.json           the vocabulary, the whole pipeline, and ``added_tokens`` with ids and options
                             (since 2020)
    tokenizer_config.json    options, names of special tokens, ``added_tokens_decoder`` with ids and options
                             (since 2023)
    special_tokens_map.json  names of special tokens, perhaps with options (until 2025)
    added_tokens.json        ids of tokens outside the vocabulary (until 2023)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints import tokenizer_kinds as kinds
from tfpipeline.checkpoints.added_tokens import (
    FILES,
    SPECIAL_TOKENS_MAP,
    TOKENIZER,
    AddedTokens,
)
from tfpipeline.checkpoints.files import TOKENIZER_CONFIG, VOCABULARY, read_json, write_vocabulary
from tfpipeline.errors import UserError
from tfpipeline.text import AddedToken, TokenizerOptions, infer_lowercase
from tfpipeline.text.options import OUTSIDE
from tfpipeline.text.vocabulary import read_vocabulary, token_ids

_FLAGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def read_tokenizer(
    directory: Path, notes: list[str], *, rows: int, named: Any = None
) -> tuple[tuple[str, ...], TokenizerOptions]:
    """Read the vocabulary and options from a directory's tokenizer files.

    Special and added tokens are read with their ids from any file that has them.

    Args:
        directory: with the files.
        notes: decisions are appended to it.
        rows: number of word embeddings. Special tokens without an id in any file get the next ids while there
            are rows for them, as in transformers.
        named: the tokenizer class named in ``config.json``; ``tokenizer_config.json`` takes precedence.
    Raises:
        UserError: a file is missing or malformed, the tokenizer is not BERT's, or files contradict each
            other.
    """
    files = {name: read_json(directory / name) for name in FILES if (directory / name).exists()}
    config, fast = files.get(TOKENIZER_CONFIG, {}), files.get(TOKENIZER, {})
    config_path = directory / (TOKENIZER_CONFIG if config.get("tokenizer_class") else "config.json")
    kind = kinds.class_of(config.get("tokenizer_class") or named, config_path)
    kinds.refuse_options(config, directory / TOKENIZER_CONFIG)
    normalizer = kinds.read_pipeline(fast, directory / TOKENIZER) if fast else {}
    base = _read_base(directory, fast, notes)
    added = AddedTokens(directory, files)
    # If there are both, transformers takes the vocabulary of tokenizer.json.
    merged = _merged(files, added, set(fast["model"]["vocab"] if fast else base))
    merged.update(_flags(config, normalizer, kind, TOKENIZER_CONFIG in files, base, notes))
    source = next((name for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, TOKENIZER) if name in files), "")
    options = TokenizerOptions.from_dict(merged, source=str(directory / (source or VOCABULARY)))
    vocabulary = added.extend(base)
    while len(vocabulary) > rows and vocabulary[-1] == "":
        vocabulary.pop()  # empty lines at the end of the file, which match nothing
    tokens, options = _with_new_ids(tuple(vocabulary), options, rows, notes)
    if fast:
        kinds.refuse_other_frames(fast, directory / TOKENIZER, kind, tokens, options)
    return tokens, options


def _read_base(directory: Path, fast: Mapping[str, Any], notes: list[str]) -> list[str]:
    """The vocabulary without added tokens, from ``vocab.txt`` or ``tokenizer.json``; both if both exist.

    Raises:
        UserError: neither exists, they contradict each other, or the vocabulary is another tokenizer's.
    """
    path, fast_path = directory / VOCABULARY, directory / TOKENIZER
    if not path.exists() and not fast:
        kinds.refuse_files(directory)
    if not path.exists() and fast:
        vocabulary = _vocabulary(fast["model"]["vocab"], fast_path)
        kinds.refuse_marks(vocabulary, fast_path)
        return vocabulary
    tokens, found_notes = read_vocabulary(path)
    notes += found_notes
    kinds.refuse_marks(tokens, path)
    theirs = {number: token for token, number in fast["model"]["vocab"].items()} if fast else {}
    if not all(isinstance(number, int) for number in theirs):
        raise UserError(f"{fast_path}: the ids of its vocabulary are not all numbers; copy it again")
    for number, token in enumerate(tokens):
        if theirs.get(number, token) != token:
            raise UserError(
                f"{path.name} and {TOKENIZER} in {directory} contradict each other: token {number} is "
                f"{token!r} in one and {theirs[number]!r} in the other; remove the one that does not belong "
                f"to the checkpoint"
            )
    if theirs and max(theirs) >= len(tokens):
        raise UserError(
            f"{path} has {len(tokens)} tokens, but {TOKENIZER} {max(theirs) + 1}; remove the one that does "
            "not belong to the checkpoint"
        )
    return list(tokens)


def _vocabulary(ids: Mapping[str, Any], path: Path) -> list[str]:
    """The tokens of a ``tokenizer.json``, in the order of their ids."""
    tokens = {number: token for token, number in ids.items() if isinstance(number, int)}
    if sorted(tokens) != list(range(len(ids))):
        raise UserError(
            f"{path}: the ids of its vocabulary are not 0 to {len(ids) - 1}, each once; copy it again"
        )
    return [tokens[number] for number in range(len(tokens))]


def _merged(
    files: Mapping[str, Mapping[str, Any]], added: AddedTokens, pieces: Collection[str]
) -> dict[str, Any]:
    """The contents of all files, merged into one ``tokenizer_config.json``.

    Args:
        files: contents by file name.
        added: added tokens and their ids.
        pieces: the WordPiece vocabulary; an added token that is not in it is matched as an added token only.
    """
    config, names = files.get(TOKENIZER_CONFIG, {}), files.get(SPECIAL_TOKENS_MAP, {})
    # transformers reads the map only if the configuration has no added tokens; then the map takes precedence.
    merged = {**names, **config} if config.get("added_tokens_decoder") else {**config, **names}
    model = files.get(TOKENIZER, {}).get("model")
    if isinstance(model, dict) and isinstance(model.get("unk_token"), str):
        merged.setdefault("unk_token", model["unk_token"])
    special: list[Any] = []
    for values in (config, names):
        for key in ("extra_special_tokens", "additional_special_tokens"):
            value = values.get(key) or []
            if isinstance(value, Mapping):
                value = list(value.values())
            if not isinstance(value, list):
                raise UserError(f"{key} of the tokenizer's files is {value!r}; it must be a list of tokens")
            special += [token for token in value if token not in special]
    merged.pop("extra_special_tokens", None)
    merged["additional_special_tokens"] = special
    named = [*special, *(value for key, value in merged.items() if str(key).endswith("_token"))]
    contents = {token.get("content") if isinstance(token, Mapping) else token for token in named if token}
    options = {}
    for token, number in sorted(added.ids.items(), key=lambda item: item[1]):
        is_special = token in contents
        if token in added.options:
            options[str(number)] = added.options[token].to_dict()
        elif not is_special:  # special tokens keep the options they are named with
            options[str(number)] = {"content": token, "special": False, "normalized": True}
    merged["added_tokens_decoder"] = options
    outside = [token for token in added.ids if token not in pieces]
    listed = config.get(OUTSIDE, [])
    merged[OUTSIDE] = [*outside, *listed] if isinstance(listed, list) else listed
    return merged


def _flags(
    config: Mapping[str, Any],
    normalizer: Mapping[str, Any],
    kind: str,
    has_config: bool,
    vocabulary: Sequence[str],
    notes: list[str],
) -> dict[str, Any]:
    """The normalisation options, under the keys of ``tokenizer_config.json``."""
    silent = {key: normalizer[theirs] for key, theirs in _FLAGS.items() if theirs in normalizer}
    explicit = {key: config[key] for key in _FLAGS if key in config}
    if kinds.is_generic(kind) and silent:
        return silent
    used = [key for key in silent if key not in explicit]
    if used and not has_config:
        notes.append(f"no {TOKENIZER_CONFIG}; the tokenizer's options are those of {TOKENIZER}")
    elif used:
        notes.append(f"{', '.join(used)}: those of {TOKENIZER}, as {TOKENIZER_CONFIG} does not say")
    flags = {**silent, **explicit}
    if "do_lower_case" not in flags:
        lowercase = infer_lowercase(vocabulary)
        if not has_config:
            flags["do_lower_case"] = lowercase
            case = "uncased: it has no" if lowercase else "cased: it has"
            notes.append(f"no {TOKENIZER_CONFIG}; the vocabulary is {case} upper-case words")
        elif not lowercase:
            notes.append(
                f"{TOKENIZER_CONFIG} does not say do_lower_case: it is true, as in transformers, although "
                f"the vocabulary has upper-case words"
            )
    return flags


def _with_new_ids(
    vocabulary: tuple[str, ...], options: TokenizerOptions, rows: int, notes: list[str]
) -> tuple[tuple[str, ...], TokenizerOptions]:
    """Give the next ids to special tokens without an id in any file, while the embeddings have rows for them.

    They become added tokens outside the WordPiece vocabulary. Added tokens are sorted by id.
    """
    there = set(vocabulary)
    new = [token for token in options.special_tokens if token not in there]
    taken, left = new[: max(0, rows - len(vocabulary))], new[max(0, rows - len(vocabulary)) :]
    if taken:
        notes.append(
            f"special tokens without an id got the next ones, from {len(vocabulary)} on: {', '.join(taken)}"
        )
    if left:
        notes.append(
            f"special tokens without an id, and without a row of the embeddings, were left out: "
            f"{', '.join(left)}"
        )
        options = dataclasses.replace(
            options,
            special_tokens=tuple(token for token in options.special_tokens if token not in left),
            added_tokens=tuple(token for token in options.added_tokens if token.content not in left),
        )
    added = {token.content: token for token in options.added_tokens}
    for token in taken:
        added[token] = dataclasses.replace(added.get(token, AddedToken(token)), in_vocabulary=False)
    vocabulary = (*vocabulary, *taken)
    ids = token_ids(vocabulary)
    tokens = sorted(added.values(), key=lambda token: ids.get(token.content, len(ids)))
    return vocabulary, dataclasses.replace(options, added_tokens=tuple(tokens))


def write_tokenizer(directory: Path, vocabulary: Sequence[str], options: TokenizerOptions) -> list[str]:
    """Write ``vocab.txt`` and ``tokenizer_config.json`` in the form that transformers reads; returns notes.

    Added tokens outside the WordPiece vocabulary are left out at the end of ``vocab.txt``, because
    transformers would treat them as pieces of words; it gives them the following ids. If other tokens come
    after them, or a token occurs twice, only a complete ``vocab.txt`` preserves the ids.

    Raises:
        UserError: a token cannot be written as a line of ``vocab.txt``.
    """
    outside = set(options.outside_vocabulary)
    count = len(vocabulary)
    while count and vocabulary[count - 1] in outside:
        count -= 1
    if len(set(vocabulary[:count])) < count:  # transformers counts distinct tokens
        count = len(vocabulary)
    write_vocabulary(directory / VOCABULARY, vocabulary[:count])
    (directory / TOKENIZER_CONFIG).write_text(
        json.dumps(options.to_dict(vocabulary), indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    kept = pieces_in_file(vocabulary[:count], options)
    if not kept:
        return []
    return [
        f"transformers finds the added tokens {', '.join(kept)} within words as well: because of their ids "
        f"they have to be in {VOCABULARY}"
    ]


def pieces_in_file(tokens: Sequence[str], options: TokenizerOptions) -> list[str]:
    """The tokens of a ``vocab.txt`` that are outside the WordPiece vocabulary; transformers cannot tell them
    apart.
    """
    outside = set(options.outside_vocabulary)
    return [token for token in tokens if token in outside]
