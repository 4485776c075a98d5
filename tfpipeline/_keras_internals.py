"""Every private name of Keras that this package uses, in one place.

Keras may change them in any release. ``tests/test_internals.py`` tests the behaviour that this package relies
on, and reports the installed version if a name is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers directly inside a layer, in the order in which they were assigned to it."""
    layers: Any = layer
    return list(layers._flatten_layers(include_self=False, recursive=False))


def add_sublayer(layer: keras.layers.Layer, attribute: str, sublayer: keras.layers.Layer) -> None:
    """Assign a layer to an attribute of a layer that is built; Keras allows this only before."""
    with _unlocked(layer):
        setattr(layer, attribute, sublayer)


def remove_sublayer(layer: keras.layers.Layer, attribute: str) -> None:
    """Set an attribute of a built layer, which holds a layer, to None; its variables are then gone too."""
    with _unlocked(layer) as tracker:
        tracker.untrack(getattr(layer, attribute))
        setattr(layer, attribute, None)


@contextlib.contextmanager
def _unlocked(layer: keras.layers.Layer) -> Iterator[Any]:
    """The tracker of a built layer, which accepts changes within the block."""
    tracker: Any = layer._tracker
    tracker.unlock()
    try:
        yield tracker
    finally:
        tracker.lock()


class OptimizerHooks:
    """A mixin for Keras optimizers that decay weights themselves."""

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: Keras would decay before the update, with one rate for all variables."""


def schedule_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """The learning rate schedule of an optimizer; ``learning_rate`` is only its value at the current step."""
    return optimizer._learning_rate


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """The index of a variable among those that an optimizer was built on."""
    index: int = optimizer._get_variable_index(variable)
    return index


def is_decayed(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Whether a variable is decayed, given ``exclude_from_weight_decay``."""
    decayed: bool = optimizer._use_weight_decay(variable)
    return decayed


def moments(optimizer: keras.optimizers.Adam, index: int) -> tuple[Any, Any]:
    """The slots of Adam's first and second moment, by :func:`variable_index`."""
    return optimizer._momentums[index], optimizer._velocities[index]


def set_adafactor_slots(
    optimizer: keras.optimizers.Adafactor, rows: list[Any], columns: list[Any], whole: list[Any]
) -> None:
    """Set Adafactor's slots, one of each per variable: the second moment's rows, its columns, and the full
    second moment.
    """
    optimizer._r, optimizer._c, optimizer._v = rows, columns, whole
