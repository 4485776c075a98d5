"""Decides whether a tokenizer is BERT's WordPiece: by its class, options, pipeline and vocabulary.

Source for the output of post-processors: tokenizers, ``processors/template.rs``, ``bert.rs`` and
``roberta.rs``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpipeline.checkpoints.files import VOCABULARY
from tfpipeline.errors import UserError
from tfpipeline.text import TokenizerOptions
from tfpipeline.text.vocabulary import token_ids

# Classes of transformers that are BERT's tokenizer by another name, without "Fast".
_BERTS = {
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer",
    "DPRReaderTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "RealmTokenizer",
    "RetriBertTokenizer",
    "SqueezeBertTokenizer",
}
# Classes whose behaviour is defined by tokenizer.json.
_GENERIC = {"PreTrainedTokenizer", "TokenizersBackend"}
# Options that change the tokens, of BERT's or other tokenizers -> the only values that can be read.
_ONLY: dict[str, tuple[Any, ...]] = {
    "word_tokenizer_type": (None, "basic"),
    "subword_tokenizer_type": (None, "wordpiece"),
    "do_word_tokenize": (None, True),
    "do_subword_tokenize": (None, True),
    "split_special_tokens": (None, False),
    "clean_text": (None, True),
    "wordpieces_prefix": (None, "##"),
}
# Markers that other tokenizers put at the start or end of words, and the largest share of a vocabulary that
# may have them.
_STARTS, _ENDS, _MOST = {"▁": "SentencePiece", "Ġ": "byte-level BPE"}, {"</w>": "BPE"}, 0.05
_OTHERS = {
    "*.model": "SentencePiece",
    "vocab.json": "BPE",
    "merges.txt": "BPE",
    "*.bpe": "BPE",
    "*.tiktoken": "BPE",
}


def is_generic(name: Any) -> bool:
    """Whether ``tokenizer.json`` defines the behaviour of this tokenizer class."""
    return isinstance(name, str) and name.removesuffix("Fast") in _GENERIC


def class_of(name: Any, path: Path) -> str:
    """A tokenizer's class without "Fast"; "" if no class is named.

    Raises:
        UserError: the class is neither BERT's nor a generic one.
    """
    if name is None:
        return ""
    kind = name.removesuffix("Fast") if isinstance(name, str) else name
    if kind not in _BERTS | _GENERIC:
        raise UserError(
            f"{path}: the tokenizer is {name}, not BERT's WordPiece; only checkpoints with BERT's own "
            f"tokenizer can be read"
        )
    return str(kind)


def refuse_options(config: Mapping[str, Any], path: Path) -> None:
    for key, values in _ONLY.items():
        if config.get(key) not in values:
            raise UserError(
                f"{path}: {key} is {config[key]!r}, which gives different tokens from BERT's WordPiece; only "
                f"checkpoints with BERT's own tokenizer can be read"
            )


def read_pipeline(fast: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The normaliser of a ``tokenizer.json``.

    Raises:
        UserError: a part of the file differs from BERT's tokenizer.
    """
    model = fast.get("model")
    if (
        not isinstance(model, dict)
        or not isinstance(model.get("vocab"), dict)
        or model.get("type", "WordPiece") != "WordPiece"
        or "merges" in model
    ):
        kind = model.get("type") if isinstance(model, dict) else None
        model_kind = f" (its model is {kind})" if kind and kind != "WordPiece" else ""
        raise UserError(f"{path} is not a WordPiece tokenizer{model_kind}; BERT's vocabulary is one")
    normalizer: Any = fast.get("normalizer")
    wrong = {
        "model.continuing_subword_prefix": model.get("continuing_subword_prefix", "##") != "##",
        "model.max_input_chars_per_word": model.get("max_input_chars_per_word", 100) != 100,
        "normalizer": _type(normalizer) != "BertNormalizer" or normalizer.get("clean_text", True) is not True,
        "pre_tokenizer": _type(fast.get("pre_tokenizer")) != "BertPreTokenizer",
        "decoder": _type(fast.get("decoder"), "WordPiece") != "WordPiece",
    }
    # Some tools write a file with only a vocabulary, which does not define these.
    silent = {name for name in ("normalizer", "pre_tokenizer") if name not in fast}
    different = [name for name, is_wrong in wrong.items() if is_wrong and name not in silent]
    if different:
        part: Any = fast
        for key in different[0].split("."):
            part = part.get(key)
        actual = _type(part) if isinstance(part, dict) else part
        raise UserError(
            f"{path}: its {different[0]} is {actual}, not that of BERT's tokenizer; only checkpoints with "
            f"BERT's own tokenizer can be read"
        )
    return normalizer if isinstance(normalizer, dict) else {}


