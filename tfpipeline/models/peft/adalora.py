"""AdaLoRA: low-rank changes, whose ranks are chosen in training (Zhang et al. 2023, arXiv:2303.10512).

All projections start with ``initial_rank``. Then the least important singular values of all projections
together are removed, until they have ``target_rank`` on average: important projections end with more, others
with fewer, perhaps none. Imports no framework.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tfpipeline.config import StepsOrShare
from tfpipeline.models.peft._options import Adaptation
from tfpipeline.models.peft.lora import LowRankOptions


class AdaloraOptions(LowRankOptions):
    """AdaLoRA's options."""

    depends_on_length = True

    method: Literal["adalora"] = "adalora"
    alpha: float = Field(16.0, description="Factor of the change, before it is divided by initial_rank.")
    initial_rank: int = Field(12, ge=1, description="Rank of the change of each projection at first.")
    target_rank: int = Field(8, ge=1, description="Mean rank of all projections at the end.")
    warmup: StepsOrShare = Field(
        0.1,
        ge=0,
        description="Steps before the first singular values are removed: a number of steps, or below 1 a "
        "share of all steps.",
    )
    final: StepsOrShare = Field(
        0.5,
        ge=0,
        description="Steps at the end in which the ranks no longer change: a number of steps, or below 1 a "
        "share of all steps.",
    )
    interval: int = Field(10, ge=1, description="Steps between two choices of the singular values to keep.")
    beta_1: float = Field(0.85, ge=0, lt=1, description="Decay of the moving mean of the sensitivity.")
    beta_2: float = Field(0.85, ge=0, lt=1, description="Decay of the moving mean of its uncertainty.")
    orthogonality: float = Field(
        0.1, ge=0, description="Weight of the penalty that keeps singular vectors orthonormal."
    )

    @model_validator(mode="after")
    def _ranks_shrink(self) -> AdaloraOptions:
        if self.initial_rank < self.target_rank:
            raise ValueError(
                f"initial_rank is {self.initial_rank}, but target_rank is {self.target_rank}; ranks only "
                f"shrink, so choose an initial_rank of at least {self.target_rank}"
            )
        return self

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """See :func:`tfpipeline.models.peft.attach`."""
        from tfpipeline.models.peft._low_rank import add_low_rank
        from tfpipeline.models.peft._projections import choose, trainable
        from tfpipeline.models.peft._rank_allocation import RankAllocation, SingularValues

        chosen = choose(encoder, self.method, "projections", self.projections)
        ranks = dict.fromkeys(chosen, self.initial_rank)
        scales = dict.fromkeys(chosen, self.alpha / self.initial_rank)
        layers = add_low_rank(SingularValues, chosen, ranks, scales, self, seed)
        return RankAllocation(self, encoder, seed, trainable(layers.values()), layers)


OPTIONS = AdaloraOptions
