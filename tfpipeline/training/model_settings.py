"""Applies a run file's settings to a checkpoint: encoder, tokenizer and windows of the model."""

from __future__ import annotations

import dataclasses

from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.models import EncoderConfig, TextModel, peft
from tfpipeline.models.windows import Windows
from tfpipeline.text import TokenizerOptions, Truncation
from tfpipeline.training.run_config import RunConfig


def encoder_config(run_config: RunConfig, checkpoint: checkpoints.Checkpoint) -> EncoderConfig:
    """The architecture that is trained: the checkpoint's, with the run file's dropout rate if it has one.

    Raises:
        UserError: ``text.max_length`` is more than the model's positions.
    """
    config = checkpoint.config
    rate = run_config.training.dropout
    if rate is not None:
        config = config.with_dropout(rate)
    check_positions(run_config, config)
    return config


def check_positions(run_config: RunConfig, config: EncoderConfig) -> None:
    """Refuse texts, or windows of them, that are longer than the model.

    Raises:
        UserError: ``text.max_length`` is more than the model's positions.
    """
    if run_config.text.max_length > config.max_position_embeddings:
        raise UserError(
            f"text.max_length is {run_config.text.max_length}, but {run_config.checkpoint} has only "
            f"{config.max_position_embeddings} positions; set text.max_length to that or less"
        )


def truncation_of(run_config: RunConfig, options: TokenizerOptions) -> Truncation:
    """How long texts are handled, between the special tokens of the tokenizer.

    Raises:
        UserError: windows make no progress through the text. The run file was checked with BERT's special
            tokens; the tokenizer may have others.
    """
    truncation = dataclasses.replace(run_config.text.truncation, template=options.template)
    try:
        truncation = run_config.task.truncation(truncation, run_config.data)
        truncation.check(run_config.has_joint_pairs)
    except ValueError as error:
        raise UserError(f"text: {error}") from error
    return truncation


def add_method(model: TextModel, run_config: RunConfig) -> TextModel:
    """Attach the run file's method of parameter-efficient fine-tuning, if it has one.

    Returns:
        The model itself.
    """
    if run_config.peft is not None:
        peft.attach(model.encoder, run_config.peft, run_config.training.seed)
    return model


def windows(truncation: Truncation, pair: bool) -> Windows | None:
    """How the model cuts long rows; None for one that reads them whole."""
    return Windows(truncation, pair) if truncation.windows else None


def tokenizer_options(run_config: RunConfig, checkpoint: checkpoints.Checkpoint) -> TokenizerOptions:
    """How texts become tokens: the checkpoint's way, with the run file's ``text.lowercase`` if it has one."""
    if run_config.text.lowercase is None:
        return checkpoint.tokenizer
    return dataclasses.replace(checkpoint.tokenizer, lowercase=run_config.text.lowercase)
