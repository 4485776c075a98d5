"""The ``task`` section of masked language modelling."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from tfpipeline.errors import UserError
from tfpipeline.tasks._token_head import HEAD
from tfpipeline.tasks.masked_lm.task import RELATION, MaskedLM
from tfpipeline.tasks.masked_lm.words import jieba_segmenter
from tfpipeline.tasks.options import Fitter, TaskOptions

if TYPE_CHECKING:
    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions


class MaskedLMOptions(TaskOptions):
    """The ``task`` section of a run file for masked language modelling."""

    task_class = MaskedLM
    reads_windows: ClassVar[bool] = False
    pretrains: ClassVar[bool] = True
    top_level_only: ClassVar[bool] = True
    fixed_by_head: ClassVar[tuple[str, ...]] = ("objective",)

    name: Literal["masked_lm"] = "masked_lm"
    mask_share: float = Field(
        0.15, gt=0, lt=1, description="Share of the tokens of a row that are masked and predicted."
    )
    whole_words: bool = Field(
        True, description="Whether all tokens of a word are masked together; false: each token by itself."
    )
    words: Literal["wordpiece", "jieba"] = Field(
        "wordpiece",
        description="whole_words only: what a word is. `wordpiece`: a token and the pieces (`##`) behind it; "
        "`jieba`: Chinese words of several characters too, by jieba's word list (the `chinese` extra).",
    )
    objective: Literal["none", "next_sentence", "sentence_order"] = Field(
        "none",
        description="What is learnt from rows of two texts besides masked tokens: whether the second follows "
        "the first (`next_sentence`), or whether they are in order (`sentence_order`); `none`: rows of one "
        "text.",
    )
    max_masks: int = Field(
        8, ge=1, le=128, description="Served model: how many [MASK] tokens of a text are filled in."
    )
    best: int = Field(5, ge=1, le=100, description="Served model: how many tokens are given for each [MASK].")

    @model_validator(mode="after")
    def _words_are_whole(self) -> MaskedLMOptions:
        if self.words != "wordpiece" and not self.whole_words:
            raise ValueError(f"words is {self.words}, but whole_words is false; remove one of them")
        return self

    @property
    def makes_pairs(self) -> bool:
        return self.objective != "none"

    def check(self, data: DataOptions) -> None:
        if data.text_pair is not None:
            raise ValueError(
                f"data.text_pair is {data.text_pair}, but masked_lm reads one column of texts; remove it "
                "(task.objective makes pairs of them)"
            )

    def target_columns(self) -> Sequence[str]:
        return ()  # texts need no label

    def strata(self, example: Example) -> Collection[Hashable]:
        return ()

    def fitter(self) -> Fitter:
        return _MaskedLMFitter(self)

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        # A head for another task says what the checkpoint was trained for; the masked-LM head is left over.
        return HEAD in checkpoint.head_names and set(checkpoint.head_names) <= {HEAD, RELATION}

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> MaskedLM:
        return MaskedLM(cls())


class _MaskedLMFitter(Fitter):
    """Checks that there are texts, and documents for ``next_sentence``."""

    def __init__(self, options: MaskedLMOptions) -> None:
        self._options = options
        self._documents, self._group, self._texts = 0, "", 0
        if options.words == "jieba":
            jieba_segmenter()  # reports now that it is not installed

    def add(self, example: Example) -> None:
        self._texts += bool(example.text.strip())
        if example.group is None or example.group != self._group:
            self._documents += 1
        self._group = example.group or ""

    def finish(self) -> MaskedLM:
        if not self._texts:
            raise UserError("no training row has any text; check the column of the texts (data.text)")
        if self._options.objective == "next_sentence" and self._documents == 1:
            raise UserError(
                "task.objective is next_sentence, which takes second texts from other documents, but the "
                "training rows are one document; use sentence_order, or add documents"
            )
        return MaskedLM(self._options)
