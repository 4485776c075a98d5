"""Combines concurrent requests to the same signature of a loaded version into batches.

There are no extra threads. Each request arrives in the thread of its call. The request at the head of a queue
leads: it waits briefly for others, runs the batch, and wakes them. So no thread outlives a version. Each
version, signature and width has its own queue, so they never share a batch.

(`tf.nondifferentiable_batch_function` keeps its queue under one global name: two models in one process mix.)
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from tfpipeline.serving.server.options import BatchingOptions, default_batch_threads
from tfpipeline.serving.server.status import StatusError, unavailable

Arrays = Sequence[np.ndarray]
#: Inputs, in the order of the signature's sorted names -> outputs, in the requested order.
Run = Callable[[Arrays], "list[np.ndarray]"]


# A caller waits for others only if there were recently two callers at once.
COMPANY_SECONDS = 0.1


class _Task:
    __slots__ = ("alive", "error", "inputs", "outputs", "rows")

    def __init__(self, inputs: Arrays, rows: int, alive: Callable[[], bool]) -> None:
        self.inputs = inputs
        self.rows = rows
        self.alive = alive
        self.outputs: Optional[list[np.ndarray]] = None
        self.error: Optional[Exception] = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


class _Queue:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.pending: deque[_Task] = deque()
        self.rows = 0
        self.running = 0
        self.callers = 0  # guarded by the batcher's lock: the queue is dropped after its last caller


class NotRowByRowError(Exception):
    """A batch's outputs do not have one row per input row, so the batch cannot be split again."""


