"""Training: a checkpoint and labelled rows become a run directory.

train(config)     train, or go on where an interrupted run stopped
load(run)         the trained model, an ordinary ``keras.Model``
Run(path)         a run directory, opened
"""

from __future__ import annotations

from tfpipeline._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Interrupted": "tfpipeline.training.loop",
        "Run": "tfpipeline.training.run",
        "RunConfig": "tfpipeline.training.run_config",
        "is_run": "tfpipeline.training.run",
        "load": "tfpipeline.training.run",
        "train": "tfpipeline.training.loop",
    },
)
