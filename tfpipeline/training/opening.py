"""Opening what is trained: a run directory, or a fine-tuned checkpoint of someone else as if it was one."""

from __future__ import annotations

from collections.abc import Sequence

from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.mistaken import check_run
from tfpipeline.models import TextModel
from tfpipeline.paths import AnyPath
from tfpipeline.training.finetuned import FineTunedCheckpoint
from tfpipeline.training.mirror import Mirror, is_remote
from tfpipeline.training.run import Run, is_run


def open_run(path: AnyPath, overrides: Sequence[str] = ()) -> Run:
    """A run directory, or a fine-tuned checkpoint as one.

    Args:
        path: of a run (also ``gs://``, which is copied here), or of a checkpoint in any form that :func:`tfpipeline.checkpoints.load` takes.
        overrides: for a checkpoint only; see :class:`FineTunedCheckpoint`.
    Raises:
        UserError: it is neither, or can't be used.
    """
    if is_remote(path) and not str(path).startswith("hf://"):
        mirror = Mirror(str(path))
        mirror.pull()
        if is_run(mirror.local):
            path = mirror.local
    if is_run(path):
        if overrides:
            raise UserError(f"{path} is a run, whose settings are its own; --set is for checkpoints")
        return Run(path)
    check_run(path)
    if checkpoints.is_checkpoint(path):
        return FineTunedCheckpoint(path, overrides)
    check_run(path, unread=True)
    return Run(path)  # which says what is wrong


def load(run: AnyPath, weights: str = "best") -> TextModel:
    """A trained model as an ordinary ``keras.Model``, with its ``tokenizer`` and ``task`` as attributes.

        model = tfpipeline.load("runs/tweets")
        outputs = model(model.tokenizer(["what a day"], max_length=64))

    Args:
        run: a run directory, or a checkpoint that somebody else has fine-tuned.
        weights: "best", "last" or "initial".
    Raises:
        UserError: no such run, or it has no such weights (yet).
    """
    opened = open_run(run)
    model = opened.model(weights)
    model.tokenizer = opened.tokenizer
    model.task = opened.task
    return model
