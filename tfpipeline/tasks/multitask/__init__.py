"""Several tasks in one model: one encoder with one head per task. Every head predicts for every text.

A row trains the heads for which it has labels. A missing label trains no head, and a row without any label is
ignored. The loss of a row is the weighted sum of its heads' losses, and the batch's loss is the mean over its
rows, as for any task. So a head with few labels contributes less to the loss.
Outputs, targets, predictions and metrics are the heads' own, called ``HEAD/NAME``.
Served answer: those of all heads: ``topic/label``, ``topic/probabilities``, ``rating/value`` ...
"""

from __future__ import annotations

from tfpipeline.tasks.multitask.options import MultitaskOptions
from tfpipeline.tasks.multitask.task import Multitask

__all__ = ["OPTIONS", "Multitask", "MultitaskOptions"]

OPTIONS = MultitaskOptions
