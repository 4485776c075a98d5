"""The state of a run: together with the variables, all that is needed to resume it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.files import write_text
from tfpipeline.paths import AnyPath

NO_SCORES = ("epoch", "step", "train_loss")  # keys of a history entry that are not scores


@dataclass
class State:
    """Saved with each checkpoint."""

    step: int = 0  # steps done over the whole run
    epoch: int = 0  # epochs done
    position: int = 0  # batches done in the current epoch
    loss_sum: float = 0.0  # over the current epoch: batch loss times the weight of the batch's terms
    weight_sum: float = 0.0
    best: float | None = None
    best_epoch: int | None = None  # epochs done at the time of the best validation
    best_step: int | None = None
    validations_since_best: int = 0  # validations without a better metric
    history: list[dict[str, float]] = field(default_factory=list)  # one entry per validation
    callbacks: list[dict[str, Any]] = field(default_factory=list)  # see callback_state
    finished: str | None = None  # why training ended
    seconds: float = 0.0  # total training time over all processes of the run

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], run: AnyPath) -> State:
        """The state stored in a checkpoint of the run directory ``run``.

        Raises:
            UserError: another version of tfpipeline wrote it.
        """
        names = {one.name for one in fields(cls)}
        if saved.keys() != names:
            other = ", ".join(sorted(saved.keys() ^ names))
            raise UserError(
                f"{run} was trained by another version of tfpipeline (the state of its checkpoints differs "
                f"in: "
                f"{other}); finish it with that version, or train it again in another folder"
            )
        return cls(**saved)

    @property
    def train_loss(self) -> float | None:
        """The weighted mean loss of the current epoch so far; None before its first batch."""
        return self.loss_sum / self.weight_sum if self.weight_sum else None

    def write_history(self, run: Path) -> None:
        """Write the scores of all validations into a run directory, as JSON lines."""
        write_text(run / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.history))

    def decodes(self, interval: int, total_steps: int) -> bool:
        """Whether the next validation decodes: the first, every ``interval``-th after it, and the last."""
        return len(self.history) % interval == 0 or self.step >= total_steps

    def validated(self, entry: dict[str, float], metric: str, *, lower: bool) -> bool:
        """Record a validation. Returns whether the model is the best so far.

        The model is the best if its metric is better, or equal with a lower loss. Early stopping uses the
        metric alone, so an equal metric does not restart its count. A validation without the metric, which
        decoded no answers, decides nothing.

        Args:
            entry: the history entry: ``epoch``, ``step`` and the scores by name.
            metric: the metric that selects the best model.
            lower: whether a lower value of the metric is better.
        """
        if metric not in entry:
            self.history.append(entry)
            return False
        value, loss = entry[metric], entry["loss"]
        better = self.best is None or (value < self.best if lower else value > self.best)
        ahead = better or (value == self.best and loss < self._best_loss())
        self.history.append(entry)
        self.validations_since_best = 0 if better else self.validations_since_best + 1
        if ahead:
            self.best, self.best_epoch, self.best_step = value, int(entry["epoch"]), int(entry["step"])
        return ahead

    def _best_loss(self) -> float:
        """The validation loss of the best model so far; -infinity if the history does not contain it."""
        losses = [entry["loss"] for entry in self.history if entry["step"] == self.best_step]
        return losses[-1] if losses else float("-inf")
