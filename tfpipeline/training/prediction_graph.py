"""The one path from texts to finished predictions, for everything that predicts.

    texts -> TextInputs -> inputs -> ModelCall -> outputs -> predictions

``predict`` on a run, validation, ``evaluate`` and the exported model all take it, eagerly or inside a graph:

- A run (``TrainedModel.predict``) and the served signatures of strings begin with texts.
- :class:`~tfpipeline.training.inference.Inference` begins with the tokens of a cache, which
  :class:`TextInputs` made.
- The served signature of token ids begins with :meth:`PredictionGraph.from_ids`.

If a task encodes the texts of a row separately, :class:`TextInputs` gives each text its own tokens,
``models.inputs.encoder_inputs`` names them, and the model reads all of them. Nothing in between depends on
the names. A prompt is put before a text here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.data.text_names import TEXT, TEXT_PAIR, joined, key, texts_of
from tfpipeline.models.inputs import OFFSETS, as_second_text, encoder_inputs
from tfpipeline.models.model_call import NEAR_TIES, ModelCall
from tfpipeline.tasks import Input, Task
from tfpipeline.text import Tokenizer, Truncation
from tfpipeline.text.code_points import CodePoints, Unit
from tfpipeline.text.graphs import strings
from tfpipeline.training.confidence import UNFITTED, Confidence

Tensors = dict[str, tf.Tensor]


class TextInputs:
    """Makes a model's inputs from texts, in training, evaluation, prediction and export.

    Args:
        tokenizer: the one that the model was trained with.
        truncation: how texts that are too long are handled.
        pair: whether a request has two texts, ``text`` and ``text_pair``, not only ``text``.
        separate: whether each text is its own token sequence, instead of one for both.
        offsets: whether the task reads the offsets of tokens in their texts.
        prompts: what is put before a text: the name of the text -> its prompt; a text that is not named has
            none. Only for texts that are encoded separately, of tasks without offsets.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        truncation: Truncation,
        *,
        pair: bool,
        offsets: bool,
        separate: bool = False,
        prompts: Mapping[str, str] = {},
    ) -> None:
        self.tokenizer, self.truncation = tokenizer, truncation
        self.pair, self.offsets, self.separate = pair, offsets, pair and separate
        self.prompts = dict(prompts)
        self._separate = separate
        if any(self.prompts.values()) and (offsets or not separate):
            raise ValueError("prompts are for texts that are encoded separately, without offsets")

    def with_prompt(self, prompt: str) -> TextInputs:
        """The same for requests of one text that has this prompt."""
        return TextInputs(
            self.tokenizer,
            self.truncation,
            pair=False,
            offsets=self.offsets,
            separate=self._separate,
            prompts={TEXT: prompt},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of a request's texts."""
        return (TEXT, TEXT_PAIR) if self.pair else (TEXT,)

    def tokens(self, texts: Mapping[str, Any], *, count: bool = False) -> Tensors:
        """The tokens of texts, from the tokenizer.

        Args:
            texts: ``text`` and, for pairs, ``text_pair``: string [B], or lists of str or bytes. If texts are
                encoded separately, any others, too.
            count: whether to add the numbers of tokens that were ``cut`` and are ``unknown``, int32 [B] each.
        Returns:
            One sequence per row, or one for each text if texts are encoded separately. The tensors of all but
            the first are then called ``TEXT/NAME``, such as ``text_pair/input_ids``.
        Raises:
            UserError: the input is one text instead of several, or not text.
        """

        def tokenize(first: Any, second: Any = None) -> Tensors:
            return self.tokenizer(
                first, second, truncation=self.truncation, offsets=self.offsets, count=count
            )

        if not self._separate:
            return tokenize(texts[TEXT], texts.get(TEXT_PAIR))
        return joined({name: tokenize(self._prompted(some, name)) for name, some in texts.items()})

    def _prompted(self, texts: Any, name: str) -> Any:
        prompt = self.prompts.get(name)
        return tf.strings.join([prompt, strings(texts, name)]) if prompt else texts

    def __call__(self, texts: Mapping[str, Any]) -> Tensors:
        """The inputs of the model and of the predictions, from texts; see :meth:`join`. Arguments as for
        :meth:`tokens`.
        """
        texts = {name: strings(some, name) for name, some in texts.items()}
        return self.join(self.tokens(texts), texts)

    def join(self, tokens: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of the model and of the predictions, from a batch.

        Args:
            tokens: the result of :meth:`tokens`, possibly from a cache; other entries are ignored.
            texts: the texts, used only for a task with offsets.
        Returns:
            ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T]; for a task with offsets also
            ``offsets``, int32 [B, T, 2], ``word_starts``, int32 [B, T], and the texts, string [B]. The
            tensors of sequences after the first are called ``TEXT/NAME``.
        """
        inputs = encoder_inputs(tokens)
        if not self.offsets:
            return inputs
        names = [key(text, name) for text in texts_of(inputs) for name in OFFSETS]
        return {**inputs, **{name: tokens[name] for name in names}, **texts}


class PredictionGraph:
    """A trained model with its task: makes predictions from the inputs that :class:`TextInputs` makes.

    Args:
        model: maps the encoder's inputs to the head's outputs.
        task: makes predictions from the outputs.
        text_inputs: how texts become the model's inputs.
        confidence: temperatures and thresholds fitted on validation rows; by default none.

    Attributes:
        row_inputs: what a request has for each row besides its texts or tokens, by name.
    """

    row_inputs: Mapping[str, Input] = {}

    def __init__(
        self, model: Any, task: Task, text_inputs: TextInputs, confidence: Confidence = UNFITTED
    ) -> None:
        self.model, self.task, self.text_inputs, self.confidence = model, task, text_inputs, confidence

    def fitted(self, confidence: Confidence) -> PredictionGraph:
        """The same graph with another confidence."""
        return type(self)(self.model, self.task, self.text_inputs, confidence)

    def for_serving(self, precision: str = "float32") -> PredictionGraph:
        """The same graph with the serving form of the model; see :meth:`TextModel.for_serving`."""
        return type(self)(self.model.for_serving(precision), self.task, self.text_inputs, self.confidence)

    def from_texts(self, texts: Mapping[str, Any]) -> Tensors:
        """Inputs from the texts in a request, and from its :attr:`row_inputs`."""
        return self.text_inputs(texts)

    def from_ids(
        self,
        input_ids: tf.Tensor,
        lengths: tf.Tensor,
        token_type_ids: tf.Tensor | None = None,
        text_pair_input_ids: tf.Tensor | None = None,
        text_pair_lengths: tf.Tensor | None = None,
    ) -> Tensors:
        """Inputs from the token IDs in a request, for a task without offsets.

        The mask is made here: a server that pads a mask pads it with its first element, which is 1.

        Args:
            input_ids: int32 [B, T].
            lengths: int32 [B], the number of tokens of each row, without padding.
            token_type_ids: int32 [B, T]; by default all tokens belong to the first text.
            text_pair_input_ids: int32 [B, T2], for second texts that are encoded separately.
            text_pair_lengths: int32 [B], their numbers of tokens, without padding.
        """
        if text_pair_input_ids is not None:
            second = self.from_ids(text_pair_input_ids, text_pair_lengths)
            return {**self.from_ids(input_ids, lengths), **as_second_text(second)}
        types = tf.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        mask = tf.sequence_mask(lengths, tf.shape(input_ids)[1], tf.int32)
        return {"input_ids": input_ids, "token_type_ids": types, "attention_mask": mask}

    def call(self, inputs: Mapping[str, Any], tolerance: float | None = None) -> ModelCall:
        """The model, to be called on a batch, for callers that need more than the predictions, such as the
        loss.

        Args:
            inputs: the encoder's inputs, possibly with others.
            tolerance: see :class:`tfpipeline.models.model_call.ModelCall`.
        """
        return ModelCall(self.model, encoder_inputs(inputs), tolerance)

    def __call__(self, inputs: Mapping[str, Any], unit: Unit = "code_points") -> Tensors:
        """The final predictions.

        Args:
            inputs: the inputs from :class:`TextInputs` or :meth:`from_ids`.
            unit: the unit of offsets in texts.
        Returns:
            The task's predictions: name -> [B, ...], string or 32-bit.
        """
        return self.in_unit(self._finished(self.task.decode(self.call(inputs)), inputs), inputs, unit)

    def with_near_ties(self, inputs: Mapping[str, Any], tolerance: float) -> tuple[Tensors, tf.Tensor]:
        """The final predictions, and the rows, bool [B], in which rounding may change what ``decode`` chose;
        :meth:`near_ties` has those in which it may change what is made of it.

        Args:
            inputs: as of :meth:`__call__`.
            tolerance: the largest difference that counts as rounding.
        """
        decoded = self.task.decode(self.call(inputs, tolerance))
        none = tf.zeros(tf.shape(inputs["input_ids"])[:1], tf.bool)
        return self._finished(decoded, inputs), decoded.get(NEAR_TIES, none)

    def _finished(self, decoded: Mapping[str, tf.Tensor], inputs: Mapping[str, Any]) -> Tensors:
        """The predictions, with offsets in code points, from what ``decode`` gave."""
        outputs = self.confidence.calibrated(self.task, decoded)
        predictions = self.task.predictions(outputs, inputs)
        return {**predictions, **self.confidence.abstentions(self.task, predictions)}

    def near_ties(self, predictions: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
        """The rows in which rounding may change strings or integers, bool [N].

        Args:
            predictions: the graph's predictions, as arrays [N, ...].
            tolerance: the largest difference that counts as rounding.
        """
        ties = self.task.scorer.near_ties(predictions, tolerance)
        return ties | self.confidence.near_ties(self.task, predictions, tolerance)

    def in_unit(self, predictions: Tensors, texts: Mapping[str, Any], unit: Unit) -> Tensors:
        """Convert the offsets in predictions to another unit.

        Args:
            predictions: predictions with offsets in code points.
            texts: for a task with offsets, the texts that the offsets refer to, string [B].
            unit: the unit of the result.
        """
        places = self.task.offsets
        if not places or unit == "code_points":
            return predictions
        points = {name: CodePoints(texts[name]) for name in set(places.values())}
        return {
            name: points[places[name]].convert(tensor, unit) if name in places else tensor
            for name, tensor in predictions.items()
        }
