"""IA3: keys, values and feed-forward activations are multiplied by learnt vectors (Liu et al. 2022,
arXiv:2205.05638). Imports no framework.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tfpipeline.models.peft._names import Names
from tfpipeline.models.peft._options import Adaptation, PeftOptions


class Ia3Options(PeftOptions):
    """IA3's options."""

    method: Literal["ia3"] = "ia3"
    projections: Names = Field(
        default_factory=lambda: ["key", "value"],
        description="Projections whose outputs are multiplied; names as for lora.",
    )
    inputs: Names = Field(
        default_factory=lambda: ["outer"],
        description="Projections whose inputs are multiplied; names as for lora. `outer` reads the "
        "activations of the feed-forward part.",
    )

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """See :func:`tfpipeline.models.peft.attach`."""
        from tfpipeline.errors import UserError
        from tfpipeline.models.peft._projections import add_adapters, by_dense, choose, trainable
        from tfpipeline.models.peft._scaling import Scaling

        outputs = choose(encoder, self.method, "projections", self.projections)
        inputs = choose(encoder, self.method, "inputs", self.inputs)
        if not outputs and not inputs:
            raise UserError("peft: projections and inputs are both empty, so nothing is trained; name one")
        read = {id(projection.dense) for projection in inputs.values()}
        planned = []
        for dense, columns in by_dense({**outputs, **inputs}):
            written = {name.rpartition("/")[2]: where for name, where in columns.items() if name in outputs}
            layer = Scaling(written, inputs=id(dense) in read, name=self.method, dtype=dense.dtype_policy)
            planned.append((dense, layer))
        layers = add_adapters(planned)
        return Adaptation(self, encoder, seed, trainable(layers.values()), layers)


OPTIONS = Ia3Options
