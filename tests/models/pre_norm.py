"""BERT whose blocks normalise first and read from left to right: an architecture named by this module."""

from __future__ import annotations

from tfpipeline.models import BertConfig


class PreNormConfig(BertConfig):
    """The fields are BERT's; the tensors are BERT's and ``final_norm``."""

    norm_first = True
    causal = True


CONFIG = PreNormConfig
