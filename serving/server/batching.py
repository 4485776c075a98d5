"""Combines concurrent requests to the same signature of a loaded version into batches.

There are no extra threads. Each request arrives in the thread of its call. The request at the head of a queue
leads: it waits briefly for others, runs the batch, and wakes them. So no thread outlives a version. Requests
that may not share a batch have queues of their own.

(`tf.nondifferentiable_batch_function` keeps its queue under one global name: two models in one process mix.)
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Callable, Optional

import numpy as np

from tfpipeline.serving.server.callers import Callers
from tfpipeline.serving.server.options import BatchingOptions
from tfpipeline.serving.server.status import StatusError, unavailable

Arrays = Sequence[np.ndarray]
#: Inputs, in the order of the signature's sorted names -> outputs, in the requested order.
Run = Callable[[Arrays], "list[np.ndarray]"]


class _Task:
    """A request, or a piece of one, and the thread that waits for it."""

    __slots__ = ("_wake", "alive", "arrived", "error", "inputs", "outputs", "rows", "tokens")

    def __init__(self, inputs: Arrays, tokens: int, alive: Callable[[], bool], arrived: float) -> None:
        self.inputs = inputs
        self.rows = len(inputs[0])
        self.tokens = tokens
        self.alive = alive
        self.arrived = arrived
        self.outputs: Optional[list[np.ndarray]] = None
        self.error: Optional[Exception] = None
        self._wake = threading.Semaphore(0)

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None

    def wake(self) -> None:
        """Let the task's thread look again: at its result, at the queue, or at the clock."""
        self._wake.release()

    def wait(self, seconds: Optional[float] = None) -> None:
        self._wake.acquire(timeout=seconds)


class _Queue:
    """Tasks that may share a batch; guarded by its lock.

    At most one task leads: it is the head, and gathers the next batch. There is one whenever tasks are
    pending and another batch may run.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pending: deque[_Task] = deque()
        self.rows = 0
        self.tokens = 0
        self.running = 0
        self.leader: Optional[_Task] = None
        self.callers = 0  # guarded by the batcher's lock: the queue is dropped after its last caller

    def append(self, task: _Task) -> None:
        self.pending.append(task)
        self.rows += task.rows
        self.tokens += task.tokens

    def popleft(self) -> _Task:
        task = self.pending.popleft()
        self.rows -= task.rows
        self.tokens -= task.tokens
        return task


class NotRowByRowError(Exception):
    """A batch's outputs do not have one row per input row, so the batch cannot be split again."""


