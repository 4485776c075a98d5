"""Sums, checks and shows the losses of training steps; reads them from the device as rarely as possible."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.training.batching import Group
from tfpipeline.training.global_batch import Tensors
from tfpipeline.training.optimizer import learning_rate_at
from tfpipeline.training.run import Run
from tfpipeline.training.state import State

_ROWS_SHOWN = 5  # per batch with a loss that is not finite


class Losses:
    """The losses that are still on the device, and the speed since losses were last read.

    Args:
        run: the run that is trained.
        state: the state of the run; the losses are added to it.
        optimizer: the optimizer, for the learning rate.
        writes: whether this process writes the run's checkpoints.
    """

    def __init__(
        self, run: Run, state: State, optimizer: keras.optimizers.Optimizer, *, writes: bool
    ) -> None:
        self._run, self._state, self._optimizer, self._writes = run, state, optimizer, writes
        self._pending: list[tuple[int, np.ndarray, Mapping[str, Any]]] = []
        self._began, self._examples, self._tokens = time.monotonic(), 0, 0
        self._rates = ""  # as last shown

    def add(self, group: Group, result: Tensors, first: int) -> None:
        """Add a group of batches and its results, which may still be computing.

        Args:
            group: the batches.
            result: the result of :meth:`tfpipeline.training.step.TrainStep.many`.
            first: number of steps done before the group.
        """
        for index, rows in enumerate(group.rows):
            own = {name: result[name][index] for name in ("loss", "weight", "gradient_norm")}
            self._pending.append((first + index, rows, own))
        self._examples += sum(map(len, group.rows))
        self._tokens += group.tokens

    def read(self) -> tuple[float, float]:
        """Sum the losses since the last call. This makes Python wait for the device.

        Returns:
            The last loss and the norm of its gradient; NaN if there was no step.
        Raises:
            UserError: a loss is NaN or infinite.
        """
        loss = norm = float("nan")
        scaled = self._run.config.training.precision == "mixed_float16"  # there, an overflow is skipped
        pending, self._pending = self._pending, []
        for step, rows, result in pending:
            loss, weight, norm = (float(result[name]) for name in ("loss", "weight", "gradient_norm"))
            if not np.isfinite(loss) or not (np.isfinite(norm) or scaled):
                raise self._not_finite(step, rows, loss, norm)
            self._state.loss_sum += loss * weight
            self._state.weight_sum += weight
        return loss, norm

    def logs(self) -> dict[str, Any]:
        """Read the losses, and return the values shown by the progress and to callbacks every ``log_every``
        steps.
        """
        loss, norm = self.read()
        seconds = max(time.monotonic() - self._began, 1e-9)
        logs = {
            "step": self._state.step,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": learning_rate_at(self._optimizer, self._state.step - 1),
            "examples_per_second": self._examples / seconds,
            "tokens_per_second": self._tokens / seconds,
        }
        self._began, self._examples, self._tokens = time.monotonic(), 0, 0
        self._rates = _rates(logs)
        return logs

    @property
    def note(self) -> str:
        """The text that the progress shows: the mean loss so far and the last logs; "" before the first loss
        is read.
        """
        loss = self._state.train_loss
        return "" if loss is None else f"loss {loss:.4f}{self._rates}"

    def _not_finite(self, step: int, rows: np.ndarray, loss: float, norm: float) -> UserError:
        examples = self._run.examples("train")
        shown = ", ".join(examples[int(row)].source for row in rows[:_ROWS_SHOWN])
        more = f" and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
        kept = self._run.store.state("last")["step"] if self._writes else "the chief's last"
        return UserError(
            f"step {step + 1}: the loss is {loss} and the gradient's norm {norm}, at the learning rate "
            f"{learning_rate_at(self._optimizer, step):.3g}, on the rows {shown}{more}; look at these rows, "
            f"lower "
            "training.learning_rate, or set training.clip_norm; the checkpoint of step "
            f"{kept} is kept in {self._run.path}"
        )


def _rates(logs: Mapping[str, Any]) -> str:
    """The text that the progress shows after the loss, most important value first."""
    return (
        f", {logs['examples_per_second']:.0f} examples/s, learning rate {logs['learning_rate']:.2e}, "
        f"{logs['tokens_per_second']:.0f} tokens/s"
    )