class Batcher:
    """The queues of one loaded version.

    Args:
        options: sizes and timeouts.
        clock: returns seconds; tests pass their own.
    """

    def __init__(self, options: BatchingOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._parallel = options.parallel or default_batch_threads()
        self._clock = clock
        self._lock = threading.Lock()
        self._queues: dict[Hashable, _Queue] = {}
        self._callers = 0
        self._company_until = -math.inf

    def run(
        self, key: Hashable, inputs: Arrays, run: Run, alive: Callable[[], bool] = lambda: True
    ) -> list[np.ndarray]:
        """Compute the outputs for these inputs, together with other callers' inputs of the same key.

        Args:
            key: identifies inputs that may share a batch: signature, requested outputs, all dimensions but
                the first.
            inputs: arrays with the same first dimension, at least 1.
            run: computes a batch; the same for all callers of the key.
            alive: whether the caller still waits; a request whose caller is gone is not computed.
        Raises:
            StatusError: caused by this request alone; another caller's invalid row never affects it.
            NotRowByRowError: run this request by itself.
        """
        rows = len(inputs[0])
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            queue.callers += 1
            self._callers += 1
            if self._callers > 1:
                self._company_until = self._clock() + COMPANY_SECONDS
        try:
            most = self._options.max_rows
            if rows <= most:
                return self._submit(queue, _Task(inputs, rows, alive), run)
            # One piece at a time, so that a long request takes turns with short ones.
            pieces = [
                self._submit(
                    queue,
                    _Task([a[start : start + most] for a in inputs], min(most, rows - start), alive),
                    run,
                )
                for start in range(0, rows, most)
            ]
            return _join(pieces)
        finally:
            with self._lock:
                queue.callers -= 1
                self._callers -= 1
                if not queue.callers:
                    del self._queues[key]

    def _submit(self, queue: _Queue, task: _Task, run: Run) -> list[np.ndarray]:
        with queue.changed:
            if queue.pending and queue.rows + task.rows > self._options.max_pending_rows:
                # Source: SharedBatchScheduler,
                # tensorflow/core/kernels/batching_util/shared_batch_scheduler.h.
                raise unavailable(
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"{queue.rows} rows are waiting"
                )
            queue.pending.append(task)
            queue.rows += task.rows
            queue.changed.notify_all()
            while not task.done:
                if queue.pending and queue.pending[0] is task and queue.running < self._parallel:
                    self._lead(queue, run)
                else:
                    queue.changed.wait()
        if task.error is not None:
            raise task.error
        assert task.outputs is not None
        return task.outputs

    def _lead(self, queue: _Queue, run: Run) -> None:
        """Fill a batch, take it and run it; called and left with the queue's lock held."""
        until = self._clock() + self._options.timeout_seconds
        while queue.rows < self._options.max_rows:
            now = self._clock()
            if now >= min(until, self._company_until):
                break
            queue.changed.wait(min(until, self._company_until) - now)
        batch: list[_Task] = []
        rows = 0
        while queue.pending and (not batch or rows + queue.pending[0].rows <= self._options.max_rows):
            task = queue.pending.popleft()
            batch.append(task)
            rows += task.rows
        queue.rows -= rows
        queue.running += 1
        queue.changed.notify_all()  # the new head may now lead the next batch
        queue.changed.release()
        try:
            _compute([task for task in batch if _wanted(task)], run)
        finally:
            queue.changed.acquire()
            queue.running -= 1
            for task in batch:
                if not task.done:  # an unexpected error must not leave callers waiting forever
                    task.error = RuntimeError("the batch was not computed")
            queue.changed.notify_all()


def _wanted(task: _Task) -> bool:
    if task.alive():
        return True
    task.error = unavailable("The caller has gone")
    return False


def _compute(batch: list[_Task], run: Run) -> None:
    """Give each task its outputs or its own error."""
    if len(batch) > 1:
        try:
            outputs = _checked(run(_join([task.inputs for task in batch])), sum(task.rows for task in batch))
        except (StatusError, NotRowByRowError):
            outputs = None  # which request caused it? each is run by itself below
        if outputs is not None:
            start = 0
            for task in batch:
                task.outputs = [output[start : start + task.rows] for output in outputs]
                start += task.rows
            return
    for task in batch:
        try:
            task.outputs = _checked(run(task.inputs), task.rows)
        except Exception as error:  # noqa: BLE001 - raised again in the thread of its caller
            task.error = error


def _join(parts: Sequence[Arrays]) -> list[np.ndarray]:
    try:
        return [np.concatenate(arrays, axis=0) for arrays in zip(*parts)]
    except ValueError as error:  # the outputs' other dimensions differ from the signature
        raise NotRowByRowError from error


def _checked(outputs: list[np.ndarray], rows: int) -> list[np.ndarray]:
    for output in outputs:
        if output.ndim == 0 or len(output) != rows:
            raise NotRowByRowError
    return outputs


def batch_key(inputs: Mapping[str, np.ndarray], signature: Any) -> Optional[tuple[tuple[int, ...], ...]]:
    """The part of a batch key that depends on the inputs, or None if they should run by themselves.

    Args:
        inputs: alias -> array.
        signature: the `SignatureDef`; see :func:`batchable`.
    Returns:
        The dimensions after the first of each input, in the order of the sorted aliases. None if the inputs
        do not match the signature (TensorFlow then reports the error in its own words) or have no rows.
    """
    rows = set()
    key = []
    for alias in sorted(inputs):
        array, info = inputs[alias], signature.inputs[alias]
        dims = [dim.size for dim in info.tensor_shape.dim]
        if array.ndim != len(dims) or any(want not in (-1, got) for want, got in zip(dims, array.shape)):
            return None
        if not _same_type(array, info.dtype):
            return None
        rows.add(array.shape[0])
        key.append(array.shape[1:])
    return tuple(key) if len(rows) == 1 and rows != {0} else None


def batchable(signature: Any) -> bool:
    """Whether rows of different requests may be computed together.

    Every input and output must have an unknown first dimension, and no output may have another unknown one:
    an output padded to the longest row of a batch would depend on the other requests.
    """
    inputs, outputs = list(signature.inputs.values()), list(signature.outputs.values())
    return (
        bool(inputs)
        and all(_rows_unknown(info) for info in inputs)
        and all(
            _rows_unknown(info) and all(d.size >= 0 for d in info.tensor_shape.dim[1:]) for info in outputs
        )
        and len({info.name for info in inputs}) == len(inputs)
    )


def _rows_unknown(info: Any) -> bool:
    shape = info.tensor_shape
    return bool(info.name) and not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1


def _same_type(array: np.ndarray, enum: int) -> bool:
    import tensorflow as tf  # here: the rest of this module does not need it, and its tests run without

    dtype = tf.as_dtype(enum)
    return array.dtype.kind == "O" if dtype == tf.string else array.dtype == dtype.as_numpy_dtype
