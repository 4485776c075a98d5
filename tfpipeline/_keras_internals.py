"""Every private name of Keras that this package uses, in one place.

Keras may change them in any release. ``tests/test_internals.py`` asks each for the behaviour that is relied on here,
and names the installed version when one is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers directly inside a layer, in the order in which they were assigned to it."""
    layers: Any = layer
    return list(layers._flatten_layers(include_self=False, recursive=False))
