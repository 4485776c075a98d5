"""The ``training`` section of a run file. Imports no TensorFlow."""

from __future__ import annotations

import re
from typing import Any, Literal, Optional

from pydantic import Field, ValidationInfo, field_validator

from tfpipeline import paths
from tfpipeline.config import Section, StepsOrShare

_FREEZE = re.compile(r"none|all|embeddings|first:[1-9][0-9]*|re:.+")


class OptimizerOptions(Section):
    """Which optimizer, and its own constants. Learning rate, decay and clipping are the training's."""

    name: Literal["adamw", "sgd", "adafactor", "lamb", "lion"] = Field(
        "adamw",
        description="AdamW (arXiv:1711.05101), SGD with momentum, Adafactor (arXiv:1804.04235), "
        "LAMB (arXiv:1904.00962) or Lion (arXiv:2302.06675).",
    )
    beta_1: Optional[float] = Field(
        None, ge=0, lt=1, description="adamw, lamb and lion only; null: Keras's default."
    )
    beta_2: Optional[float] = Field(
        None, ge=0, lt=1, description="adamw, lamb and lion only; null: Keras's default."
    )
    epsilon: Optional[float] = Field(None, gt=0, description="adamw and lamb only; null: 1e-8 and 1e-6.")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only.")
    nesterov: bool = Field(False, description="sgd only.")


class ScheduleOptions(Section):
    """How the learning rate goes over the steps, from its peak ``training.learning_rate``."""

    name: Literal["linear", "cosine", "polynomial", "constant"] = Field(
        "linear", description="Decay after the warm-up; constant stays at the peak."
    )
    power: float = Field(2.0, gt=0, description="polynomial only: the exponent.")
    end: float = Field(0.0, ge=0, lt=1, description="Learning rate at the last step, as a share of the peak.")


