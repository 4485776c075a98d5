"""Compares our tokenizer's ids with those of the checkpoint's own fast tokenizer, as transformers reads it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints.added_tokens import FILES, SPECIAL_TOKENS_MAP, TOKENIZER
from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.checkpoints.files import TOKENIZER_CONFIG, VOCABULARY, read_json, write_vocabulary
from tfpipeline.checkpoints.tokenizer_files import pieces_in_file, write_tokenizer
from tfpipeline.checkpoints.tokenizer_kinds import is_generic
from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.text.vocabulary import load_vocabulary

# Text on which tokenizers have differed: scripts, accents, case, white space, control characters, marks, signs, long words.
FRAGMENTS = (
    "The quick brown fox", "jumps over", "unaffable", "tokenization", "naïve café", "NAÏVE CAFÉ", "İstanbul ıI", "Straße GROẞ", "ΑΣ Σας", "don't", "U.S.A.",
    "http://a.b/c?d=e_f&g=%20", "#hashtag @you", "3.14159", "1,000,000", "2021-03-04", "a_b-c/d\\e", "C++ (C#)", "[x] {y} <z>", "##ing", "e\u0301a\u0300o\u0308",
    "\u0301\u0316", "Å Å", "ﬁne ﬂow", "½ ² Ⅷ ⓐ ａＢ", "今天天气很好", "東京都に住んでいます", "カタカナｶﾀｶﾅ", "한국어 텍스트", "русский Ёлка", "Ελληνικά", "العربية مُحَمَّد", "עברית שׁלום", "हिन्दी में", "ภาษาไทย",
    "தமிழ்", "ქართული", "tiếng Việt", "😀👍🏽", "👩‍👩‍👧 🇩🇪", "❤️ 1️⃣", "a\u200bb\u200dc", "x\u00ady", "tab\tnew\nline\r\n", "a\u00a0b\u3000c\u2003d", "\x00\x01\x7f", "\ufeff\ufffd", "\ue000\U000f0000", "“quoted” — ‘text’…",
    "€ £ ¥ © ® ™", "∑ ≠ ≤ ∞ √", "。、！？「」", "$100 + 5% = x^2 ~ `y` | z", "x" * 99, "x" * 101, "é" * 101, "中" * 30, "the" * 40, "…" * 5, "",
)  # fmt: skip
_NOT_COMPARED = "ids of texts not compared with transformers' fast tokenizer"
# Texts that are mixed of these, and made of the vocabulary's tokens; those of them that are varied; added tokens, and
# the words that each is joined with.
_SEED, _MIXED, _SAMPLED, _VARIED, _ADDED, _JOINED = 0, 150, 120, 20, 60, 2


def tokenizer_report(checkpoint: Checkpoint) -> str:
    """Compare token ids, and describe the comparison.

    Raises:
        UserError: the ids of a text differ.
    """
    if importlib.util.find_spec("transformers") is None:
        return f"{_NOT_COMPARED}: transformers not installed"
    texts = hard_texts(checkpoint)
    with _reference(checkpoint) as (reference, problem):
        if reference is None:
            return f"{_NOT_COMPARED}: {problem}"
        theirs = reference(texts, padding=False, truncation=False)["input_ids"]
    whose = "the checkpoint's own" if checkpoint.own_tokenizer else "a"
    _compare(checkpoint, texts, theirs, whose)
    return f"the ids of {len(texts)} texts are those of {whose} fast tokenizer in transformers"


def check_tokenizer(checkpoint: Checkpoint) -> None:
    """Compare token ids before training, if the checkpoint has tokenizer files besides its vocabulary.

    Raises:
        UserError: the ids of a text differ.
    """
    if carries_tokenizer(checkpoint):
        report = tokenizer_report(checkpoint)
        if report.startswith(_NOT_COMPARED):
            say(report)


def carries_tokenizer(checkpoint: Checkpoint) -> bool:
    """Whether there are tokenizer files besides the vocabulary."""
    return checkpoint.own_tokenizer and any((checkpoint.source / name).exists() for name in FILES)


def hard_texts(checkpoint: Checkpoint) -> list[str]:
    """A few hundred texts on which tokenizers differ, including the checkpoint's own tokens; always the same."""
    rng = random.Random(_SEED)
    added = [token.content for token in checkpoint.tokenizer.found_tokens]
    some = added if len(added) <= _ADDED else rng.sample(added, _ADDED)
    around = [
        text
        for token in some
        for text in (f"a {token} b", f"a{token}b", f"{token}{token}", f"({token.swapcase()}).", f"x\n{token}")
    ]
    words = [word for token in checkpoint.vocabulary if (word := token.removeprefix("##"))]
    touching = [_touching(token, rng.choice(words)) for token in some for _ in range(_JOINED)]
    sampled = [rng.sample(words, min(len(words), 8)) for _ in range(_SAMPLED)]
    inserted = [*FRAGMENTS, *some, *(" " for _ in FRAGMENTS)]
    mixed = ["".join(rng.choices(inserted, k=rng.randint(2, 8))) for _ in range(_MIXED)]
    joined = [rng.choice(("", " ", "-")).join(rng.sample(row, len(row))) for row in sampled]
    cased = [" ".join(row).title() for row in sampled[:_VARIED]]
    accented = [" ".join(f"{word[0]}\u0301{word[1:]}" for word in row) for row in sampled[:_VARIED]]
    return [*FRAGMENTS, *around, *touching, *mixed, *joined, *cased, *accented]


