"""The tokenizer interface of training, export and models; imports no framework."""

from __future__ import annotations

from typing import Any, Optional, Protocol

from tfpipeline.text.options import TokenizerOptions
from tfpipeline.text.template import Template
from tfpipeline.text.truncation import Truncation


class Tokenizer(Protocol):
    """Texts to token ids, eagerly and in the graph of a SavedModel.

    :func:`tfpipeline.text.build_tokenizer` makes one from a vocabulary and options. Run directories and saved
    models store both, and rebuild the tokenizer from them.

    Attributes:
        options: everything besides the vocabulary that determines the tokens of a text.
        vocabulary_size: the number of ids.
        variables: the TensorFlow variables of its tables, which a SavedModel stores.
    """

    options: TokenizerOptions
    vocabulary_size: int

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens in the order of their ids."""

    @property
    def template(self) -> Template:
        """The special tokens around the texts of a row."""

    @property
    def variables(self) -> Any:
        """See the class."""

    def tokenize(self, texts: Any) -> Any:
        """Token ids of each text, RaggedTensor int32 [B, None], without special tokens around it."""

    def __call__(
        self,
        texts: Any,
        text_pair: Any = None,
        max_length: Any = 128,
        *,
        truncation: Optional[Truncation] = None,
        count: bool = False,
        offsets: bool = False,
    ) -> dict[str, Any]:
        """Padded batches, int32 [B, T]; see :class:`tfpipeline.text.WordPieceTokenizer`.

        Returns:
            ``input_ids``, ``token_type_ids`` (they number the texts of a row, 0 and 1) and
            ``attention_mask``; with ``count`` also ``cut`` and ``unknown``, int32 [B]; with ``offsets`` also
            ``offsets``, int32 [B, T, 2], and ``word_starts``, int32 [B, T].
        """
