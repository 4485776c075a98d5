"""The ``training`` section of a run file. Imports no TensorFlow."""

from __future__ import annotations

import re
from typing import Any, Literal, Optional, Union

from pydantic import Field, ValidationInfo, field_validator

from tfpipeline import paths
from tfpipeline.config import Section

_FREEZE = re.compile(r"none|all|embeddings|first:[1-9][0-9]*|re:.+")


class OptimizerOptions(Section):
    """Which optimizer, and its own constants. Learning rate, decay and clipping are the training's."""

    name: Literal["adamw", "sgd", "adafactor", "lamb", "lion"] = Field(
        "adamw",
        description="AdamW (arXiv:1711.05101), SGD with momentum, Adafactor (arXiv:1804.04235), "
        "LAMB (arXiv:1904.00962) or Lion (arXiv:2302.06675).",
    )
    beta_1: Optional[float] = Field(None, ge=0, lt=1, description="Of adamw, lamb, lion; null: Keras's.")
    beta_2: Optional[float] = Field(None, ge=0, lt=1, description="Of adamw, lamb, lion; null: Keras's.")
    epsilon: Optional[float] = Field(None, gt=0, description="Of adamw, lamb; null: 1e-8 and 1e-6.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    nesterov: bool = Field(False, description="Of sgd.")


class ScheduleOptions(Section):
    """How the learning rate goes over the steps, from its peak ``training.learning_rate``."""

    name: Literal["linear", "cosine", "polynomial", "constant"] = Field(
        "linear", description="The way down after the warm-up; constant stays at the peak."
    )
    power: float = Field(2.0, gt=0, description="Of polynomial.")
    end: float = Field(0.0, ge=0, lt=1, description="Share of the peak that is left at the last step.")


class CallbackOptions(Section):
    """One Keras callback of the run."""

    name: str = Field(
        description="A class of keras.callbacks (CSVLogger), or any other by its path (wandb.integration.keras.WandbMetricsLogger)."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Arguments of the class.")

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
        description="tf.distribute strategy: one device; every GPU of this machine; several machines (TF_CONFIG, or "
        "--workers and --index); a TPU. auto: TF_CONFIG's machines, else a TPU, else all GPUs, else one device.",
    )
    tpu: str = Field(
        "local", description="Of strategy tpu: local (Colab, a TPU VM), or a TPU's name or address."
    )
    precision: Literal["float32", "tensorfloat32", "mixed_bfloat16", "mixed_float16", "float64"] = Field(
        "float32",
        description="tensorfloat32: float32 whose matrix products NVIDIA GPUs round to 10 bits; mixed_bfloat16 is faster on "
        "CPUs with AVX512-BF16, GPUs and TPUs; mixed_float16, with loss scaling, on older GPUs.",
    )
    xla: Optional[bool] = Field(
        None, description="Compile the step with XLA: batches are padded to few widths; null: on a TPU only."
    )
    steps_per_call: int = Field(
        1,
        ge=1,
        description="Steps that the device does before it returns to Python: for TPUs and small models.",
    )

    # How long.
    epochs: int = Field(3, ge=1, description="Passes over the training rows.")
    steps: Optional[int] = Field(
        None, ge=1, description="Steps in all, instead of epochs; null: epochs count."
    )

    # Batches.
    batch_size: int = Field(32, ge=1, description="Examples in a batch; see batch_size_per.")
    batch_size_per: Literal["global", "replica"] = Field(
        "global", description="Whether batch_size counts a step's examples on all replicas, or on each."
    )
    accumulation: int = Field(
        1,
        ge=1,
        description="Parts a batch is computed in, one after another: less memory, the same result.",
    )
    window: int = Field(
        1024, ge=1, description="Examples sorted by length together before batches are cut: less padding."
    )
    widths: Optional[list[int]] = Field(
        None,
        min_length=1,
        description="The only widths batches are padded to; null: multiples of 8, or with XLA quarters of text.max_length.",
    )

    # The optimizer.
    optimizer: OptimizerOptions = OptimizerOptions()
    learning_rate: float = Field(3e-5, gt=0, description="Peak learning rate.")
    schedule: ScheduleOptions = ScheduleOptions()
    warmup: Union[int, float] = Field(
        0.1,
        ge=0,
        description="Steps over which the rate rises from 0: a whole number of them, or a share of all below 1.",
    )
    weight_decay: float = Field(0.01, ge=0, description="Decoupled; never on biases and LayerNorm.")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Each encoder layer's learning rate is the next higher one's times this (arXiv:1801.06146, section 3.2).",
    )
    clip_norm: Optional[float] = Field(
        1.0, gt=0, description="Global norm of the whole batch's gradient; null: none."
    )

    # What is trained.
    freeze: list[str] = Field(
        default_factory=list,
        description="What stays as it is: all (the whole encoder), embeddings, first:6 (the embeddings and the first 6 "
        "layers), re:PATTERN (variables whose path the regular expression finds).",
    )
    gradual_unfreezing: bool = Field(
        False,
        description="The first epoch trains the head, each further one a layer more, from the top (arXiv:1801.06146).",
    )
    dropout: Optional[float] = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout of the encoder, hidden and attention; null: the checkpoint's own.",
    )

    # Looking and keeping.
    evaluate_every: Optional[int] = Field(
        None, ge=1, description="Validate every so many steps, besides each epoch's end; null: only there."
    )
    best_metric: Optional[str] = Field(
        None, description="Validation metric that picks the best checkpoint; null: the task's own."
    )
    early_stopping: Optional[int] = Field(
        None, ge=1, description="Stop after so many validations without a better best_metric; null: never."
    )
    save_every: Optional[int] = Field(
        None, ge=1, description="Also save a checkpoint every so many steps; null: at validations only."
    )
    keep: int = Field(1, ge=1, description="How many of the last checkpoints are kept, besides the best.")
    keep_optimizer: bool = Field(
        False,
        description="Keep the optimizer's state when the run has ended (with adamw twice the size of the weights): then "
        "it can be extended.",
    )
    tensorboard: bool = Field(True, description="Write the run's tensorboard/ folder.")
    log_every: int = Field(10, ge=1, description="Steps between two looks at the loss.")
    callbacks: list[CallbackOptions] = Field(
        default_factory=list, description="Keras callbacks, called as Keras's fit calls them."
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="Of the head's first weights, the order of rows and dropout."
    )

    @field_validator("warmup")
    @classmethod
    def _whole_or_share(cls, value: Union[int, float]) -> Union[int, float]:
        if value >= 1 and value != int(value):
            raise ValueError("is neither a whole number of steps nor a share below 1")
        return int(value) if value >= 1 else float(value)

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
                raise ValueError(f'"{word}" is none of: none, all, embeddings, first:N, re:PATTERN')
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
