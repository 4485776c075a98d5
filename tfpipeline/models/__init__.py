"""Models: encoders, heads, and models made of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpipeline._lazy import attach
from tfpipeline.runtime import use_tensorflow_backend

if TYPE_CHECKING:  # what the table below loads on first use, for type checkers and editors
    from tfpipeline.models.architectures import Encoder as Encoder
    from tfpipeline.models.architectures.bert.config import BertConfig as BertConfig
    from tfpipeline.models.architectures.bert.encoder import BertEncoder as BertEncoder
    from tfpipeline.models.config import ACTIVATIONS as ACTIVATIONS
    from tfpipeline.models.config import EncoderConfig as EncoderConfig
    from tfpipeline.models.generation_head import GenerationHead as GenerationHead
    from tfpipeline.models.head import Head as Head
    from tfpipeline.models.heads import ClassificationHead as ClassificationHead
    from tfpipeline.models.heads import HeadGroup as HeadGroup
    from tfpipeline.models.heads import MultiLabelHead as MultiLabelHead
    from tfpipeline.models.kernels import Noise as Noise
    from tfpipeline.models.masked_lm_head import MaskedLMHead as MaskedLMHead
    from tfpipeline.models.text_model import TextModel as TextModel
    from tfpipeline.models.token_heads import SpanHead as SpanHead
    from tfpipeline.models.token_heads import TaggingHead as TaggingHead
    from tfpipeline.models.windows import Windows as Windows

use_tensorflow_backend()  # before anything here imports Keras

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ACTIVATIONS": "tfpipeline.models.config",
        "BertConfig": "tfpipeline.models.architectures.bert.config",
        "BertEncoder": "tfpipeline.models.architectures.bert.encoder",
        "ClassificationHead": "tfpipeline.models.heads",
        "Encoder": "tfpipeline.models.architectures",
        "EncoderConfig": "tfpipeline.models.config",
        "GenerationHead": "tfpipeline.models.generation_head",
        "Head": "tfpipeline.models.head",
        "HeadGroup": "tfpipeline.models.heads",
        "MaskedLMHead": "tfpipeline.models.masked_lm_head",
        "MultiLabelHead": "tfpipeline.models.heads",
        "Noise": "tfpipeline.models.kernels",
        "SpanHead": "tfpipeline.models.token_heads",
        "TaggingHead": "tfpipeline.models.token_heads",
        "TextModel": "tfpipeline.models.text_model",
        "Windows": "tfpipeline.models.windows",
    },
)
