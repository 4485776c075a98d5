"""The ``task`` section of similarity: checks the data, and makes the task from the rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union

from pydantic import Field, field_validator, model_validator

from tfpipeline.config import Section
from tfpipeline.data import Encoding
from tfpipeline.errors import UserError
from tfpipeline.models.pooling import Pooling
from tfpipeline.tasks.options import Fitter, TaskOptions
from tfpipeline.tasks.similarity import rows
from tfpipeline.tasks.similarity.corpus import Corpus, CorpusOptions
from tfpipeline.tasks.similarity.task import SCORED, Similarity

if TYPE_CHECKING:
    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example, Rows
    from tfpipeline.data.options import DataOptions
    from tfpipeline.tasks.base import Task

_COSINES = (-1.0, 1.0)
_WIDEST_MARGIN = 2.0  # of cosines
_INITIAL_TEMPERATURE = 0.05


class Prompts(Section):
    """What is put before texts."""

    query: str = Field("", description="Put before every first text (`data.text`).")
    document: str = Field("", description="Put before every second text (`data.text_pair`) and negative.")


class SimilarityOptions(TaskOptions):
    """The ``task`` section of a run file for similarity."""

    task_class = Similarity
    top_level_only: ClassVar[bool] = True
    encoding: ClassVar[Encoding] = "separate"
    asks_for_pairs: ClassVar[bool] = False
    needs_head: ClassVar[bool] = False
    checkpoint_data: ClassVar[Mapping[str, str]] = {"text_pair": "text_pair"}
    data_defaults: ClassVar[Mapping[str, str | None]] = {"label": None}

    name: Literal["similarity"] = "similarity"
    loss: Optional[Literal["infonce", "cosent", "cosine", "triplet", "margin_mse"]] = Field(
        None,
        description="Default: `cosent` for pairs with scores, `infonce` for all other rows.",
    )
    pooling: Pooling = Field(
        "mean",
        description="The vector of a text: the mean of the real tokens, the first ([CLS]) or the last one, "
        "or BERT's pooler.",
    )
    normalize: bool = Field(True, description="Whether predicted vectors have length 1.")
    prompts: Prompts = Prompts()
    dimensions: list[int] = Field(
        [],
        description="Matryoshka embeddings: numbers of leading values, descending, each of which is trained "
        "as a vector of its own; the first is the size of the predicted vectors. Default: the hidden size.",
    )
    temperature: Union[Literal["learnt"], float] = Field(
        _INITIAL_TEMPERATURE,
        description="infonce and cosent: what cosines are divided by; `learnt` (infonce only) begins with "
        f"{_INITIAL_TEMPERATURE}.",
    )
    symmetric: bool = Field(
        False, description="infonce on pairs: also find the first text among those of the batch."
    )
    margin: float = Field(
        0.2,
        gt=0,
        le=_WIDEST_MARGIN,
        description="triplet: how much higher the cosine to the right text should be than to a negative.",
    )
    score_range: Optional[list[float]] = Field(
        None,
        min_length=2,
        max_length=2,
        description="Lowest and highest score in the data; a score outside is an error. With the loss "
        "cosine, they are mapped to 0 and 1; null: scores are cosines, from -1 to 1.",
    )
    negatives: Optional[list[str]] = Field(
        None,
        min_length=1,
        description="Columns of the negatives, each a text or a list of texts; null: those called "
        "`negative`, `negative_1`, `negative_2` ...",
    )

    corpus: Optional[CorpusOptions] = Field(
        None,
        description="Texts to search in an evaluation of pairs; null: the second texts of the rows that are "
        "scored.",
    )

    @field_validator("dimensions")
    @classmethod
    def _descend(cls, value: list[int]) -> list[int]:
        if any(size < 1 for size in value) or value != sorted(set(value), reverse=True):
            raise ValueError("must be whole numbers above 0 in descending order, such as [384, 256, 128]")
        return value

    @field_validator("temperature")
    @classmethod
    def _is_positive(cls, value: Any) -> Any:
        if value != "learnt" and not value > 0:
            raise ValueError("must be above 0, or learnt")
        return value

    @field_validator("score_range")
    @classmethod
    def _ascends(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("must be the lowest and the highest score, such as [0, 5]")
        return value

    @model_validator(mode="after")
    def _options_are_used(self) -> SimilarityOptions:
        if self.loss is not None:
            self._check_used(self.loss)
        return self

    def _check_used(self, loss: str) -> None:
        """Raise a ValueError for an option that a loss does not read."""
        if loss != "infonce" and (self.symmetric or self.temperature == "learnt"):
            option = "symmetric is true" if self.symmetric else "temperature is learnt"
            raise ValueError(f"{option}, which only the loss infonce reads, but the loss is {loss}")

    @property
    def initial_temperature(self) -> float:
        """The temperature that training begins with."""
        return _INITIAL_TEMPERATURE if self.temperature == "learnt" else self.temperature

    def score_limits(self, loss: str | None) -> Sequence[float] | None:
        """The lowest and the highest score of a row; None for any."""
        if self.score_range is not None:
            return self.score_range
        return _COSINES if loss == "cosine" else None

    def as_cosine(self, score: float) -> float:
        """A score as the loss cosine compares it with a cosine; the order of scores stays the same."""
        if self.score_range is None:
            return score
        low, high = self.score_range
        return (score - low) / (high - low)

    def check(self, data: DataOptions) -> None:
        if data.text_pair is None and data.label is None:
            raise ValueError(
                "data.text_pair and data.label are null, but similarity needs one of them: the column of a "
                "second text, or that of a class"
            )
        if data.text_pair is None and self.corpus is not None:
            raise ValueError(
                "data.text_pair is null, but task.corpus is searched for second texts; name their column, or "
                "remove task.corpus"
            )
        if data.text_pair is None and self.loss not in (None, "infonce"):
            raise ValueError(
                f"data.text_pair is null, but the loss {self.loss} compares two texts; name the second one's "
                "column"
            )

    def note_on(self, checkpoint: Checkpoint) -> str | None:
        if checkpoint.sentence is None:
            return None
        own = self.from_checkpoint(checkpoint).options
        differ = [
            f"{field}: {theirs!r}, here {ours!r}"
            for field, theirs, ours in (
                ("pooling", own.pooling, self.pooling),
                ("prompts.query", own.prompts.query, self.prompts.query),
                ("prompts.document", own.prompts.document, self.prompts.document),
            )
            if theirs != ours
        ]
        if not differ:
            return None
        return f"it was trained with other settings of the section task ({'; '.join(differ)})"

    def preprocess(self, example: Example) -> Example:
        """The same row with its negatives as further texts; see :func:`rows.prepare`."""
        if example.text_pair is None:
            if example.label is None:
                raise UserError(f"{example.source}: the row has no label; write one or remove the row")
        elif not example.text_pair.strip():
            raise UserError(f"{example.source}: the row has no second text; complete it or remove it")
        if example.label is None and example.text_pair is not None:
            score = example.columns.get(rows.SCORE, "").strip()
            example = dataclasses.replace(example, label=score or None)
        example = rows.prepare(example, self.negatives)
        if self._reads_score(example):
            rows.score_of(example, self.score_limits(self.loss))
        if self.loss == "margin_mse" and example.further_texts:
            widest = max(map(abs, rows.margins_of(example)))
            if self.normalize and widest > _WIDEST_MARGIN:
                raise UserError(
                    f"{example.source}: the teacher's scores differ by {widest:.4g}, but cosines by "
                    f"{_WIDEST_MARGIN:g} at most; set task.normalize to false, which compares inner products"
                )
        return example

    def _reads_score(self, example: Example) -> bool:
        """Whether a row's score is needed, as far as a single row tells."""
        if example.text_pair is None or self.loss in ("infonce", "triplet", "margin_mse"):
            return False
        return self.loss in SCORED or (example.label is not None and not example.further_texts)

    def load_splits(self, data: DataOptions, folder: Path | None = None) -> dict[str, Rows]:
        splits = super().load_splits(data, folder)
        if self.corpus is not None:
            self.corpus.content.require(splits["test"] or splits["validation"])
        return splits

    def strata(self, example: Example) -> Collection[Hashable]:
        return super().strata(example) if example.text_pair is None else ()  # scores are not classes

    @classmethod
    def serves(cls, checkpoint: Checkpoint) -> bool:
        return checkpoint.sentence is not None

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Similarity:
        found = checkpoint.sentence
        options = cls()
        if found is not None:
            prompts = Prompts(query=found.prompts["query"], document=found.prompts["document"])
            options = cls(pooling=found.pooling, normalize=found.normalize, prompts=prompts)
        return Similarity(options, {"loss": "infonce", "classes": False, "negatives": 0})

    def fitter(self) -> Fitter:
        return _SimilarityFitter(self)

    def load(self, directory: Path) -> Task:
        task = super().load(directory)
        if self.corpus is not None:
            task.corpus = Corpus.load(directory)  # type: ignore[attr-defined]
        return task


