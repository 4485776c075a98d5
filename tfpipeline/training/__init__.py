"""Training: a checkpoint and labelled rows become a run directory.

train(config)     train, or go on where an interrupted run stopped
load(run)         the trained model, an ordinary ``keras.Model``
Run(path)         a run directory, opened
plan(config)      what a training would take, without doing it
open_run(path)    the same, or a fine-tuned checkpoint of someone else as a run
"""

from __future__ import annotations

from tfpipeline._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "FineTunedCheckpoint": "tfpipeline.training.finetuned",
        "Interrupted": "tfpipeline.training.loop",
        "Run": "tfpipeline.training.run",
        "RunConfig": "tfpipeline.training.run_config",
        "is_run": "tfpipeline.training.run",
        "load": "tfpipeline.training.opening",
        "plan": "tfpipeline.training.planning",
        "open_run": "tfpipeline.training.opening",
        "train": "tfpipeline.training.loop",
    },
)
