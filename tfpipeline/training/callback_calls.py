"""Calls a run's callbacks, and restores their states in a resumed run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.training.callback_state import Arrays, CallbackStates
from tfpipeline.training.callbacks import unwrapped
from tfpipeline.training.optimizer import innermost, learning_rate_at
from tfpipeline.training.state import NO_SCORES, State


class CallbackCalls:
    """Calls callbacks as Keras's ``fit`` does.

    A callback may set ``model.optimizer.learning_rate``, which scales the schedule, and it may set
    ``model.stop_training``.

    Args:
        callbacks: the run's callbacks; empty on workers other than the chief.
        writers: callbacks of this package, called after ``callbacks``; they handle resuming themselves.
        model: the model, with its optimizer.
        epochs: total number of epochs.
        steps: steps per epoch.
        sharing: makes a function that copies the chief's variables to all workers; None if there is only one
            worker.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        writers: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        *,
        epochs: int,
        steps: int,
        sharing: Callable[[list[Any]], Callable[[], None]] | None = None,
    ) -> None:
        self._model, self._count = model, len(callbacks)
        self._share = None if sharing is None else sharing([innermost(model.optimizer).schedule_factor])
        self._states = CallbackStates([unwrapped(callback) for callback in callbacks])
        self._list = keras.callbacks.CallbackList(
            [*callbacks, *writers], add_history=False, model=model, epochs=epochs, steps=steps, verbose=0
        )
        self.on_test_begin, self.on_test_end = self._list.on_test_begin, self._list.on_test_end
        self._logs: dict[str, float] | None = None

    def begin(self, state: State, arrays: Arrays) -> None:
        """Begin or resume the training.

        Args:
            state: the state of the run.
            arrays: arrays of the run's last checkpoint, to which ``state.callbacks`` refers by name.
        """
        factor = innermost(self._model.optimizer).schedule_factor
        kept = factor.numpy()
        resumed = state.step > 0
        if resumed:
            self._states.before_begin(state.callbacks)
        self._list.on_train_begin()
        if state.position > 0:  # callbacks may open files; their states are restored below
            self._list.on_epoch_begin(state.epoch)
        if resumed:
            self._states.set(state.callbacks, arrays)
            factor.assign(kept)
        self.states()  # reports what cannot be saved
        self._share_rate()

    def states(self) -> tuple[list[dict[str, Any]], Arrays]:
        """The callbacks' states; see :class:`CallbackStates`."""
        return self._states.get()

    def on_epoch_begin(self, epoch: int) -> None:
        """Called at the beginning of an epoch, but not when a run is resumed within it."""
        self._list.on_epoch_begin(epoch)
        self._share_rate()

    def on_epoch_end(self, epoch: int, entry: Mapping[str, float]) -> None:
        """Called after an epoch's validation, with its history entry. Callbacks get the names that ``fit``
        uses.
        """
        scores = {f"val_{name}": value for name, value in entry.items() if name not in NO_SCORES}
        rate = learning_rate_at(self._model.optimizer, int(entry["step"]) - 1)
        self._logs = {"loss": entry["train_loss"], **scores, "learning_rate": rate, "step": entry["step"]}
        self._list.on_epoch_end(epoch, self._logs)
        self._share_rate()

    def on_train_batches_begin(self, first: int, count: int) -> None:
        """Called before a device call that processes ``count`` batches."""
        self._within_epoch(self._list.on_train_batch_begin, range(first, first + count))

    def on_train_batches_end(self, first: int, count: int, logs: Mapping[str, Any]) -> None:
        """Called after a device call; ``logs`` are those of its last batch."""
        self._within_epoch(self._list.on_train_batch_end, range(first, first + count), logs)

    def end(self) -> bool:
        """End the training. Returns whether a callback has changed the weights."""
        before = self._digest()
        self._list.on_train_end(self._logs)
        return before != self._digest()

    def _within_epoch(self, call: Callable[..., None], batches: Sequence[int], *logs: Any) -> None:
        optimizer = innermost(self._model.optimizer)
        before = optimizer.times_set
        for batch in batches:
            call(batch, *logs)
        if self._share is not None and optimizer.times_set != before:
            raise UserError(
                "a callback set the learning rate within an epoch, where other workers do not receive it; "
                "set it in on_epoch_begin or on_epoch_end, or train on one machine"
            )

    def _share_rate(self) -> None:
        """Send the learning rate to the other workers, which have no callbacks."""
        if self._share is not None:
            self._share()

    def _digest(self) -> str:
        """A digest of the weights, or of nothing if the run has no callbacks of its own."""
        digest = hashlib.blake2b()
        for variable in self._model.variables if self._count else ():
            digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
        return digest.hexdigest()
