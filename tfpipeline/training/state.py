"""Where a run is: together with the variables, all that going on with it needs."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    waited: int = 0  # validations since the best one
    history: list[dict[str, float]] = field(default_factory=list)  # one entry a validation
    finished: str | None = None  # why training ended

    @property
    def train_loss(self) -> float | None:
        """The weighted mean loss of the running epoch so far; None before its first batch."""
        return self.loss_sum / self.weight_sum if self.weight_sum else None
