"""AdaLoRA: low-rank changes, whose ranks are chosen in training (Zhang et al. 2023, arXiv:2303.10512).

All projections start with ``initial_rank``. Then the least important singular values of all projections
together are removed, until they have ``target_rank`` on average: important projections end with more, others
with fewer, perhaps none. Imports no framework.
"""

from __future__ import annotations

from typing import Any, Literal, Union

from pydantic import Field, field_validator, model_validator

from tfpipeline.models.peft._options import PEFT_SITE, Adaptation
from tfpipeline.models.peft._seeds import seed_of
from tfpipeline.models.peft.lora import LowRankOptions, require_rank


class AdaloraOptions(LowRankOptions):
    """AdaLoRA's options."""

    depends_on_length = True

    method: Literal["adalora"] = "adalora"
    alpha: float = Field(16.0, description="Factor of the change, before it is divided by initial_rank.")
    initial_rank: int = Field(12, ge=1, description="Rank of the change of each projection at first.")
    target_rank: int = Field(8, ge=1, description="Mean rank of all projections at the end.")
    warmup: Union[int, float] = Field(
        0.1,
        ge=0,
        description="Steps before the first singular values are removed: a number of steps, or below 1 a "
        "share of all steps.",
    )
    final: Union[int, float] = Field(
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

    @field_validator("warmup", "final")
    @classmethod
    def _whole_or_share(cls, value: Union[int, float]) -> Union[int, float]:
        if value >= 1 and value != int(value):
            raise ValueError("is neither a whole number of steps nor a share below 1")
        return int(value) if value >= 1 else float(value)

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
        from tfpipeline.models.peft._low_rank import LowRankPart
        from tfpipeline.models.peft._projections import add_adapters, by_dense, choose, trainable
        from tfpipeline.models.peft._rank_allocation import RankAllocation, SingularValues

        rank, planned = self.initial_rank, []
        for number, (dense, columns) in enumerate(
            by_dense(choose(encoder, self.method, "projections", self.projections))
        ):
            parts = {}
            for name, where in columns.items():
                require_rank(name, rank, (dense.kernel.shape[0], len(range(dense.units)[where])))
                parts[name.rpartition("/")[2]] = LowRankPart(where, rank, self.alpha / rank)
            layer = SingularValues(
                parts,
                dropout=self.dropout,
                site=PEFT_SITE + number,
                seed=seed_of(seed, number),
                name=self.method,
                dtype=dense.dtype_policy,
            )
            planned.append((dense, layer))
        layers = add_adapters(planned)
        return RankAllocation(self, encoder, seed, trainable(layers.values()), layers)


OPTIONS = AdaloraOptions
