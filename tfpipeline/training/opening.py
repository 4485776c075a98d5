"""Opens trained models: a run directory, or a checkpoint that another program has fine-tuned."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from typing import Any

import keras

from tfpipeline import checkpoints, tasks
from tfpipeline.errors import UserError
from tfpipeline.mistaken import check_run
from tfpipeline.models import TextModel
from tfpipeline.paths import AnyPath, local
from tfpipeline.text import build_tokenizer
from tfpipeline.training.finetuned import FineTunedCheckpoint
from tfpipeline.training.mirror import local_copy
from tfpipeline.training.precision import policy
from tfpipeline.training.run import Run, is_run
from tfpipeline.training.trained_model import TrainedModel


def open_run(path: AnyPath, overrides: Sequence[str] = ()) -> TrainedModel:
    """Open a run directory, or a checkpoint that another program has fine-tuned.

    Args:
        path: a run (also ``gs://``, which is copied to this machine), or a checkpoint in any form that
            :func:`tfpipeline.checkpoints.load` takes.
        overrides: settings; see :class:`FineTunedCheckpoint` and, for a run, :class:`Run`.
    Raises:
        UserError: it is neither, or it cannot be used.
    """
    path = local_copy(path)
    if is_run(path):
        return Run(path, overrides)
    if _is_checkpoint(path):
        return FineTunedCheckpoint(path, overrides)
    return Run(path)  # which says what is wrong


def _is_checkpoint(path: AnyPath) -> bool:
    """Whether it is a checkpoint.

    Raises:
        UserError: it is known to be something else.
    """
    check_run(path)
    if checkpoints.is_checkpoint(path):
        return True
    check_run(path, unread=True)
    return False


def load(path: AnyPath, weights: str = "best", *, precision: str | None = None) -> TextModel:
    """Load a model as an ordinary ``keras.Model``, with its ``tokenizer``.

        model = tfpipeline.load("models/minilm")
        vectors = model.embed(["what a day", "a fine film"])  # float32 [2, H]

    docs/keras.md shows how to use it: embeddings, your own head, loop and export.

    Args:
        path: a run directory; a checkpoint in any form that :func:`tfpipeline.checkpoints.load` takes,
            fine-tuned or not; or a ``.keras`` file of a model with layers of this package.
        weights: the weights of a run: "best", "last" or "initial".
        precision: a Keras dtype policy. By default that of the run's training, and for a checkpoint Keras's
            own (``keras.config.set_dtype_policy``); a ``.keras`` file has its own.
    Returns:
        For a run or a fine-tuned checkpoint, the encoder with its head, and the task as ``model.task``; for a
        pre-trained checkpoint, the encoder only; for a ``.keras`` file, the saved model, which may be one of
        your own.
    Raises:
        UserError: the path does not exist, or there are no such weights (yet).
    """
    _check_precision(precision)
    path = local_copy(path)
    if is_run(path):
        opened: TrainedModel = Run(path)
    elif str(path).endswith(".keras"):
        _only_best(weights, f"{path} is a model that Keras has saved")
        return _saved(path, precision)
    elif _is_checkpoint(path):
        checkpoint = checkpoints.load(path)
        precision = precision or keras.config.dtype_policy().name
        options = tasks.serving(checkpoint)
        if options is None or options.pretrains:
            return _encoder(checkpoint, path, weights, precision)
        opened = FineTunedCheckpoint(path, checkpoint=checkpoint)
    else:
        opened = Run(path)  # which says what is wrong
    model = opened.model(weights, precision=precision)
    model.tokenizer, model.truncation = opened.tokenizer, opened.truncation
    model.task = opened.task
    return model


def _check_precision(precision: Any) -> None:
    """Reject what is not a dtype policy of Keras, before anything is read."""
    if precision is None or precision == "tensorfloat32":
        return
    try:
        keras.dtype_policies.get(precision)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"precision is {precision!r}; it must be a dtype policy of Keras, such as float32, "
            "mixed_bfloat16 or mixed_float16"
        ) from error


def _only_best(weights: str, what: str) -> None:
    """Reject ``weights`` for anything but a run, because only a run has several."""
    if weights != "best":
        raise UserError(f'{what}: it has no "{weights}" weights, only its own')


def _encoder(checkpoint: checkpoints.Checkpoint, path: AnyPath, weights: str, precision: str) -> TextModel:
    """The encoder of a pre-trained checkpoint."""
    _only_best(weights, f"{path} is a checkpoint")
    with policy(precision):
        encoder = checkpoint.encoder()
        return TextModel(encoder, tokenizer=build_tokenizer(checkpoint.vocabulary, checkpoint.tokenizer))


def _saved(path: AnyPath, precision: str | None) -> keras.Model:
    """Load a model that Keras has saved. All classes of this package are imported here, so Keras knows
    them.
    """
    if precision is not None:
        raise UserError(f"{path} has a precision of its own; leave out precision")
    file = local(path)
    if not zipfile.is_zipfile(file):
        there = "is no whole .keras file; save the model again" if file.exists() else "no such file"
        raise UserError(f"{path}: {there}")
    try:
        return keras.saving.load_model(file)
    except TypeError as error:
        unknown = re.search(r"Could not locate (\w+ '[^']+')", str(error))
        if unknown is None:
            raise
        raise UserError(
            f"{path}: Keras does not know the {unknown[1]}; import the module that registers it with "
            "keras.saving.register_keras_serializable, then load the model again"
        ) from error
