"""WordPiece in the graph: the one tokenizer of training, evaluation, export and serving.

Only :class:`WordPieceTokenizer` needs TensorFlow; it is imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfpipeline.errors import explain_missing_extra
from tfpipeline.text.options import AddedToken, TokenizerOptions, infer_lowercase
from tfpipeline.text.truncation import Truncation
from tfpipeline.text.unknown import unknown_note
from tfpipeline.text.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from tfpipeline.text.tokenizer import WordPieceTokenizer

__all__ = [
    "AddedToken",
    "TokenizerOptions",
    "Truncation",
    "WordPieceTokenizer",
    "infer_lowercase",
    "load_vocabulary",
    "unknown_note",
]


def __getattr__(name: str) -> Any:
    if name == "WordPieceTokenizer":
        with explain_missing_extra():
            from tfpipeline.text.tokenizer import WordPieceTokenizer
        return WordPieceTokenizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
