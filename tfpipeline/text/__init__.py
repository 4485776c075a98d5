"""Texts to token ids in the graph: one tokenizer for training, evaluation, export and serving.

Only :class:`WordPieceTokenizer` needs TensorFlow; it is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from tfpipeline.errors import explain_missing_extra
from tfpipeline.text.interface import Tokenizer
from tfpipeline.text.options import AddedToken, TokenizerOptions, infer_lowercase
from tfpipeline.text.template import Template
from tfpipeline.text.truncation import Truncation
from tfpipeline.text.unknown import unknown_note
from tfpipeline.text.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from tfpipeline.text.tokenizer import WordPieceTokenizer

__all__ = [
    "AddedToken",
    "Template",
    "Tokenizer",
    "TokenizerOptions",
    "Truncation",
    "WordPieceTokenizer",
    "build_tokenizer",
    "infer_lowercase",
    "load_vocabulary",
    "unknown_note",
]


def build_tokenizer(vocabulary: Sequence[str], options: Optional[TokenizerOptions] = None) -> Tokenizer:
    """Make the WordPiece tokenizer of a vocabulary. Callers with the same arguments share one tokenizer.

    Raises:
        UserError: a special token is not in the vocabulary.
    """
    with explain_missing_extra():
        from tfpipeline.text.sharing import shared_tokenizer
    return shared_tokenizer(vocabulary, options or TokenizerOptions())


def __getattr__(name: str) -> Any:
    if name == "WordPieceTokenizer":
        with explain_missing_extra():
            from tfpipeline.text.tokenizer import WordPieceTokenizer
        return WordPieceTokenizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
