"""LoRA: low-rank changes of projections (Hu et al. 2021, arXiv:2106.09685).

A projection W becomes ``W + alpha / rank * A @ B``. Rank-stabilised (Kalajdzievski 2023, arXiv:2312.03732):
``alpha / sqrt(rank)``. Imports no framework.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator

from tfpipeline.models.peft._names import Factors, Names, Ranks, by_pattern
from tfpipeline.models.peft._options import Adaptation, PeftOptions


class ProjectionOptions(PeftOptions):
    """The options of methods that change chosen projections."""

    projections: Names = Field(
        default_factory=lambda: ["query", "value"],
        min_length=1,
        description="The projections that are changed: ends of their names (`query`, `key`, `value`, "
        "`attention/output`, `inner`, `outer`, `layer_3/attention/query`), `all`, or `re:PATTERN` (a regular "
        "expression of the whole name).",
    )


class LowRankOptions(ProjectionOptions):
    """The options that LoRA and AdaLoRA share."""

    alpha: float = Field(16.0, description="Factor of the change, before it is divided by the rank.")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout rate of the input of the change, in training."
    )

    @field_validator("alpha")
    @classmethod
    def _not_zero(cls, value: float) -> float:
        if not (0 < abs(value) < math.inf):
            raise ValueError("must be a number other than 0: with 0 the method changes nothing")
        return value


class LoraOptions(LowRankOptions):
    """LoRA's options."""

    method: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1, description="Rank of the change of a projection.")
    ranks: Ranks = Field(
        default_factory=dict,
        description="Other ranks for some of the projections, by name: {layer_0/attention/query: 4}.",
    )
    alphas: Factors = Field(
        default_factory=dict, description="Other values of alpha for some of the projections, by name."
    )
    rank_stabilized: bool = Field(
        False, description="Divide alpha by the root of the rank, not by the rank (arXiv:2312.03732)."
    )

    @field_validator("ranks")
    @classmethod
    def _ranks_of_patterns(cls, value: dict[str, int]) -> dict[str, int]:
        for name, rank in value.items():
            if rank < 1:
                raise ValueError(f"the rank of {name} is {rank}, but a rank is at least 1")
        return value

    @field_validator("alphas")
    @classmethod
    def _alphas_of_patterns(cls, value: dict[str, float]) -> dict[str, float]:
        for name, alpha in value.items():
            if not (0 < abs(alpha) < math.inf):
                raise ValueError(f"the alpha of {name} is {alpha:g}, but it must be a number other than 0")
        return value

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """See :func:`tfpipeline.models.peft.attach`."""
        from tfpipeline.models.peft._low_rank import LowRank, add_low_rank
        from tfpipeline.models.peft._projections import choose, trainable

        chosen = choose(encoder, self.method, "projections", self.projections)
        ranks = by_pattern(list(chosen), "ranks", self.ranks, self.rank)
        alphas = by_pattern(list(chosen), "alphas", self.alphas, self.alpha)
        scales = {
            name: alphas[name] / (math.sqrt(rank) if self.rank_stabilized else rank)
            for name, rank in ranks.items()
        }
        layers = add_low_rank(LowRank, chosen, ranks, scales, self, seed)
        return Adaptation(self, encoder, seed, trainable(layers.values()), layers)


OPTIONS = LoraOptions
