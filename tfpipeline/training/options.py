"""The ``training`` section of a run file. Imports no TensorFlow."""

from __future__ import annotations

from typing import Literal, Optional

from pydantic import Field

from tfpipeline.config import Section


class TrainingOptions(Section):
    """How a model is trained.

    The defaults are the recommendations of Devlin et al. 2019 (arXiv:1810.04805, appendix A.3) with the
    learning rate in the middle of their range.
    """

    strategy: Literal["one_device", "mirrored"] = Field(
        "one_device", description="tf.distribute strategy: one device, or every GPU of this machine."
    )
    precision: Literal["float32", "mixed_bfloat16", "float64"] = Field(
        "float32",
        description="Keras dtype policy; mixed_bfloat16 is faster on CPUs with AVX512-BF16, GPUs and TPUs.",
    )
    epochs: int = Field(3, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(
        32, ge=1, description="Examples in a global batch, whatever the number of replicas."
    )
    window: int = Field(
        1024, ge=1, description="Examples sorted by length together before batches are cut: less padding."
    )
    learning_rate: float = Field(3e-5, gt=0, description="Peak learning rate.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of all steps over which the rate rises from 0.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled; never on biases and LayerNorm.")
    adam_epsilon: float = Field(1e-8, gt=0)
    clip_norm: Optional[float] = Field(
        1.0, gt=0, description="Global norm of the whole batch's gradient; null: none."
    )
    dropout: Optional[float] = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout of the encoder, hidden and attention; null: the checkpoint's own.",
    )
    best_metric: Optional[str] = Field(
        None, description="Validation metric that picks the best checkpoint; null: the task's own."
    )
    early_stopping: Optional[int] = Field(
        None, ge=1, description="Stop after so many epochs without a better best_metric; null: never."
    )
    save_every: Optional[int] = Field(
        None, ge=1, description="Also save a checkpoint every so many steps; null: once an epoch."
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="Of the head's first weights, the order of rows and dropout."
    )
