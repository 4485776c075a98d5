"""The tokenizer's files beside a checkpoint's weights: vocabulary, options, special and added tokens.

Source: transformers, ``tokenization_utils_base.py``, ``_from_pretrained``. Over the years it has written the
same in these files, of which any may be missing:

    vocab.txt                the vocabulary
    tokenizer.json           the same, the whole pipeline, and ``added_tokens`` with ids and options (since
    2020) tokenizer_config.json    options, names of special tokens, ``added_tokens_decoder`` with ids and
    options (since 2023) special_tokens_map.json  names of special tokens, perhaps with options (until 2025)
    added_tokens.json        ids of what is not in the vocabulary (until 2023)
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
    """Vocabulary and options from a directory's tokenizer files; what was decided goes into the notes.

    Special and added tokens are read by their ids from whichever file has them.

    Args:
        directory: with the files.
        notes: are added to.
        rows: of the word embeddings. Special tokens that no file gives an id get the next ones as long as
            there are rows, as in transformers.
        named: the tokenizer's class that ``config.json`` names; ``tokenizer_config.json``'s counts before it.
    Raises:
        UserError: a file is missing or broken, the tokenizer is another one than BERT's, or files contradict
            each other.
    """
    files = {name: read_json(directory / name) for name in FILES if (directory / name).exists()}
    config, fast = files.get(TOKENIZER_CONFIG, {}), files.get(TOKENIZER, {})
    config_path = directory / (TOKENIZER_CONFIG if config.get("tokenizer_class") else "config.json")
    kind = kinds.class_of(config.get("tokenizer_class") or named, config_path)
    kinds.refuse_options(config, directory / TOKENIZER_CONFIG)
    normalizer = kinds.read_pipeline(fast, directory / TOKENIZER) if fast else {}
    base = _read_base(directory, fast, notes)
    added = AddedTokens(directory, files)
    # Where there are both, transformers takes the vocabulary of tokenizer.json.
    merged = _merged(files, added, set(fast["model"]["vocab"] if fast else base))
    merged.update(_flags(config, normalizer, kind, TOKENIZER_CONFIG in files, base, notes))
    source = next((name for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, TOKENIZER) if name in files), "")
    options = TokenizerOptions.from_dict(merged, source=str(directory / (source or VOCABULARY)))
    vocabulary = added.extend(base)
    while len(vocabulary) > rows and vocabulary[-1] == "":
        vocabulary.pop()  # lines at the end of the file, which match nothing
    tokens, options = _with_new_ids(tuple(vocabulary), options, rows, notes)
    if fast:
        kinds.refuse_other_frames(fast, directory / TOKENIZER, kind, tokens, options)
    return tokens, options


def _read_base(directory: Path, fast: Mapping[str, Any], notes: list[str]) -> list[str]:
    """The vocabulary without added tokens: that of ``vocab.txt``, or of ``tokenizer.json``; where both are
    there, both.

    Raises:
        UserError: there is neither, or they contradict each other, or it is another tokenizer's.
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
                f"{token!r} in one and "
                f"{theirs[number]!r} in the other; take away the one that is not the checkpoint's"
            )
    if theirs and max(theirs) >= len(tokens):
        raise UserError(
            f"{path} has {len(tokens)} tokens, but {TOKENIZER} {max(theirs) + 1}; take away the one that is "
            f"not the "
            "checkpoint's"
        )
    return list(tokens)


def _vocabulary(ids: Mapping[str, Any], path: Path) -> list[str]:
    """The tokens of a ``tokenizer.json`` by id."""
    tokens = {number: token for token, number in ids.items() if isinstance(number, int)}
    if sorted(tokens) != list(range(len(ids))):
        raise UserError(
            f"{path}: the ids of its vocabulary are not 0 to {len(ids) - 1}, each once; copy it again"
        )
    return [tokens[number] for number in range(len(tokens))]


def _merged(
    files: Mapping[str, Mapping[str, Any]], added: AddedTokens, pieces: Collection[str]
) -> dict[str, Any]:
    """All that the files say, as one ``tokenizer_config.json``.

    Args:
        files: by name.
        added: tokens and their ids.
        pieces: the WordPiece vocabulary; an added token that is not in it is found as an added token only.
    """
    config, names = files.get(TOKENIZER_CONFIG, {}), files.get(SPECIAL_TOKENS_MAP, {})
    # transformers reads the map only where the configuration has no added tokens, and then it counts.
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
        elif not is_special:  # special ones are as they are named
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
    """How text is normalised, under ``tokenizer_config.json``'s keys."""
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
                f"{TOKENIZER_CONFIG} does not say do_lower_case: true, as in transformers, although the "
                f"vocabulary has "
                "upper-case words"
            )
    return flags


def _with_new_ids(
    vocabulary: tuple[str, ...], options: TokenizerOptions, rows: int, notes: list[str]
) -> tuple[tuple[str, ...], TokenizerOptions]:
    """Special tokens that no file gives an id get the next ones, as far as the embeddings have rows for them.

    They are added tokens then, not of the WordPiece vocabulary. Added tokens are sorted by id.
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
    """Write ``vocab.txt`` and ``tokenizer_config.json``, as transformers reads them; returns notes.

    Added tokens outside the WordPiece vocabulary are left out at the end of ``vocab.txt``, as transformers
    would take them for pieces of words; it gives them the ids that follow. Where other tokens come after
    them, or a token stands twice, only a whole ``vocab.txt`` keeps the ids.

    Raises:
        UserError: a token cannot be a line of ``vocab.txt``.
    """
    outside = set(options.outside_vocabulary)
    count = len(vocabulary)
    while count and vocabulary[count - 1] in outside:
        count -= 1
    if len(set(vocabulary[:count])) < count:  # transformers counts the different ones
        count = len(vocabulary)
    write_vocabulary(directory / VOCABULARY, vocabulary[:count])
    (directory / TOKENIZER_CONFIG).write_text(
        json.dumps(options.to_dict(vocabulary), indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    kept = pieces_in_file(vocabulary[:count], options)
    if not kept:
        return []
    return [
        f"transformers finds the added tokens {', '.join(kept)} within words as well: their ids need them "
        f"to stand in "
        f"{VOCABULARY}"
    ]


def pieces_in_file(tokens: Sequence[str], options: TokenizerOptions) -> list[str]:
    """Of the tokens of a ``vocab.txt``, those that are outside the WordPiece vocabulary; transformers cannot
    know that.
    """
    outside = set(options.outside_vocabulary)
    return [token for token in tokens if token in outside]
