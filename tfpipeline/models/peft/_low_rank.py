"""Low-rank changes of the matrices of a layer: ``y + scale * (x @ A) @ B``.

R tokens, r rank. A layer that computes several projections in one product (query, key and value) gets one
adapter, which computes all of their changes in two products.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import keras
from keras import ops

from tfpipeline.errors import UserError
from tfpipeline.models.architectures import Projection
from tfpipeline.models.dense_adapter import DenseAdapter
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layer_changes import LayerChange, LowRankChange
from tfpipeline.models.layers import Dropout
from tfpipeline.models.peft._options import PEFT_SITE
from tfpipeline.models.peft._projections import add_adapters, by_dense
from tfpipeline.models.peft._seeds import seed_of
from tfpipeline.models.serialization import serializable

if TYPE_CHECKING:
    from tfpipeline.models.peft.lora import LowRankOptions


class LowRankPart(NamedTuple):
    """The change of one projection.

    Attributes:
        columns: the projection's columns in the kernel.
        rank: r.
        scale: the factor of the change.
    """

    columns: slice
    rank: int
    scale: float


@serializable
class LowRank(DenseAdapter):
    """Adds a product of two small matrices to projections of a layer (Hu et al. 2021, arXiv:2106.09685).

    ``NAME_a`` [in, r] is drawn as in the authors' code, uniformly within 1 / sqrt(in); ``NAME_b`` [r, out] is
    0, so a new adapter changes nothing.

    Args:
        parts: by the last part of the projection's name (``query``).
        dropout: rate, on the input of the change.
        site: of the dropout.
        seed: of the initial weights.
    """

    def __init__(
        self,
        parts: Mapping[str, LowRankPart],
        *,
        dropout: float,
        site: int,
        seed: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.parts, self.seed = dict(parts), seed
        self.dropout = Dropout(dropout, site, name="dropout", dtype=self.dtype_policy)

    def build(self, shape: Any) -> None:
        size, units = shape
        self.units = units
        for number, (name, part) in enumerate(self.parts.items()):
            width = len(range(units)[part.columns])
            self.add_part(name, part, size, width, seed_of(self.seed, number))
        self.built = True

    def add_part(self, name: str, part: LowRankPart, size: int, width: int, seed: int) -> None:
        """Add the variables of one projection, [size, width]."""
        bound = 1 / math.sqrt(size)
        first = keras.initializers.RandomUniform(-bound, bound, seed=seed)
        setattr(
            self, f"{name}_a", self.add_weight(name=f"{name}_a", shape=(size, part.rank), initializer=first)
        )
        setattr(
            self,
            f"{name}_b",
            self.add_weight(name=f"{name}_b", shape=(part.rank, width), initializer="zeros"),
        )

    def down(self, name: str) -> Any:
        """The matrix [in, r] of a projection's change."""
        return getattr(self, f"{name}_a")

    def up(self, name: str) -> Any:
        """The matrix [r, out] of a projection's change, without the factor."""
        return getattr(self, f"{name}_b")

    def adapt_output(self, x: Any, y: Any, noise: Optional[Noise]) -> Any:
        """See :meth:`DenseAdapter.adapt_output`."""
        x = self.dropout(x, noise=noise)
        shape = ops.shape(y)
        flat = ops.reshape(x, (-1, x.shape[-1]))
        low = ops.matmul(
            flat, ops.concatenate([ops.convert_to_tensor(self.down(name)) for name in self.parts], 1)
        )
        change = ops.matmul(low, self._up_all())
        return y + ops.reshape(change, shape)

    def _up_all(self) -> Any:
        """All matrices [r, out], each in the columns of its projection: [sum of r, out]."""
        rows = []
        for name, part in self.parts.items():
            start, stop, _ = part.columns.indices(self.units)
            up = ops.convert_to_tensor(self.up(name)) * part.scale
            rows.append(
                up if (start, stop) == (0, self.units) else ops.pad(up, ((0, 0), (start, self.units - stop)))
            )
        return rows[0] if len(rows) == 1 else ops.concatenate(rows, 0)

    def factors(self, name: str) -> tuple[Any, Any]:
        """The matrices of a projection's change, with its factor: float64 [in, r] and [r, out]."""
        down, up = (value.numpy().astype("float64") for value in (self.down(name), self.up(name)))
        return down, self.parts[name].scale * up

    def change(self) -> LayerChange:
        """See :meth:`DenseAdapter.change`."""
        low_rank = {}
        for name, part in self.parts.items():
            down, up = (factor.astype("float32") for factor in self.factors(name))
            low_rank[name] = LowRankChange(part.columns, down, up)
        return LayerChange(low_rank)

    def merge(self, kernel: Any, bias: Any) -> tuple[Any, Any]:
        """See :meth:`DenseAdapter.merge`."""
        kernel = kernel.copy()
        for name, part in self.parts.items():
            down, up = self.factors(name)
            kernel[:, part.columns] += down @ up
        return kernel, bias

    def adapts(self, projection: str) -> bool:
        """See :meth:`DenseAdapter.adapts`."""
        return projection in self.parts


def add_low_rank(
    kind: type[LowRank],
    chosen: Mapping[str, Projection],
    ranks: Mapping[str, int],
    scales: Mapping[str, float],
    options: LowRankOptions,
    seed: int,
) -> dict[str, DenseAdapter]:
    """Add low-rank changes to projections.

    Args:
        kind: the class of the added layers.
        chosen: the projections by name.
        ranks, scales: of the change of each.
        options: of the method.
        seed: of the initial weights.
    Returns:
        The added layers by the path of the layer that they change.
    Raises:
        UserError: a rank is above that of its matrix; nothing is added.
    """
    planned = []
    for number, (dense, columns) in enumerate(by_dense(chosen)):
        parts = {}
        for name, where in columns.items():
            _require_rank(name, ranks[name], (dense.kernel.shape[0], len(range(dense.units)[where])))
            parts[name.rpartition("/")[2]] = LowRankPart(where, ranks[name], scales[name])
        layer = kind(
            parts,
            dropout=options.dropout,
            site=PEFT_SITE + number,
            seed=seed_of(seed, number),
            name=options.method,
            dtype=dense.dtype_policy,
        )
        planned.append((dense, layer))
    return add_adapters(planned)


def _require_rank(name: str, rank: int, shape: tuple[int, int]) -> None:
    if rank > min(shape):
        raise UserError(
            f"peft: the rank of {name} is {rank}, but its matrix is {shape[0]} x {shape[1]}; choose at most "
            f"{min(shape)}"
        )
