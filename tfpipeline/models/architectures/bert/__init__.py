"""BERT (Devlin et al. 2019, arXiv:1810.04805)."""

from __future__ import annotations

from tfpipeline.models.architectures.bert.config import BertConfig

CONFIG = BertConfig
