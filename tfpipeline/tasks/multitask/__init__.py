"""Several tasks in one model: one encoder, a head for each, every text answered by all of them.

A row trains the heads whose cells it fills; a gap trains none, and a row of gaps alone counts as if it was
not there. The loss of a row is the weighted sum of its heads' losses, and the batch's is the mean over its
rows, as for any task: a head that few rows fill is learnt from fewer.
Outputs, targets, predictions and metrics are the heads' own, called ``HEAD/NAME``.
Served answer: each head's, all in one: ``topic/label``, ``topic/probabilities``, ``rating/value`` ...
"""

from __future__ import annotations

from tfpipeline.tasks.multitask.options import MultitaskOptions
from tfpipeline.tasks.multitask.task import Multitask

__all__ = ["OPTIONS", "Multitask", "MultitaskOptions"]

OPTIONS = MultitaskOptions
