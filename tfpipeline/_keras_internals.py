"""Every private name of Keras that this package uses, in one place.

Keras may change them in any release. ``tests/test_internals.py`` asks each for the behaviour that is relied
on here, and names the installed version when one is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers directly inside a layer, in the order in which they were assigned to it."""
    layers: Any = layer
    return list(layers._flatten_layers(include_self=False, recursive=False))


class OptimizerHooks:
    """Mixed into a Keras optimizer that decays weights itself."""

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: Keras's decay comes before the update, for all variables at one rate."""


def schedule_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """The schedule that an optimizer was made with; ``learning_rate`` is its value at the current step."""
    return optimizer._learning_rate


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """The place of a variable among those that an optimizer was built on."""
    index: int = optimizer._get_variable_index(variable)
    return index


def is_decayed(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Whether ``exclude_from_weight_decay`` leaves a variable in."""
    decayed: bool = optimizer._use_weight_decay(variable)
    return decayed


def moments(optimizer: keras.optimizers.Adam, index: int) -> tuple[Any, Any]:
    """The slots of Adam's first and second moment, by :func:`variable_index`."""
    return optimizer._momentums[index], optimizer._velocities[index]


def set_adafactor_slots(
    optimizer: keras.optimizers.Adafactor, rows: list[Any], columns: list[Any], whole: list[Any]
) -> None:
    """Give Adafactor its slots: the second moment's rows, columns, and all of it, one of each a variable."""
    optimizer._r, optimizer._c, optimizer._v = rows, columns, whole