class _SimilarityFitter(Fitter):
    """Counts negatives, and the rows with and without what losses need."""

    def __init__(self, options: SimilarityOptions) -> None:
        self._options = options
        self._negatives = self._rows = 0
        self._classes: set[str | None] = set()
        # The first rows with and without.
        self._with: dict[str, Example] = {}
        self._without: dict[str, Example] = {}

    def add(self, example: Example) -> None:
        self._rows += 1
        self._negatives = max(self._negatives, len(example.further_texts))
        if example.text_pair is None:
            if len(self._classes) < 2:
                self._classes.add(example.label)
            return
        for what, has in (("score", example.label is not None), ("negative", bool(example.further_texts))):
            (self._with if has else self._without).setdefault(what, example)

    def finish(self) -> Similarity:
        options = self._options
        if self._classes:
            if len(self._classes) < 2:
                raise UserError(
                    "all training rows have the same label; a similarity needs at least two classes"
                )
            if options.symmetric:
                raise UserError("task.symmetric is for pairs, but the rows are texts with a class; remove it")
            return Similarity(options, {"loss": "infonce", "classes": True, "negatives": 0})
        loss = options.loss or self._default_loss()
        try:
            options._check_used(loss)
        except ValueError as error:
            raise UserError(
                f"task: {error} because the rows have scores; remove it, or name the loss"
            ) from error
        if loss in SCORED:
            self._require("score", loss, "the column that data.label names, or the column score")
        if loss in ("triplet", "margin_mse"):
            self._require(
                "negative", loss, f"the columns {rows.NEGATIVE}, {rows.NEGATIVE}_1 ... (task.negatives)"
            )
        negatives = 0 if loss in SCORED else self._negatives
        return Similarity(options, {"loss": loss, "classes": False, "negatives": negatives})

    def _default_loss(self) -> str:
        if "score" in self._with and "negative" not in self._with:
            without = self._without.get("score")
            if without is not None:
                raise UserError(
                    f"{self._with['score'].source} has a score, but {without.source} has none; give every "
                    "row one, or set task.loss to infonce to read the pairs without their scores"
                )
            return "cosent"
        return "infonce"

    def _require(self, what: str, loss: str, where: str) -> None:
        """Raise a UserError if a row lacks what a loss needs."""
        without = self._without.get(what)
        if without is not None:
            raise UserError(
                f"{without.source}: the row has no {what}, which the loss {loss} needs; it reads {where}"
            )
