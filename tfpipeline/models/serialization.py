"""What Keras saves of our layers beside their weights: ``save``, ``load_model``, ``clone_model``."""

from __future__ import annotations

from typing import Any, Optional, TypeVar

import keras

from tfpipeline.models.architectures import config_of_layer
from tfpipeline.models.config import EncoderConfig

_Class = TypeVar("_Class", bound=type)


def serializable(cls: _Class) -> _Class:
    """Let Keras find a class of ours in its files, as ``tfpipeline>NAME``; a decorator."""
    registered: _Class = keras.saving.register_keras_serializable(package="tfpipeline")(cls)
    return registered


def config_of(layer: Any, *names: str) -> dict[str, Any]:
    """Attributes of a layer as JSON has them, by the names that its constructor takes."""
    values = {name: getattr(layer, name) for name in names}
    return {
        name: value.to_dict() if isinstance(value, EncoderConfig) else value for name, value in values.items()
    }


class EncoderPart(keras.layers.Layer):
    """A part of an encoder, made from the configuration, a dropout site and the stddev of first weights."""

    config: EncoderConfig
    site: int
    stddev: Optional[float]

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "config", "site", "stddev")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EncoderPart:
        """The inverse of :meth:`get_config`."""
        return cls(**{**config, "config": config_of_layer(config["config"])})


def freeze(layer: keras.layers.Layer) -> None:
    """Make ``trainable=False`` of a constructor hold for the parts that were made after it was read.

    Keras sets it for parts that are there when it is changed, and a file's configuration gives it at once.
    """
    if not layer.trainable:
        layer.trainable = True  # TensorFlow passes over an attribute that is set to what it is
        layer.trainable = False
