"""Where a run is: together with the variables, all that going on with it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.paths import AnyPath

NO_SCORES = ("epoch", "step", "train_loss")  # of an entry of a run's history


@dataclass
class State:
    """Saved with each checkpoint."""

    step: int = 0  # steps done over the whole run
    epoch: int = 0  # epochs done
    position: int = 0  # batches done of the running epoch
    loss_sum: float = 0.0  # over the running epoch, of batch loss times batch weight
    weight_sum: float = 0.0
    best: float | None = None
    best_epoch: int | None = None  # epochs done at the best validation
    best_step: int | None = None
    validations_since_best: int = 0  # whose metric was no better
    history: list[dict[str, float]] = field(default_factory=list)  # one entry a validation
    callbacks: list[dict[str, Any]] = field(default_factory=list)  # see callback_state
    finished: str | None = None  # why training ended
    seconds: float = 0.0  # that it took, of all processes that worked on it

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], run: AnyPath) -> State:
        """The state that a checkpoint of the run directory ``run`` holds.

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
        """The weighted mean loss of the running epoch so far; None before its first batch."""
        return self.loss_sum / self.weight_sum if self.weight_sum else None

    def validated(self, entry: dict[str, float], metric: str, *, lower: bool) -> bool:
        """Take in a validation; the answer is whether the model is the best so far.

        It is when the metric is better, or as good at a lower loss. Early stopping counts on the metric
        alone, so an equally good validation does not begin the count anew.

        Args:
            entry: of the history: ``epoch``, ``step``, and the scores by name.
            metric: the one that picks the best.
            lower: whether less of it is better.
        """
        value, loss = entry[metric], entry["loss"]
        better = self.best is None or (value < self.best if lower else value > self.best)
        ahead = better or (value == self.best and loss < self._best_loss())
        self.history.append(entry)
        self.validations_since_best = 0 if better else self.validations_since_best + 1
        if ahead:
            self.best, self.best_epoch, self.best_step = value, int(entry["epoch"]), int(entry["step"])
        return ahead

    def _best_loss(self) -> float:
        """The validation loss of the best so far; of a history without it none that anything falls below."""
        losses = [entry["loss"] for entry in self.history if entry["step"] == self.best_step]
        return losses[-1] if losses else float("-inf")
