"""BitFit: only biases are trained (Ben Zaken et al. 2021, arXiv:2106.10199). Imports no framework."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tfpipeline.models.peft._names import Names, matches
from tfpipeline.models.peft._options import Adaptation, PeftOptions


class BitfitOptions(PeftOptions):
    """BitFit's options."""

    method: Literal["bitfit"] = "bitfit"
    biases: Names = Field(
        default_factory=lambda: ["all"],
        min_length=1,
        description="Which biases are trained: `all`, ends of the names of their layers (`qkv`, `inner`, "
        "`attention_norm`), or `re:PATTERN` (a regular expression of the whole name, encoder/layer_0/inner).",
    )

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """See :func:`tfpipeline.models.peft.attach`."""
        biases = {
            variable.path.removesuffix("/bias"): variable
            for part in encoder.parts()
            if part.role in ("embeddings", "block")
            for variable in part.layer.weights
            if variable.path.endswith("/bias")
        }
        chosen = {name for word in self.biases for name in matches(biases, "biases", word, "bias")}
        trained = [variable for name, variable in biases.items() if name in chosen]
        return Adaptation(self, encoder, seed, trained, {})


OPTIONS = BitfitOptions