class Batcher:
    """The queues of one loaded version.

    Args:
        options: sizes and timeouts.
        clock: returns seconds; tests pass their own.
        waited: called with the seconds that a request, or a piece of one, was in the queue.
    """

    def __init__(
        self,
        options: BatchingOptions,
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._options = options
        self._parallel = options.batch_threads
        self._clock = clock
        self._waited = waited
        self._lock = threading.Lock()
        self._queues: dict[Hashable, _Queue] = {}
        self._callers = Callers(options.timeout_seconds, options.batch_threads, clock)

    def run(
        self,
        key: Hashable,
        inputs: Arrays,
        run: Run,
        alive: Callable[[], bool] = lambda: True,
        tokens: Optional[np.ndarray] = None,
    ) -> list[np.ndarray]:
        """Compute the outputs for these inputs, together with other callers' inputs of the same key.

        Args:
            key: identifies inputs that may share a batch; see :func:`batch_keys.batch_key`.
            inputs: arrays with the same first dimension, at least 1. If the widths of several callers' arrays
                differ, they are padded with zeros.
            run: computes a batch; the same for all callers of the key.
            alive: whether the caller still waits; a request whose caller is gone is not computed.
            tokens: int [rows], the tokens of each row, 1 by default. A long request is split in the order of
                its rows' tokens.
        Raises:
            StatusError: caused by this request alone; another caller's invalid row never affects it.
            NotRowByRowError: run this request by itself.
        """
        tokens = np.ones(len(inputs[0]), np.int64) if tokens is None else tokens
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            queue.callers += 1
        try:
            pieces = list(self._split(tokens))
            if len(pieces) == 1:
                return self._submit(queue, _Task(inputs, int(tokens.sum()), alive, self._clock()), run)
            # One piece at a time, so that a long request takes turns with short ones.
            parts = []
            for rows in pieces:
                part = [array[rows] for array in inputs]
                task = _Task(part, int(tokens[rows].sum()), alive, self._clock())
                parts.append(self._submit(queue, task, run))
            back = np.argsort(np.concatenate(pieces))
            return [output[back] for output in _concatenate(parts)]
        finally:
            with self._lock:
                queue.callers -= 1
                if not queue.callers:
                    del self._queues[key]

    def _split(self, tokens: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of a request that fit into one batch each, the shortest first."""
        options = self._options
        if len(tokens) <= options.max_rows and tokens.sum() <= options.max_tokens:
            yield np.arange(len(tokens))
            return
        order = np.argsort(tokens, kind="stable")
        start, total = 0, 0
        for at, row in enumerate(order):
            total += tokens[row]
            if at > start and (at - start == options.max_rows or total > options.max_tokens):
                yield order[start:at]
                start, total = at, tokens[row]
        yield order[start:]

    def _submit(self, queue: _Queue, task: _Task, run: Run) -> list[np.ndarray]:
        with queue.lock:
            if queue.pending and queue.rows + task.rows > self._options.max_pending_rows:
                # Source: SharedBatchScheduler,
                # tensorflow/core/kernels/batching_util/shared_batch_scheduler.h.
                raise unavailable(
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"{queue.rows} rows are waiting"
                )
            queue.append(task)
            if queue.leader is not None and self._full(queue):
                queue.leader.wake()
            self._appoint(queue)
        try:
            if self._callers.arrive():
                self._wake_leaders()
            while not task.done:
                if queue.leader is task:
                    self._lead(queue, task, run)
                else:
                    task.wait()
        finally:
            self._callers.leave()
        if task.error is not None:
            raise task.error
        assert task.outputs is not None
        return task.outputs

    def _wake_leaders(self) -> None:
        with self._lock:
            leaders = [queue.leader for queue in self._queues.values()]
        for leader in leaders:
            if leader is not None:
                leader.wake()

    def _full(self, queue: _Queue) -> bool:
        return queue.rows >= self._options.max_rows or queue.tokens >= self._options.max_tokens

    def _appoint(self, queue: _Queue) -> None:
        """Make the head lead if nobody does and another batch may run; called with the queue's lock held."""
        if queue.leader is None and queue.pending and queue.running < self._parallel:
            queue.leader = queue.pending[0]
            queue.leader.wake()

    def _lead(self, queue: _Queue, task: _Task, run: Run) -> None:
        """Fill a batch, take it and run it; called by the queue's leader."""
        until = self._callers.wait_until(task.arrived)
        while not self._full(queue) and not self._callers.all_present():
            now = self._clock()
            if now >= until:
                break
            task.wait(until - now)
        self._callers.wait_ended(self._full(queue))
        with queue.lock:
            batch = self._take(queue)
            queue.leader = None
            queue.running += 1
            self._appoint(queue)
        started = self._clock()
        for one in batch:
            self._waited(started - one.arrived)
        try:
            _compute([one for one in batch if _wanted(one)], run)
        finally:
            self._callers.batch_ended(started)
            with queue.lock:
                queue.running -= 1
                self._appoint(queue)
            for one in batch:
                if not one.done:  # an unexpected error must not leave callers waiting forever
                    one.error = RuntimeError("the batch was not computed")
                if one is not task:
                    one.wake()

    def _take(self, queue: _Queue) -> list[_Task]:
        """The head, and those behind it that fit into the same batch."""
        batch = [queue.popleft()]
        rows, tokens = batch[0].rows, batch[0].tokens
        while queue.pending:
            rows += queue.pending[0].rows
            tokens += queue.pending[0].tokens
            if rows > self._options.max_rows or tokens > self._options.max_tokens:
                break
            batch.append(queue.popleft())
        return batch


def _wanted(task: _Task) -> bool:
    if task.alive():
        return True
    task.error = unavailable("The caller has gone")
    return False


def _compute(batch: list[_Task], run: Run) -> None:
    """Give each task its outputs or its own error."""
    if len(batch) > 1:
        try:
            outputs = _checked(run(_merge([task.inputs for task in batch])), sum(task.rows for task in batch))
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


def _merge(parts: Sequence[Arrays]) -> list[np.ndarray]:
    """The rows of all callers, padded to the widest."""
    return [np.concatenate(_padded(arrays), axis=0) for arrays in zip(*parts)]


def _padded(arrays: Arrays) -> Arrays:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) == 1:
        return arrays
    widest = np.max([array.shape[1:] for array in arrays], axis=0)
    return [
        np.pad(array, [(0, 0), *((0, most - size) for most, size in zip(widest, array.shape[1:]))])
        for array in arrays
    ]


def _concatenate(parts: Sequence[Arrays]) -> list[np.ndarray]:
    try:
        return [np.concatenate(arrays, axis=0) for arrays in zip(*parts)]
    except ValueError as error:  # the outputs' other dimensions differ from the signature
        raise NotRowByRowError from error


def _checked(outputs: list[np.ndarray], rows: int) -> list[np.ndarray]:
    for output in outputs:
        if output.ndim == 0 or len(output) != rows:
            raise NotRowByRowError
    return outputs
