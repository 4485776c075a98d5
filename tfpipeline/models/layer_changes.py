"""What a method of parameter-efficient fine-tuning changes in one layer, as arrays. Imports no framework.

A :class:`tfpipeline.models.layers.Dense` becomes

    y = ((x * inputs) @ kernel + bias + added_bias + x @ down @ up) * outputs

and a layer normalisation gets ``added_bias`` alone. A serving form applies such changes row by row, each row
those of its own adapter (:mod:`tfpipeline.models.row_changes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    import numpy as np


class LowRankChange(NamedTuple):
    """A product of two matrices that is added to some columns of a kernel.

    Attributes:
        columns: the columns.
        down: float32 [in, r].
        up: float32 [r, width of the columns], with all factors.
    """

    columns: slice
    down: np.ndarray
    up: np.ndarray


@dataclass(frozen=True)
class LayerChange:
    """The change of a layer; what is None or empty changes nothing.

    Attributes:
        low_rank: by the name of the projection.
        inputs: factors of the input, float32 [in].
        outputs: factors of the output, float32 [out].
        added_bias: float32 [out].
    """

    low_rank: Mapping[str, LowRankChange] = field(default_factory=dict)
    inputs: Optional[np.ndarray] = None
    outputs: Optional[np.ndarray] = None
    added_bias: Optional[np.ndarray] = None

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by name."""
        plain = {"inputs": self.inputs, "outputs": self.outputs, "added_bias": self.added_bias}
        found = {name: array for name, array in plain.items() if array is not None}
        for name, (_, down, up) in self.low_rank.items():
            found.update({f"{name}/down": down, f"{name}/up": up})
        return found


Changes = Mapping[str, LayerChange]
"""The changes of one adapter, by the path of the layer."""
