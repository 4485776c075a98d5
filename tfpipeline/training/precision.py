"""The precision in which a model computes."""

from __future__ import annotations

import keras


class policy:  # noqa: N801 - reads as `with policy("mixed_bfloat16"):`
    """Set Keras's dtype policy while models are built, and restore it afterwards."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._saved = keras.config.dtype_policy()
        # TensorFloat-32 is a way to multiply float32 on GPUs, not a dtype: the strategy enables it.
        keras.config.set_dtype_policy("float32" if self._name == "tensorfloat32" else self._name)

    def __exit__(self, *_: object) -> None:
        keras.config.set_dtype_policy(self._saved)
