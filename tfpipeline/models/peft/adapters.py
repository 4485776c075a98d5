"""Adapters: small feed-forward networks in each block. Imports no framework.

An adapter is ``A(h) = activation(h @ down + b) @ up + c``. With x for the input of the feed-forward part FF,
the placements are:

- ``houlsby`` (Houlsby et al. 2019, arXiv:1902.00751): ``h + A(h)`` in place of the output h of attention and
  of that of the feed-forward part, each after its dropout and before its residual sum;
- ``pfeiffer`` (Pfeiffer et al. 2021, arXiv:2005.00247): the same for the feed-forward part only. Some
  libraries let the adapter read the normalised sum in place of h;
- ``parallel`` (He et al. 2022, arXiv:2110.04366): ``FF(x) + scale * A(x)``.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Optional

from pydantic import Field, ValidationInfo, field_validator

from tfpipeline.models.peft._options import PEFT_SITE, Adaptation, PeftOptions
from tfpipeline.models.peft._seeds import seed_of

_PLACES = {
    "houlsby": ("after_attention", "after_feed_forward"),
    "pfeiffer": ("after_feed_forward",),
    "parallel": ("beside_feed_forward",),
}
_SCALE = 4.0  # of He et al. 2022, table 6


class AdaptersOptions(PeftOptions):
    """The adapters' options."""

    mergeable = False

    method: Literal["adapters"] = "adapters"
    placement: Literal["houlsby", "pfeiffer", "parallel"] = Field(
        "houlsby",
        description="Where the adapters are: after attention and after the feed-forward part (`houlsby`), "
        "after the feed-forward part only (`pfeiffer`), or beside the feed-forward part (`parallel`).",
    )
    size: int = Field(64, ge=1, description="Size of an adapter's hidden layer.")
    activation: Optional[Literal["gelu_erf", "gelu_tanh", "relu", "silu", "tanh"]] = Field(
        None, description="Activation of the hidden layer; null: that of the encoder."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate of what an adapter adds, in training.")
    scale: Optional[float] = Field(
        None, description="parallel only: factor of what an adapter adds; null: 4, as in the paper."
    )

    @field_validator("scale")
    @classmethod
    def _of_parallel(cls, value: Optional[float], info: ValidationInfo) -> Optional[float]:
        placement = info.data.get("placement", "parallel")  # none if it is wrong itself
        if value is not None and placement != "parallel":
            raise ValueError(f"is for the placement parallel, but placement is {placement}; remove it")
        if value is not None and not (0 < abs(value) < math.inf):
            raise ValueError("must be a number other than 0: with 0 the method changes nothing")
        return value

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """See :func:`tfpipeline.models.peft.attach`."""
        from tfpipeline.models.peft._blocks import blocks
        from tfpipeline.models.peft._bottleneck import Bottleneck
        from tfpipeline.models.peft._projections import add_layer, trainable

        config = encoder.config
        parallel = self.placement == "parallel"
        layers: dict[str, Any] = {}
        for block in blocks(encoder, self.method):
            for place in _PLACES[self.placement]:
                number = len(layers)
                layer = Bottleneck(
                    self.size,
                    activation=self.activation or config.hidden_act,
                    residual=not parallel,
                    scale=(_SCALE if self.scale is None else self.scale) if parallel else 1.0,
                    stddev=config.initializer_range,
                    dropout=self.dropout,
                    site=PEFT_SITE + number,
                    seed=seed_of(seed, number),
                    name=place,
                    dtype=block.dtype_policy,
                )
                add_layer(block, place, layer, (None, None, config.hidden_size))
                layers[f"{block.path}/{place}"] = layer
        return Adaptation(self, encoder, seed, trainable(layers.values()), layers)


OPTIONS = AdaptersOptions
