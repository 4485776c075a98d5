"""In which precision a model computes."""

from __future__ import annotations

import keras


class policy:  # noqa: N801 - reads as `with policy("mixed_bfloat16"):`
    """Keras's dtype policy, set while models are built and put back afterwards."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._saved = keras.config.dtype_policy()
        # TensorFloat-32 is how a GPU multiplies float32, no dtype: the strategy switches it on.
        keras.config.set_dtype_policy("float32" if self._name == "tensorfloat32" else self._name)

    def __exit__(self, *_: object) -> None:
        keras.config.set_dtype_policy(self._saved)