def refuse_other_frames(
    fast: Mapping[str, Any], path: Path, kind: str, vocabulary: Sequence[str], options: TokenizerOptions
) -> None:
    """Compare the special tokens of a ``tokenizer.json`` (around texts, and for unknown words) with the
    options.

    If a file has no post-processor, the class decides: BERT's classes have their own post-processor, generic
    classes have none. A post-processor in the file applies to all classes. transformers 5 uses it for generic
    classes only, transformers 4 for all.

    Raises:
        UserError: they differ.
    """
    unknown = fast["model"].get("unk_token", options.unk_token)
    if unknown != options.unk_token:
        raise UserError(
            f"{path}: its model.unk_token is {unknown!r}, but the other tokenizer files say "
            f"{options.unk_token!r}; remove the file that does not belong to the checkpoint"
        )
    processor = fast.get("post_processor")
    if processor is None and not is_generic(kind):
        return
    ids = token_ids(vocabulary)
    cls, sep = [ids[options.cls_token]], [ids[options.sep_token]]
    single = [(cls, 0), ("A", 0), (sep, 0)]
    ours = (single, [*single, ("B", 1), (sep, 1)])
    if _frames(processor) == ours:
        return
    around = f"{options.cls_token} A {options.sep_token}"
    sentence = (
        f"{path}: its post_processor ({_type(processor)}) does not give {around} for a text and {around} B "
        f"{options.sep_token} for a pair, with types 0 and 1, as BERT's tokenizer does"
    )
    if processor is None:
        sentence = (
            f"{path} has no post_processor, so it does not put {options.cls_token} and {options.sep_token} "
            f"around texts as BERT's tokenizer does"
        )
    raise UserError(f"{sentence}; only checkpoints with BERT's own tokenizer can be read")


def _frames(processor: Any) -> tuple[Any, Any] | None:
    """The output of a post-processor for a text A, and for a pair A and B: the ids or text of each part, and
    its type.

    None for a post-processor that is unknown or malformed. RobertaProcessing never equals BERT's: it puts two
    [SEP] between the texts of a pair.
    """
    try:
        if processor["type"] == "Sequence":
            (only,) = processor["processors"]
            return _frames(only)
        if processor["type"] == "BertProcessing":
            cls, sep = [processor["cls"][1]], [processor["sep"][1]]
            single = [(cls, 0), ("A", 0), (sep, 0)]
            return single, [*single, ("B", 1), (sep, 1)]
        if processor["type"] == "TemplateProcessing":
            ids = {name: token["ids"] for name, token in processor["special_tokens"].items()}
            single, pair = ([_piece(piece, ids) for piece in processor[name]] for name in ("single", "pair"))
            return single, pair
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None
    return None


def _piece(piece: Mapping[str, Any], ids: Mapping[str, list[int]]) -> tuple[Any, int]:
    """A part of a template: the ids of a special token or the name of a text, and its type."""
    ((kind, part),) = piece.items()
    return (ids[part["id"]] if kind == "SpecialToken" else part["id"]), part["type_id"]


def _type(part: Any, missing: str = "") -> str:
    """The type of a part of a pipeline; for a sequence with one element, the type of that element."""
    if isinstance(part, dict) and part.get("type") == "Sequence":
        parts = (
            part.get("normalizers")
            or part.get("pretokenizers")
            or part.get("decoders")
            or part.get("processors")
            or []
        )
        return _type(parts[0]) if len(parts) == 1 else "Sequence"
    return str(part.get("type")) if isinstance(part, dict) else missing if part is None else repr(part)


def refuse_marks(vocabulary: Sequence[str], path: Path) -> None:
    """Raise an error for a vocabulary that marks words as other tokenizers do."""
    for where, marks in ((str.startswith, _STARTS), (str.endswith, _ENDS)):
        for mark, kind in marks.items():
            count = sum(len(token) > len(mark) and where(token, mark) for token in vocabulary)
            if count > _MOST * len(vocabulary):
                raise UserError(
                    f'{path}: {count} of {len(vocabulary)} tokens have "{mark}" at a word\'s edge: it is '
                    f"the vocabulary of "
                    f"{kind}, not of BERT's WordPiece; only checkpoints with BERT's own tokenizer can be read"
                )


def refuse_files(directory: Path) -> None:
    """Raise an error for a folder that has another tokenizer's files but no vocabulary."""
    for pattern, kind in _OTHERS.items():
        for other in sorted(directory.glob(pattern)):
            raise UserError(
                f"{directory} has no {VOCABULARY} but {other.name}: its tokenizer is {kind}, not BERT's "
                f"WordPiece; only checkpoints with BERT's own tokenizer can be read"
            )
