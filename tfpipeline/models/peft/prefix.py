"""Prefix tuning: in each block, tokens attend to learnt keys and values too (Li and Liang 2021,
arXiv:2101.00190). Imports no framework.

The attention to the prefix has a softmax of its own and a gate for each head, ``tanh(gate)``, which is 0 at
first (Zhang et al. 2023, arXiv:2303.16199, equations 5 to 9): a new prefix changes nothing. One that shares
the softmax of the tokens, as in the first paper, takes weight from the tokens at once.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tfpipeline.models.peft._options import Adaptation, PeftOptions
from tfpipeline.models.peft._seeds import seed_of


class PrefixOptions(PeftOptions):
    """The options of prefix tuning."""

    mergeable = False

    method: Literal["prefix"] = "prefix"
    length: int = Field(16, ge=1, description="Number of learnt keys and values of each head in each block.")

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """See :func:`tfpipeline.models.peft.attach`."""
        from tfpipeline.models.peft._blocks import blocks
        from tfpipeline.models.peft._prefix_attention import PrefixAttention
        from tfpipeline.models.peft._projections import add_layer, trainable

        config = encoder.config
        layers = {}
        for number, block in enumerate(blocks(encoder, self.method)):
            layer = PrefixAttention(
                self.length,
                stddev=config.initializer_range,
                seed=seed_of(seed, number),
                name=self.method,
                dtype=block.dtype_policy,
            )
            attention = block.attention
            add_layer(attention, "prefix", layer, (None, attention.heads, None, attention.head_size))
            layers[f"{attention.path}/prefix"] = layer
        return Adaptation(self, encoder, seed, trainable(layers.values()), layers)


OPTIONS = PrefixOptions
