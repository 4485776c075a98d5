"""Training: a checkpoint and labelled rows become a run directory.

train(config)     train, or resume an interrupted run
load(run)         the trained model, an ordinary ``keras.Model``
Run(path)         a run directory, opened
plan(config)      what a training needs, without training
AdaptedCheckpoint(file, base)  an adapter file on its base, used like a run
open_run(path)    a ``TrainedModel``: a run directory, or a checkpoint that another program has fine-tuned
load_checkpoint(path)  a checkpoint, or a run as one
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpipeline._lazy import attach
from tfpipeline.runtime import use_tensorflow_backend

if TYPE_CHECKING:  # what the table below loads on first use, for type checkers and editors
    from tfpipeline.training.adapted import AdaptedCheckpoint as AdaptedCheckpoint
    from tfpipeline.training.finetuned import FineTunedCheckpoint as FineTunedCheckpoint
    from tfpipeline.training.loop import Interrupted as Interrupted
    from tfpipeline.training.loop import train as train
    from tfpipeline.training.opening import load as load
    from tfpipeline.training.opening import open_run as open_run
    from tfpipeline.training.planning import plan as plan
    from tfpipeline.training.run import Run as Run
    from tfpipeline.training.run import is_run as is_run
    from tfpipeline.training.run_as_checkpoint import load_checkpoint as load_checkpoint
    from tfpipeline.training.run_config import RunConfig as RunConfig
    from tfpipeline.training.trained_model import TrainedModel as TrainedModel

use_tensorflow_backend()  # before anything here imports Keras

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AdaptedCheckpoint": "tfpipeline.training.adapted",
        "FineTunedCheckpoint": "tfpipeline.training.finetuned",
        "Interrupted": "tfpipeline.training.loop",
        "Run": "tfpipeline.training.run",
        "RunConfig": "tfpipeline.training.run_config",
        "TrainedModel": "tfpipeline.training.trained_model",
        "is_run": "tfpipeline.training.run",
        "load": "tfpipeline.training.opening",
        "load_checkpoint": "tfpipeline.training.run_as_checkpoint",
        "plan": "tfpipeline.training.planning",
        "open_run": "tfpipeline.training.opening",
        "train": "tfpipeline.training.loop",
    },
)
