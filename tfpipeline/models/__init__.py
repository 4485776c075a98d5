"""Models: the BERT encoder and what is stacked on it."""

from __future__ import annotations

from tfpipeline._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ACTIVATIONS": "tfpipeline.models.config",
        "BertConfig": "tfpipeline.models.config",
        "BertEncoder": "tfpipeline.models.encoder",
        "ClassificationHead": "tfpipeline.models.heads",
        "HeadGroup": "tfpipeline.models.heads",
        "MultiLabelHead": "tfpipeline.models.heads",
        "Noise": "tfpipeline.models.kernels",
        "SpanHead": "tfpipeline.models.token_heads",
        "TaggingHead": "tfpipeline.models.token_heads",
        "TextModel": "tfpipeline.models.text_model",
    },
)
