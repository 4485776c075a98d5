"""Choosing an encoder's projections by name, and adding layers to built ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from tfpipeline import _keras_internals
from tfpipeline.errors import UserError
from tfpipeline.models.architectures import Projection
from tfpipeline.models.dense_adapter import DenseAdapter
from tfpipeline.models.peft._names import matches


def projections(encoder: Any, method: str) -> Mapping[str, Projection]:
    """The encoder's projections by name.

    Raises:
        UserError: its architecture does not name them.
    """
    named = getattr(encoder, "projections", None)
    if named is None:
        raise UserError(
            f"the architecture {encoder.config.architecture} has no method projections, which peft.method "
            f"{method} needs; use bitfit"
        )
    found: Mapping[str, Projection] = named()
    return found


def choose(encoder: Any, method: str, field: str, words: Iterable[str]) -> dict[str, Projection]:
    """The projections that some names mean, in the encoder's order.

    Args:
        encoder: the encoder.
        method: the name of the method, for messages.
        field: the field of the options that has the names, for messages.
        words: the names.
    Raises:
        UserError: a name matches no projection.
    """
    known = projections(encoder, method)
    chosen: set[str] = set()
    for word in words:
        chosen.update(matches(known, field, word))
    return {name: projection for name, projection in known.items() if name in chosen}


def by_dense(chosen: Mapping[str, Projection]) -> list[tuple[Any, dict[str, slice]]]:
    """The projections of each :class:`tfpipeline.models.layers.Dense`, with their columns."""
    grouped: dict[int, tuple[Any, dict[str, slice]]] = {}
    for name, projection in chosen.items():
        grouped.setdefault(id(projection.dense), (projection.dense, {}))[1][name] = projection.columns
    return list(grouped.values())


def add_adapters(planned: Iterable[tuple[Any, DenseAdapter]]) -> dict[str, DenseAdapter]:
    """Build adapters below the names of their layers, and add them.

    Args:
        planned: layers and their adapters, all of them, so that an error in one leaves the encoder as it is.
    Returns:
        The adapters by the path of the layer.
    """
    added = {}
    for dense, adapter in list(planned):
        add_layer(dense, "adapter", adapter, dense.kernel.shape)
        added[dense.path] = adapter
    return added


def add_layer(parent: Any, attribute: str, layer: keras.layers.Layer, shape: Any) -> None:
    """Build a layer below the name of a built layer, whose attribute it becomes.

    Args:
        parent: the built layer.
        attribute: its attribute.
        layer: the new layer, not built.
        shape: the argument of its ``build``.
    """
    with contextlib.ExitStack() as scopes:
        for name in parent.path.split("/"):
            scopes.enter_context(keras.name_scope(name))
        layer.build(shape)
    _keras_internals.add_sublayer(parent, attribute, layer)


def trainable(layers: Iterable[keras.layers.Layer]) -> list[keras.Variable]:
    """The variables to train of some layers."""
    return [variable for layer in layers for variable in layer.trainable_variables]