def _touching(token: str, word: str) -> str:
    """An added token as a part of words; not possible for one that is not in the WordPiece vocabulary."""
    piece = token.removeprefix("##")
    forms = (piece, f"{word}{piece}", f"{piece}{word}")
    return " ".join(cased for form in forms for cased in (form, form.upper(), form.capitalize()))


def _compare(
    checkpoint: Checkpoint, texts: Sequence[str], theirs: Sequence[Sequence[int]], whose: str
) -> None:
    from tfpipeline.text import WordPieceTokenizer

    ours = WordPieceTokenizer(checkpoint.vocabulary, checkpoint.tokenizer)(list(texts), max_length=1 << 20)
    ids, lengths = ours["input_ids"].numpy(), ours["attention_mask"].numpy().sum(-1)
    different = [
        (text, row[:length].tolist(), list(want))
        for text, row, length, want in zip(texts, ids, lengths, theirs)
        if row[:length].tolist() != list(want)
    ]
    if different:
        text, got, want = different[0]
        raise UserError(
            f"{checkpoint.display_name or checkpoint.source}: {len(different)} of {len(texts)} texts get "
            f"other ids here than from {whose} fast tokenizer in transformers; the first is {text!r}: {got} "
            f"here, {want} there. If the tokenizer's files are as they were published, tfpipeline cannot "
            f"read this tokenizer: report it, with the files; otherwise copy them again"
        )


@contextlib.contextmanager
def _reference(checkpoint: Checkpoint) -> Iterator[tuple[Any, str]]:
    """transformers' fast tokenizer; None and the reason where it cannot be had."""
    with _quiet(), tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # Of a model with another vocabulary transformers would ask the network.
        (folder / "config.json").write_text('{"model_type": "bert"}', "utf-8")
        options = (_copied if checkpoint.own_tokenizer else _made)(checkpoint, folder)
        from transformers import BertTokenizerFast, PreTrainedTokenizerFast

        config = read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).exists() else {}
        generic = is_generic(config.get("tokenizer_class")) and (folder / TOKENIZER).exists()
        kind = PreTrainedTokenizerFast if generic else BertTokenizerFast
        problem = _beyond_transformers(checkpoint, folder)
        if problem:
            yield None, problem
            return
        try:
            reference = kind.from_pretrained(folder, local_files_only=True, **({} if generic else options))
        except Exception as error:  # noqa: BLE001 - of any kind: those of Rust are plain exceptions
            reference, problem = None, f"it cannot read the files ({type(error).__name__}: {error})"
        yield reference, problem


def _beyond_transformers(checkpoint: Checkpoint, folder: Path) -> str:
    """Why it cannot find the tokens that the files mean; "" where it can."""
    path = folder / VOCABULARY
    kept = pieces_in_file(load_vocabulary(path), checkpoint.tokenizer) if path.exists() else []
    if not kept or (folder / TOKENIZER).exists():
        return ""
    return f"it takes the added tokens {', '.join(kept)} for pieces of words, as they stand in {VOCABULARY}"


def _copied(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """The checkpoint's own files; the answer is what they leave open, as it was read here."""
    source = checkpoint.source
    for name in FILES:
        if (source / name).exists():
            values = read_json(source / name)
            if name == SPECIAL_TOKENS_MAP:
                values = _renamed(values)
            (folder / name).write_text(json.dumps(values), "utf-8")
    if (source / VOCABULARY).exists():  # without what an editor has left in it
        write_vocabulary(folder / VOCABULARY, load_vocabulary(source / VOCABULARY))
    explicit = read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).exists() else {}
    options = checkpoint.tokenizer.to_dict(checkpoint.vocabulary)
    return {
        key: options[key]
        for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
        if key not in explicit
    }


def _renamed(names: dict[str, Any]) -> dict[str, Any]:
    """A ``special_tokens_map.json`` with its list as transformers 5 reads it.

    By the list's old name, that version takes special tokens for ordinary ones, and stumbles over their options.
    """
    tokens = names.pop("additional_special_tokens", None)
    if isinstance(tokens, list):
        names.setdefault(
            "extra_special_tokens",
            [
                {key: value for key, value in token.items() if key not in ("special", "__type")}
                if isinstance(token, dict)
                else token
                for token in tokens
            ],
        )
    return names


def _made(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """Files made of the vocabulary and our options."""
    write_tokenizer(folder, checkpoint.vocabulary, checkpoint.tokenizer)
    return {}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers without its advice: that PyTorch is missing, and that texts are long."""
    name = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        from transformers.utils import logging

        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
