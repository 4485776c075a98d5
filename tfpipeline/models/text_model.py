"""An encoder with a head: the model that is trained, evaluated and exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

import keras
from keras import ops

from tfpipeline.models.encoder import BertEncoder
from tfpipeline.models.kernels import Noise
from tfpipeline.models.windows import Windows


class TextModel(keras.Model):
    """An ordinary ``keras.Model``: token ids in, the head's outputs out.

    Args:
        encoder: the encoder.
        head: a layer called as ``head(encoder_outputs, attention_mask, noise=)``; returns a dict. Its
            ``uses_pooler`` says whether it reads ``pooled_output``.
        windows: how rows are cut that are longer than one window; None for a model that reads rows whole.
    """

    def __init__(
        self,
        encoder: BertEncoder,
        head: keras.layers.Layer,
        windows: Optional[Windows] = None,
        name: str = "text_model",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.encoder = encoder
        self.head = head
        self.windows = windows
        # Only for calls with training=True that bring no noise of their own (Keras's fit); a run's own loop
        # makes every mask a function of the step.
        self.seed_generator = keras.random.SeedGenerator(0, name="seed_generator")
        if not head.built:
            head.build(encoder.compute_output_shape({"input_ids": (None, None)}))
        if encoder.pooler is not None and not head.uses_pooler:
            encoder.pooler.trainable = False  # it gets no gradient, so weight decay must not shrink it
        self.built = True

    if TYPE_CHECKING:  # Keras has no types of its own

        def __call__(self, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]: ...

    def call(
        self, inputs: Mapping[str, Any], training: Optional[bool] = None, noise: Optional[Noise] = None
    ) -> dict[str, Any]:
        """Answer.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T]; see the encoder. With
                windows T may be more than the encoder's positions.
            training: whether dropout is on.
            noise: what its masks depend on; drawn at random when training without one.
        Returns:
            The head's outputs; of a row in several windows, made one as its ``merges`` say, pooled by default.
        """
        if not training:
            noise = None
        elif noise is None:
            drawn = ops.cast(self.seed_generator.next(), "int64")
            noise = Noise(seed=drawn[0], step=drawn[1])
        mask = inputs.get("attention_mask")
        mask = ops.ones_like(inputs["input_ids"]) if mask is None else mask
        width = inputs["input_ids"].shape[1]
        if self.windows is None or (width is not None and width <= self.windows.cut.max_length):
            outputs: dict[str, Any] = self.head(self.encoder(inputs, noise=noise), mask, noise=noise)
            return outputs
        types = inputs.get("token_type_ids")
        types = ops.zeros_like(inputs["input_ids"]) if types is None else types
        whole = {"input_ids": inputs["input_ids"], "token_type_ids": types, "attention_mask": mask}
        cut, found, noise = self.windows.split(whole, noise)
        outputs = self.head(self.encoder(cut, noise=noise), cut["attention_mask"], noise=noise)
        width = ops.shape(whole["input_ids"])[1]
        return self.windows.merge(outputs, found, width, getattr(self.head, "merges", None))
