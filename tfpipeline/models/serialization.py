"""What Keras stores of this package's layers besides weights: ``save``, ``load_model``, ``clone_model``."""

from __future__ import annotations

from typing import Any, Optional, TypeVar

import keras

from tfpipeline.models.architectures import config_of_layer
from tfpipeline.models.config import EncoderConfig

_Class = TypeVar("_Class", bound=type)


def serializable(cls: _Class) -> _Class:
    """A decorator that lets Keras find a class of this package in its files, as ``tfpipeline>NAME``."""
    registered: _Class = keras.saving.register_keras_serializable(package="tfpipeline")(cls)
    return registered


def config_of(layer: Any, *names: str) -> dict[str, Any]:
    """Attributes of a layer in their JSON form, by the names of its constructor's arguments."""
    values = {name: getattr(layer, name) for name in names}
    return {
        name: value.to_dict() if isinstance(value, EncoderConfig) else value for name, value in values.items()
    }


class EncoderPart(keras.layers.Layer):
    """A part of an encoder, made from the configuration, a dropout site and the stddev of initial weights."""

    config: EncoderConfig
    site: int
    stddev: Optional[float]

    def get_config(self) -> dict[str, Any]:
        """Keras's serialisation."""
        return {**super().get_config(), **config_of(self, "config", "site", "stddev")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EncoderPart:
        """The inverse of :meth:`get_config`."""
        return cls(**{**config, "config": config_of_layer(config["config"])})


def freeze(layer: keras.layers.Layer) -> None:
    """Apply a constructor's ``trainable=False`` to parts that were created afterwards.

    Keras applies it only to parts that exist when it is set, and a stored configuration sets it at once.
    """
    if not layer.trainable:
        layer.trainable = True  # TensorFlow ignores an assignment that does not change the value
        layer.trainable = False
