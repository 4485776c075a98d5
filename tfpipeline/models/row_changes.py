"""Changes of layers that differ from row to row: many adapters in one serving form.

A adapters, B rows, R tokens, r rank. The arrays of all adapters are stacked, and each row gathers those of
its own, so that one batch may mix any of them, and its time does not depend on A. (Many LoRA adapters on one
model: Chen et al. 2023, arXiv:2310.18547; Sheng et al. 2023, arXiv:2311.03285.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.models.layer_changes import Changes, LayerChange, LowRankChange


class RowChanges:
    """The changes of all adapters.

    Args:
        adapters: the changes of each.

    Attributes:
        variables: the stacked arrays, ``tf.Variable``.
    """

    def __init__(self, adapters: Sequence[Changes] = ()) -> None:
        self._adapters = list(adapters)
        self._left = {path for changes in self._adapters for path in changes}
        self.variables: list[tf.Variable] = []

    def of(self, layer: Any, factor: np.ndarray | None = None) -> RowChange | None:
        """The changes of one layer; None if no adapter changes it.

        Args:
            layer: of the encoder.
            factor: what the serving form has multiplied the layer's columns by, float32 [out].
        """
        if layer.path not in self._left:
            return None
        self._left.remove(layer.path)
        change = RowChange(
            layer, [changes.get(layer.path, LayerChange()) for changes in self._adapters], factor
        )
        self.variables += change.variables
        return change

    def require_all_used(self) -> None:
        """Raise a ValueError if a layer is changed that the serving form has not asked for."""
        if self._left:
            raise ValueError(f"no changes by row in {', '.join(sorted(self._left))}")


class RowChange:
    """The changes of one layer by all adapters, which tokens apply in the order of their rows."""

    def __init__(self, layer: Any, changes: Sequence[LayerChange], factor: np.ndarray | None) -> None:
        self.variables: list[tf.Variable] = []
        self._units = _units(layer)
        size, units = layer.weights[0].shape[0], self._units
        name = layer.path.replace("/", "_")
        factor = np.ones(units, np.float32) if factor is None else factor

        def stack(what: str, arrays: Sequence[np.ndarray | None], default: float, width: int) -> Any:
            if all(array is None for array in arrays):
                return None
            filled = [np.full(width, default, np.float32) if array is None else array for array in arrays]
            return self._variable(f"{name}_{what}", np.stack(filled))

        self._inputs = stack("inputs", [change.inputs for change in changes], 1, size)
        self._outputs = stack("outputs", [change.outputs for change in changes], 1, units)
        added = [None if change.added_bias is None else change.added_bias * factor for change in changes]
        self._added_bias = stack("added_bias", added, 0, units)
        self._down: Any = None
        self._ups: list[tuple[slice, Any]] = []
        parts = {part: low.columns for change in changes for part, low in change.low_rank.items()}
        if parts:
            downs = []
            for part, columns in parts.items():
                own = [change.low_rank.get(part) for change in changes]
                down, up = _stacked(own, size, len(range(units)[columns]))
                downs.append(down)
                self._ups.append((columns, self._variable(f"{name}_{part}_up", up * factor[columns])))
            self._down = self._variable(f"{name}_down", np.concatenate(downs, axis=2))

    def _variable(self, name: str, value: np.ndarray) -> tf.Variable:
        variable = tf.Variable(value.astype(np.float32), trainable=False, name=name)
        self.variables.append(variable)
        return variable

    @property
    def scales_outputs(self) -> bool:
        """Whether the layer's output is multiplied."""
        return self._outputs is not None

    def scaled(self, x: tf.Tensor, tokens: Any) -> tf.Tensor:
        """The layer's input, [R, in]."""
        return x if self._inputs is None else x * self._at_tokens(self._inputs, tokens)

    def plus(self, x: tf.Tensor, y: tf.Tensor, tokens: Any) -> tf.Tensor:
        """What is added to the layer's output, or to what it is added to.

        Args:
            x: the layer's input before :meth:`scaled`, [R, in].
            y: [R, out].
            tokens: the layout, with the ``adapters`` of its rows.
        Returns:
            [R, out].
        """
        if self._down is not None:
            y = y + self._low_rank(x, tokens)
        return y if self._added_bias is None else y + self._at_tokens(self._added_bias, tokens)

    def output(self, x: tf.Tensor, product: Callable[[tf.Tensor], tf.Tensor], tokens: Any) -> tf.Tensor:
        """The changed layer's output, [R, out].

        Args:
            x: its input, [R, in].
            product: the layer without changes.
            tokens: as of :meth:`plus`.
        """
        y = self.plus(x, product(self.scaled(x, tokens)), tokens)
        return y if self._outputs is None else y * self._at_tokens(self._outputs, tokens)

    def _at_tokens(self, table: Any, tokens: Any) -> tf.Tensor:
        """Values of adapters, [A, n], at the tokens: [R, n]."""
        return tf.gather(tf.gather(table, tokens.adapters), tokens.rows)

    def _products(self, x: tf.Tensor, adapters: tf.Tensor) -> list[tf.Tensor]:
        """``x @ down @ up`` of rows, for each projection: [b, w, in] and int32 [b] to [b, w, width]."""
        low, made, start = tf.matmul(x, tf.gather(self._down, adapters)), [], 0
        for _, up in self._ups:
            stop = start + up.shape[1]
            made.append(tf.matmul(low[:, :, start:stop], tf.gather(up, adapters)))
            start = stop
        return made

    def _low_rank(self, x: tf.Tensor, tokens: Any) -> tf.Tensor:
        """The low-rank changes of tokens, [R, in] to [R, out]."""
        pieces, at = [], 0
        made = tokens.by_rows(x, self._products)
        for (columns, _), piece in sorted(zip(self._ups, made), key=lambda pair: self._range(pair[0][0])):
            start, stop = self._range(columns)
            pieces += [tf.zeros([tf.shape(x)[0], start - at])] * (start > at) + [piece]
            at = stop
        if at < self._units:
            pieces.append(tf.zeros([tf.shape(x)[0], self._units - at]))
        return pieces[0] if len(pieces) == 1 else tf.concat(pieces, 1)

    def _range(self, columns: slice) -> tuple[int, int]:
        start, stop, _ = columns.indices(self._units)
        return start, stop


def _units(layer: Any) -> int:
    return int(layer.bias.shape[0])


def _stacked(changes: Sequence[LowRankChange | None], size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices of all adapters, padded with zeros to the highest rank: [A, in, r], [A, r, width]."""
    rank = max(change.down.shape[1] for change in changes if change is not None)
    down = np.zeros((len(changes), size, rank), np.float32)
    up = np.zeros((len(changes), rank, width), np.float32)
    for number, change in enumerate(changes):
        if change is not None:
            own = change.down.shape[1]
            down[number, :, :own], up[number, :own] = change.down, change.up
    return down, up
