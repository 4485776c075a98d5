"""A trained model with everything that evaluation, export and prediction need, from any source."""

from __future__ import annotations

import abc
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline import tasks
from tfpipeline.data import Example, Rows, TokenCache
from tfpipeline.data.cache import See
from tfpipeline.models import Encoder, EncoderConfig, TextModel
from tfpipeline.models.inputs import sequences
from tfpipeline.text import Tokenizer, TokenizerOptions, Truncation, build_tokenizer, unknown_note
from tfpipeline.text.code_points import Unit
from tfpipeline.training.description import as_html
from tfpipeline.training.division import divide
from tfpipeline.training.model_settings import add_method, truncation_of, windows
from tfpipeline.training.precision import policy
from tfpipeline.training.prediction_graph import PredictionGraph, TextInputs
from tfpipeline.training.run_config import RunConfig

Texts = Sequence[str] | Sequence[bytes]


class TrainedModel(abc.ABC):
    """A trained model with its task, its tokenizer and perhaps its rows.

    It is a run directory (:class:`~tfpipeline.training.run.Run`) or a checkpoint that another program has
    fine-tuned (:class:`~tfpipeline.training.finetuned.FineTunedCheckpoint`). ``tfpipeline.training.open_run``
    opens either.

    Attributes:
        path: the run or the checkpoint, on this machine.
        name: its name in messages.
        stages: names of the weights that an evaluation compares, with their titles.
        reports: the folder for reports; None if there is none.
    """

    path: Path
    name: str
    stages: Sequence[tuple[str, str]]
    reports: Path | None

    # The parts of the model.

    @property
    @abc.abstractmethod
    def config(self) -> RunConfig:
        """The settings, as in a run file."""

    @property
    @abc.abstractmethod
    def task(self) -> tasks.Task:
        """The task, fitted to its training rows."""

    @property
    @abc.abstractmethod
    def model_config(self) -> EncoderConfig:
        """The encoder's architecture."""

    @property
    @abc.abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens, ordered by ID."""

    @property
    @abc.abstractmethod
    def tokenizer_options(self) -> TokenizerOptions:
        """How texts become tokens."""

    @property
    @abc.abstractmethod
    def text_identity(self) -> str:
        """Everything that determines the tokens of a text besides the text and the truncation."""

    @abc.abstractmethod
    def has_weights(self, weights: str) -> bool:
        """Whether weights of this name exist ("initial", "last", "best")."""

    def weights_id(self, weights: str) -> str | None:
        """An identifier that distinguishes these weights from those of other training; None without one."""
        return None

    def validation_scores(self, weights: str) -> Mapping[str, float]:
        """The validation scores of these weights in training; by default none."""
        return {}

    @abc.abstractmethod
    def set_weights(self, weights: str, model: TextModel) -> None:
        """Set a model's weights to these.

        Raises:
            UserError: there are no such weights.
        """

    @abc.abstractmethod
    def has_split(self, split: str) -> bool:
        """Whether the split has rows ("train", "validation", "test")."""

    @abc.abstractmethod
    def examples(self, split: str) -> Rows:
        """The rows of a split, in their order.

        Raises:
            UserError: there are none.
        """

    @abc.abstractmethod
    def token_cache(self, split: str, examples: Sequence[Example], see: See | None = None) -> TokenCache:
        """The tokens of a split, created if they do not exist yet. For ``see``, see :meth:`TokenCache.build`.

        Raises:
            UserError: there are no rows of that split.
        """

    @abc.abstractmethod
    def facts(self) -> dict[str, str]:
        """The names and values that Python and notebooks show."""

    # From texts to the model's inputs.

    @property
    def truncation(self) -> Truncation:
        """How long texts are handled in training, evaluation and export."""
        return truncation_of(self.config, self.tokenizer_options)

    @property
    def has_pairs(self) -> bool:
        """Whether a request has two texts."""
        return self.config.has_pairs

    @property
    def has_joint_pairs(self) -> bool:
        """Whether one sequence of tokens has two texts."""
        return self.config.has_joint_pairs

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of training, evaluation and export."""
        return build_tokenizer(self.vocabulary, self.tokenizer_options)

    @property
    def text_inputs(self) -> TextInputs:
        """How texts become the model's inputs."""
        return self._text_inputs(self.truncation)

    def _text_inputs(self, truncation: Truncation) -> TextInputs:
        return TextInputs(
            self.tokenizer,
            truncation,
            pair=self.has_pairs,
            offsets=bool(self.task.offsets),
            separate=self.config.task.encoding == "separate",
            prompts=self.task.prompts,
        )

    def encode(
        self, texts: Texts, text_pair: Texts | None = None, max_length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Token IDs of a batch of texts as NumPy arrays, int32 [B, T], with offsets if the task reads them.

        ``max_length`` replaces ``text.max_length``; longer texts are handled as in the run.
        """
        truncation = self.truncation
        if max_length is not None:
            truncation = dataclasses.replace(truncation, max_length=max_length)
        return _arrays(self._text_inputs(truncation).tokens(_named(texts, text_pair)))

    def tokens(self, examples: Sequence[Example], directory: Path, see: See | None = None) -> TokenCache:
        """The tokens of any rows, cached in ``directory``. For ``see``, see :meth:`TokenCache.build`."""
        text_inputs, joint = self.text_inputs, self.has_joint_pairs
        return TokenCache.build(
            directory,
            examples,
            encode=lambda texts, _: _arrays(text_inputs.tokens(texts, count=True)),
            max_length=self.truncation.longest(joint),
            fingerprint=self.text_identity
            + json.dumps([self.truncation.identity(), self.config.task.encoding, text_inputs.prompts])
            + self._targets_identity,
            special=self.truncation.template.count(joint),
            align=self.task.token_targets if self.task.has_token_targets else None,
            further_texts=self.task.further_texts,
            see=see,
        )

    def divided(self, examples: Rows, what: str) -> Rows:
        """The rows that the model reads, of rows of a data file; see :meth:`Task.divide`.

        Args:
            examples: the rows.
            what: what they are called in messages.
        Raises:
            UserError: the task divides rows, and none is left.
        """
        if not self.task.divides:
            return examples
        return divide(self.task, examples, self.tokenizer, self.truncation, what)

    @property
    def _targets_identity(self) -> str:
        """Everything that determines the targets of single tokens besides the rows."""
        if not self.task.has_token_targets:
            return ""
        return json.dumps([self.config.task.model_dump(mode="json"), self.task.fitted])

    def notes_on(self, cache: TokenCache, what: str = "rows") -> list[str]:
        """Notes about truncated rows and unknown tokens."""
        vocabulary, options = self.vocabulary, self.tokenizer_options
        notes = (
            self.truncation.note(
                cache.cut, len(cache), what, pair=self.has_joint_pairs, cut_texts=cache.cut_texts
            ),
            unknown_note(cache.unknown, cache.text_tokens, vocabulary, options, what),
        )
        return [note for note in notes if note is not None]

    def note_on_texts(self, texts: Texts, text_pair: Texts | None = None) -> str | None:
        """A note about texts with many unknown tokens; None if there are few."""
        encoded = _arrays(self.text_inputs.tokens(_named(texts, text_pair), count=True))
        special = self.truncation.template.count(text_pair is not None and self.has_joint_pairs)
        parts = sequences(encoded)
        tokens = sum(int(part["attention_mask"].sum()) - len(texts) * special for part in parts)
        unknown = sum(int(part["unknown"].sum()) for part in parts)
        return unknown_note(unknown, tokens, self.vocabulary, self.tokenizer_options, "texts")

    # From the inputs to predictions.

    def build_model(self, encoder: Encoder | None = None) -> TextModel:
        """Make an untrained model on top of ``encoder``, with initial weights for the head."""
        return add_method(self.build_base(encoder or self.model_config.encoder()), self.config)

    def build_base(self, encoder: Encoder) -> TextModel:
        """Like :meth:`build_model`, without what parameter-efficient fine-tuning adds to the encoder."""
        head = self.task.head(self.model_config, seed=self.config.training.seed)
        return TextModel(encoder, head, windows(self.truncation, self.has_joint_pairs))

    def model(self, weights: str = "best", *, precision: str | None = None) -> TextModel:
        """The trained model ("best" or "last"), or the one that training started from ("initial").

        Args:
            weights: see :meth:`has_weights`.
            precision: a Keras dtype policy; by default the one that it was trained with.
        Raises:
            UserError: there are no such weights.
        """
        with policy(precision or self.config.training.precision):
            model = self.build_model(self.model_config.encoder(uninitialized=True))
        self.set_weights(weights, model)
        return model

    def graph(self, model: TextModel) -> PredictionGraph:
        """The graph from texts to predictions of a model, with the task and the tokenizer it was trained
        with.
        """
        return PredictionGraph(model, self.task, self.text_inputs)

    def predict(
        self,
        model: TextModel,
        texts: Texts,
        text_pair: Texts | None = None,
        *,
        unit: Unit = "code_points",
    ) -> dict[str, np.ndarray]:
        """A model's predictions for texts, as a server would return them; strings are bytes.

        Args:
            model: as :meth:`model` or :meth:`build_model` makes it.
            texts: B texts.
            text_pair: B second texts, for tasks on text pairs.
            unit: the unit of offsets.
        Returns:
            Name -> [B, ...].
        """
        graph = self.graph(model)
        return _arrays(graph(graph.text_inputs(_named(texts, text_pair)), unit))

    # Display in Python and notebooks.

    def __repr__(self) -> str:
        facts = self.facts()
        told = ", ".join(facts[name] for name in ("task", "state", "best") if name in facts)
        return f"<{type(self).__name__} {self.path}: {told}>"

    def _repr_html_(self) -> str:
        return as_html(self.name, self.facts())


def _named(texts: Texts, text_pair: Texts | None) -> dict[str, Any]:
    """The texts by the names that all later code uses."""
    named: dict[str, Any] = {"text": list(texts)}
    return named if text_pair is None else {**named, "text_pair": list(text_pair)}


def _arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
