"""LoRA: low-rank changes of projections (Hu et al. 2021, arXiv:2106.09685).

A projection W becomes ``W + alpha / rank * A @ B``. Rank-stabilised (Kalajdzievski 2023, arXiv:2312.03732):
``alpha / sqrt(rank)``. Imports no framework.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator

from tfpipeline.errors import UserError
from tfpipeline.models.peft._names import by_pattern, require_regular_expressions
from tfpipeline.models.peft._options import PEFT_SITE, Adaptation, PeftOptions
from tfpipeline.models.peft._seeds import seed_of


class ProjectionOptions(PeftOptions):
    """The options of methods that change chosen projections."""

    projections: list[str] = Field(
        default_factory=lambda: ["query", "value"],
        min_length=1,
        description="The projections that are changed: ends of their names (`query`, `key`, `value`, "
        "`attention/output`, `inner`, `outer`, `layer_3/attention/query`), `all`, or `re:PATTERN` (a regular "
        "expression of the whole name).",
    )

    @field_validator("projections")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        require_regular_expressions(value)
        return value


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
    ranks: dict[str, int] = Field(
        default_factory=dict,
        description="Other ranks for some of the projections, by name: {layer_0/attention/query: 4}.",
    )
    alphas: dict[str, float] = Field(
        default_factory=dict, description="Other values of alpha for some of the projections, by name."
    )
    rank_stabilized: bool = Field(
        False, description="Divide alpha by the root of the rank, not by the rank (arXiv:2312.03732)."
    )

    @field_validator("ranks")
    @classmethod
    def _ranks_of_patterns(cls, value: dict[str, int]) -> dict[str, int]:
        require_regular_expressions(value)
        for name, rank in value.items():
            if rank < 1:
                raise ValueError(f"the rank of {name} is {rank}, but a rank is at least 1")
        return value

    @field_validator("alphas")
    @classmethod
    def _alphas_of_patterns(cls, value: dict[str, float]) -> dict[str, float]:
        require_regular_expressions(value)
        for name, alpha in value.items():
            if not (0 < abs(alpha) < math.inf):
                raise ValueError(f"the alpha of {name} is {alpha:g}, but it must be a number other than 0")
        return value

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """See :func:`tfpipeline.models.peft.attach`."""
        from tfpipeline.models.peft._low_rank import LowRank, LowRankPart
        from tfpipeline.models.peft._projections import add_adapters, by_dense, choose, trainable

        chosen = choose(encoder, self.method, "projections", self.projections)
        ranks = by_pattern(list(chosen), "ranks", self.ranks, self.rank)
        alphas = by_pattern(list(chosen), "alphas", self.alphas, self.alpha)
        planned = []
        for number, (dense, columns) in enumerate(by_dense(chosen)):
            parts = {}
            for name, where in columns.items():
                shape = (dense.kernel.shape[0], len(range(dense.units)[where]))
                require_rank(name, ranks[name], shape)
                divisor = math.sqrt(ranks[name]) if self.rank_stabilized else ranks[name]
                parts[name.rpartition("/")[2]] = LowRankPart(where, ranks[name], alphas[name] / divisor)
            layer = LowRank(
                parts,
                dropout=self.dropout,
                site=PEFT_SITE + number,
                seed=seed_of(seed, number),
                name=self.method,
                dtype=dense.dtype_policy,
            )
            planned.append((dense, layer))
        layers = add_adapters(planned)
        return Adaptation(self, encoder, seed, trainable(layers.values()), layers)


def require_rank(name: str, rank: int, shape: tuple[int, int]) -> None:
    """Raise a UserError if a rank is above that of its matrix."""
    if rank > min(shape):
        raise UserError(
            f"peft: the rank of {name} is {rank}, but its matrix is {shape[0]} x {shape[1]}; choose at most "
            f"{min(shape)}"
        )


OPTIONS = LoraOptions
