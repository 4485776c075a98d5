"""An encoder with a head: the model that is trained, evaluated and exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import keras
import numpy as np
from keras import ops

from tfpipeline.data.text_names import joined
from tfpipeline.models import (
    describe,
    embedding_head,  # noqa: F401 - whoever has this class can load a model with any head
    generation_head,  # noqa: F401
    masked_lm_head,  # noqa: F401
    token_heads,  # noqa: F401
)
from tfpipeline.models import encoder as _encoder  # noqa: F401 - and with any encoder of the package
from tfpipeline.models.architectures import Encoder, serving_form
from tfpipeline.models.embedding import embed
from tfpipeline.models.head import as_head, build_head, head_config, inputs_for, noise_for, number_dropouts
from tfpipeline.models.heads import Pooling
from tfpipeline.models.inputs import INPUTS, InputLimits, by_text
from tfpipeline.models.kernels import Noise
from tfpipeline.models.key_value_cache import CachedModel, generating
from tfpipeline.models.layers import drawn_noise
from tfpipeline.models.serialization import freeze, serializable
from tfpipeline.models.windows import Merge, Windows
from tfpipeline.text import Tokenizer, TokenizerOptions, Truncation, build_tokenizer


@serializable
class TextModel(keras.Model, CachedModel):
    """An ordinary ``keras.Model`` from token ids to the head's outputs, or to the encoder's if it has no
    head.

    ``save`` and ``keras.saving.load_model``, ``clone_model``, ``fit``, ``summary`` and ``export`` work as for
    any model.

    Args:
        encoder: the encoder.
        head: a :class:`tfpipeline.models.head.Head`, or an ordinary Keras layer that is called as
            ``head(encoder_outputs, attention_mask)`` and returns a dict; such a layer gets the defaults of
            ``Head``.
        windows: how rows that are longer than one window are divided; None for a model that reads whole rows.
        tokenizer: the tokenizer for the encoder's vocabulary, for :meth:`embed`; it is saved with the model.
        truncation: how :meth:`embed` truncates long texts; by default to the encoder's number of positions.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Optional[keras.layers.Layer] = None,
        windows: Optional[Windows] = None,
        tokenizer: Optional[Tokenizer] = None,
        truncation: Optional[Truncation] = None,
        name: str = "text_model",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.encoder = encoder
        self.head: Any = None if head is None else as_head(head)
        self.windows = windows
        # None is left out of the type: models that are loaded have one.
        self.tokenizer: Tokenizer | Any = tokenizer
        self.truncation = truncation
        # Only for calls with training=True that bring no noise of their own (Keras's fit); a run's own loop
        # makes every mask a function of the step.
        self.seed_generator = keras.random.SeedGenerator(0, name="seed_generator")
        if self.head is not None:
            number_dropouts(self.head)
            if self.head.binds_embeddings:
                self.head.bind_embeddings(encoder.word_embeddings)
            build_head(self.head, encoder.compute_output_shape({"input_ids": (None, None)}))
            if not self.head.uses_pooler:
                for part in encoder.parts():
                    if (
                        part.output == "pooled_output"
                    ):  # it gets no gradient, so weight decay must not shrink it
                        part.layer.trainable = False
        self.built = True
        freeze(self)

    @property
    def adaptation(self) -> Any:
        """The :class:`tfpipeline.models.peft.Adaptation` of its encoder; None without."""
        return getattr(self.encoder, "adaptation", None)

    @property
    def mergeable(self) -> bool:
        """Whether :meth:`merge` works."""
        return self.adaptation is None or self.adaptation.options.mergeable

    def merge(self) -> TextModel:
        """Write the changes of parameter-efficient fine-tuning into the encoder's weights, in place.

        A model without them stays as it is.

        Returns:
            The model itself.
        Raises:
            UserError: the method's layers cannot be merged.
        """
        if self.adaptation is not None:
            self.adaptation.merge()
        return self

    @property
    def limits(self) -> InputLimits:
        """The ids, token types and widths that it can read."""
        config, windows = self.encoder.config, self.windows
        # Windows and heads distinguish the texts of a pair even if the encoder has only one type.
        types = max(config.type_vocab_size, 2)
        width = config.max_position_embeddings if windows is None else windows.cut.longest(windows.pair)
        width -= 0 if self.head is None else self.head.further_positions
        return InputLimits(config.vocab_size, types, width)

    if TYPE_CHECKING:  # Keras has no types of its own

        def __call__(self, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]: ...

    def call(
        self, inputs: Mapping[str, Any], training: Optional[bool] = None, noise: Optional[Noise] = None
    ) -> dict[str, Any]:
        """Compute the outputs.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T]; see the encoder. With
                windows, T may exceed the encoder's positions. If the texts of a row are encoded separately,
                each text but the first has inputs ``TEXT/NAME`` (``text_pair/input_ids``), with a T of its
                own.
            training: whether dropout is on.
            noise: determines the dropout masks; drawn at random in training if it is not given.
        Returns:
            The head's outputs, combined over the windows of a row as ``merges`` says (pooled by default).
            Without a head, the encoder's outputs, with tokens at their positions in the row. Encoder and head
            read every text as they read the first; the outputs of the others are called ``TEXT/NAME``.
        """
        if not isinstance(inputs, Mapping) or "input_ids" not in inputs:
            given = f"a dict of {', '.join(inputs)}" if isinstance(inputs, Mapping) else type(inputs).__name__
            raise TypeError(
                f"the model takes a dict of {', '.join(INPUTS)}, as model.tokenizer(texts) gives it; found "
                f"{given}"
            )
        if not training:
            noise = None
        elif noise is None:
            noise = drawn_noise(self.seed_generator)
        return self._answer(self.encoder, inputs, noise)

    def _answer(self, encoder: Any, inputs: Mapping[str, Any], noise: Optional[Noise]) -> dict[str, Any]:
        """The outputs of one sequence, or of several that are encoded separately."""
        outputs = {}
        for number, (text, own) in enumerate(by_text(inputs).items()):
            drawn = None if noise is None else noise.for_text(number)
            outputs[text] = self._run(encoder, own, drawn, self.head)
        return joined(outputs)

    def _parts(self) -> tuple[Any, Any]:
        return generating(self, self.encoder)

    def for_serving(self, precision: str = "float32") -> ServedModel:
        """The model as it is served: the same outputs, from the encoder's serving form.

        Args:
            precision: "float32" or "bfloat16", of the encoder's weights and matrix products.
        Raises:
            UserError: the encoder cannot be served in that precision.
        """
        return ServedModel(self, precision)

    def encode(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the encoder's outputs, without dropout and without the head, for the inputs of a call.

        Returns:
            ``sequence_output`` [B, T, H], with windows each token at its position in the row; and with a
            pooler ``pooled_output`` [B, H], pooled over windows.
        """
        return self._run(self.encoder, inputs, None, None)

    def _run(
        self, encoder: Any, inputs: Mapping[str, Any], noise: Optional[Noise], head: Any
    ) -> dict[str, Any]:
        mask = inputs.get("attention_mask")
        mask = ops.ones_like(inputs["input_ids"]) if mask is None else mask
        width = inputs["input_ids"].shape[1]
        if self.windows is None or (width is not None and width <= self.windows.cut.max_length):
            return self._of_windows(encoder, inputs, mask, noise, head)
        types = inputs.get("token_type_ids")
        types = ops.zeros_like(inputs["input_ids"]) if types is None else types
        whole = {**inputs, "token_type_ids": types, "attention_mask": mask}
        cut, layout, noise = self.windows.split(whole, noise)
        outputs = self._of_windows(encoder, cut, cut["attention_mask"], noise, head)
        width = ops.shape(whole["input_ids"])[1]
        merges: Mapping[str, Merge] = {"sequence_output": "tokens"} if head is None else head.merges
        return self.windows.merge(outputs, layout, width, merges)

    def _of_windows(
        self,
        encoder: Any,
        inputs: Mapping[str, Any],
        mask: Any,
        noise: Optional[Noise],
        head: Any,
    ) -> dict[str, Any]:
        """Of rows that the encoder reads whole."""
        outputs: dict[str, Any] = encoder(inputs, noise=noise)
        if head is None:
            return outputs
        answers: dict[str, Any] = head(outputs, mask, **inputs_for(head, inputs), **noise_for(head, noise))
        return answers

    def embed(
        self,
        texts: Sequence[str],
        text_pair: Optional[Sequence[str]] = None,
        *,
        pooling: Optional[Pooling] = None,
        normalize: Optional[bool] = None,
        prompt: Optional[str] = None,
        max_length: Optional[int] = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """The model's embeddings of texts; see :func:`tfpipeline.models.embedding.embed`."""
        return embed(
            self,
            texts,
            text_pair,
            pooling=pooling,
            normalize=normalize,
            prompt=prompt,
            max_length=max_length,
            batch_size=batch_size,
        )

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",  # noqa: A002 - Keras's name
        *,
        input_signature: Any = None,
        **options: Any,
    ) -> Any:
        """Keras's ``export``, with int32 token ids of any shape unless an ``input_signature`` says otherwise.

        This exports the plain model, from token ids to the head's outputs. ``tfpipeline.export_run`` exports
        a run as a model from texts to predictions.
        """
        if input_signature is None:
            ids = {name: keras.layers.InputSpec(shape=(None, None), dtype="int32") for name in INPUTS}
            input_signature = [ids]
        return super().export(str(filepath), format, input_signature=input_signature, **options)

    # Keras's own serialisation. The tokenizer is part of the configuration, not an asset: a clone has one
    # too.

    def get_config(self) -> dict[str, Any]:
        """Everything that defines the model besides its weights, including the vocabulary."""
        tokenizer, truncation, windows = self.tokenizer, self.truncation, self.windows
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "head": None if self.head is None else head_config(self.head),
            "windows": None if windows is None else windows.get_config(),
            "truncation": None if truncation is None else truncation.get_config(),
            "tokenizer": None
            if tokenizer is None
            else {
                "vocabulary": list(tokenizer.vocabulary),
                "options": tokenizer.options.to_dict(tokenizer.vocabulary),
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> TextModel:
        """The inverse of :meth:`get_config`."""
        options = dict(config)
        for name in ("encoder", "head", "dtype"):
            options[name] = keras.saving.deserialize_keras_object(options[name], custom_objects)
        if options["windows"] is not None:
            options["windows"] = Windows.from_config(options["windows"])
        if options["truncation"] is not None:
            options["truncation"] = Truncation.from_config(options["truncation"])
        if options["tokenizer"] is not None:
            tokenizer = options["tokenizer"]
            options["tokenizer"] = build_tokenizer(
                tokenizer["vocabulary"], TokenizerOptions.from_dict(tokenizer["options"])
            )
        return cls(**options)

    def __repr__(self) -> str:
        return describe.line(self)

    def _repr_html_(self) -> str:
        return describe.table(self)


class ServedModel(CachedModel):
    """A model whose encoder is in its serving form; head and windows are the model's own.

    Args:
        model: with its weights.
        precision: "float32" or "bfloat16".

    Attributes:
        variables: the weights that it reads, each once.
        limits: the model's.
    """

    def __init__(self, model: TextModel, precision: str) -> None:
        self._model, self._encoder = model, serving_form(model.encoder, precision)
        self.limits = model.limits
        read = list(self._encoder.variables)
        if model.head is not None:
            read += [variable.value for variable in model.head.weights]
            if model.head.binds_embeddings:
                read.append(model.encoder.word_embeddings.value)
        self.variables = list({id(variable): variable for variable in read}.values())

    def __call__(self, inputs: Mapping[str, Any], training: Optional[bool] = None) -> dict[str, Any]:
        """The model's outputs, without dropout; inputs as the model's."""
        if training:
            raise ValueError("a model for serving cannot be trained")
        return self._model._answer(self._encoder, inputs, None)

    def _parts(self) -> tuple[Any, Any]:
        return generating(self._model, self._encoder)

    def trained_weights(self) -> Sequence[tuple[Any, Any]]:
        """The model's variables that this form does not read, with values made of those that it reads; see
        :class:`tfpipeline.models.architectures.ServingForm`.
        """
        return self._encoder.trained_weights()