class CallbackOptions(Section):
    """One Keras callback of the run."""

    name: str = Field(
        description="A class of keras.callbacks (CSVLogger), or the import path of another class "
        "(wandb.integration.keras.WandbMetricsLogger)."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the class.")

    @field_validator("options")
    @classmethod
    def _home(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Which of them are paths only the class knows; nothing else starts with ``~/``."""
        return {
            name: paths.expand(value) if isinstance(value, str) and value.startswith("~/") else value
            for name, value in options.items()
        }


class TrainingOptions(Section):
    """How a model is trained.

    The defaults are the recommendations of Devlin et al. 2019 (arXiv:1810.04805, appendix A.3) with the
    learning rate in the middle of their range.
    """

    # Where.
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"] = Field(
        "auto",
        description="tf.distribute strategy: one device; every GPU of this machine; several machines "
        "(TF_CONFIG, or "
        "--workers and --index); a TPU. auto: TF_CONFIG's machines, else a TPU, else all GPUs, else one "
        "device.",
    )
    tpu: str = Field(
        "local", description="strategy tpu only: local (Colab, a TPU VM), or a TPU's name or address."
    )
    precision: Literal["float32", "tensorfloat32", "mixed_bfloat16", "mixed_float16", "float64"] = Field(
        "float32",
        description="tensorfloat32: float32, except that NVIDIA GPUs round the inputs of matrix products to "
        "10 bits; "
        "mixed_bfloat16 is faster on CPUs with AVX512-BF16, GPUs and TPUs; mixed_float16, with loss "
        "scaling, is for older GPUs.",
    )
    xla: Optional[bool] = Field(
        None,
        description="Compile the training step with XLA; batches are then padded to a few widths; null: on "
        "a TPU only.",
    )
    steps_per_call: int = Field(
        1,
        ge=1,
        description="Training steps that the device runs before it returns to Python; useful for TPUs and "
        "small models.",
    )

    # How long.
    epochs: int = Field(3, ge=1, description="Passes over the training rows.")
    steps: Optional[int] = Field(
        None, ge=1, description="Total number of steps, instead of epochs; null: set by epochs."
    )

    # Batches.
    batch_size: int = Field(32, ge=1, description="Examples in a batch; see batch_size_per.")
    batch_size_per: Literal["global", "replica"] = Field(
        "global",
        description="Whether batch_size is the number of examples on all replicas together, or on each "
        "replica.",
    )
    accumulation: int = Field(
        1,
        ge=1,
        description="Gradient accumulation: a batch is computed in this many parts, with less memory and "
        "the same result.",
    )
    bucket_window: int = Field(
        1024,
        ge=1,
        description="Length bucketing: the shuffled examples are sorted by length within windows of this "
        "many, to reduce padding.",
    )
    widths: Optional[list[int]] = Field(
        None,
        min_length=1,
        description="Batches are padded to one of these widths, in tokens; null: multiples of 8, or with "
        "XLA quarters of text.max_length.",
    )

    # The optimizer.
    optimizer: OptimizerOptions = OptimizerOptions()
    learning_rate: float = Field(3e-5, gt=0, description="Peak learning rate.")
    schedule: ScheduleOptions = ScheduleOptions()
    warmup: StepsOrShare = Field(
        0.1,
        ge=0,
        description="Steps over which the learning rate rises from 0: a number of steps, or below 1 a share "
        "of all steps.",
    )
    weight_decay: float = Field(
        0.01, ge=0, description="Decoupled weight decay; never applied to biases and LayerNorm."
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Each encoder layer's learning rate is that of the layer above times this factor "
        "(arXiv:1801.06146, section 3.2).",
    )
    clip_norm: Optional[float] = Field(
        1.0,
        gt=0,
        description="Clip the global norm of the batch's gradient to this value; null: no clipping.",
    )

    # What is trained.
    freeze: list[str] = Field(
        default_factory=list,
        description="What is not trained: all (the whole encoder), embeddings, first:6 (the embeddings and "
        "the first 6 layers), "
        "re:PATTERN (variables whose path matches the regular expression).",
    )
    gradual_unfreezing: bool = Field(
        False,
        description="The first epoch trains only the head; each further epoch unfreezes one more layer, "
        "from the top (arXiv:1801.06146).",
    )
    dropout: Optional[float] = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout rate of the encoder, for hidden states and attention; null: the checkpoint's "
        "own.",
    )

    # Looking and keeping.
    evaluate_every: Optional[int] = Field(
        None, ge=1, description="Also validate every N steps; null: only at the end of each epoch."
    )
    best_metric: Optional[str] = Field(
        None, description="Validation metric that selects the best checkpoint; null: the task's default."
    )
    early_stopping: Optional[int] = Field(
        None,
        ge=1,
        description="Stop after this many validations without an improvement of best_metric; null: never.",
    )
    save_every: Optional[int] = Field(
        None, ge=1, description="Also save a checkpoint every N steps; null: only at validations."
    )
    keep: int = Field(1, ge=1, description="How many of the last checkpoints are kept, besides the best.")
    keep_optimizer: bool = Field(
        False,
        description="Keep the optimizer's state after the run has finished (for adamw twice the size of the "
        "weights), so that the "
        "run can be extended.",
    )
    tensorboard: bool = Field(True, description="Write the run's tensorboard/ folder.")
    log_every: int = Field(10, ge=1, description="Report the loss every N steps.")
    callbacks: list[CallbackOptions] = Field(
        default_factory=list, description="Keras callbacks, called as Keras's fit calls them."
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Random seed for the head's initial weights, the order of rows and dropout.",
    )

    @field_validator("optimizer", "schedule", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("freeze", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("freeze")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for word in value:
            if not _FREEZE.fullmatch(word):
                raise ValueError(f'"{word}" is not one of: none, all, embeddings, first:N, re:PATTERN')
            if word.startswith("re:"):
                try:
                    re.compile(word[3:])
                except re.error as error:
                    raise ValueError(f'"{word}" is no regular expression: {error}') from error
        return [word for word in value if word != "none"]

    @field_validator("widths")
    @classmethod
    def _rising(cls, value: Optional[list[int]], _: ValidationInfo) -> Optional[list[int]]:
        if value is not None and (min(value) < 1 or sorted(set(value)) != value):
            raise ValueError("must be positive and rising, such as [32, 64, 128]")
        return value
