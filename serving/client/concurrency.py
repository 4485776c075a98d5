"""Several calls at a time, and hedged calls, as steps of a conversation."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from tfpipeline.serving.client.errors import (
    CallError,
    DeadlineExceededError,
    ResourceExhaustedError,
    UnavailableError,
)
from tfpipeline.serving.client.steps import Call, Cancel, Conversation, Finish, Start

# Another copy of the call may still succeed after one of these.
_TRANSIENT = (UnavailableError, ResourceExhaustedError, DeadlineExceededError)


class Hedging:
    """When a call is sent a second time, and how often at most; one object per client, thread-safe.

    A server that is slow for all calls must not get twice as many of them. So second copies are paid from a
    budget, to which each call adds a tenth: in the long run at most a tenth of the calls is sent twice.

    Args:
        after: seconds without an answer after which the second copy is sent.
    Source: Dean and Barroso, The Tail at Scale, CACM 56(2), 2013; the budget is like gRPC's retryThrottling.
    """

    SHARE = 0.1
    MOST = 10.0

    def __init__(self, after: float) -> None:
        self.after = after
        self._budget = self.MOST
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Count a call."""
        with self._lock:
            self._budget = min(self.MOST, self._budget + self.SHARE)

    def spend(self) -> bool:
        """Whether a second copy may be sent now."""
        with self._lock:
            if self._budget < 1:
                return False
            self._budget -= 1
            return True


@dataclass
class _Task:
    """A call and the keys of its copies that are under way."""

    name: Any
    call: Call
    hedge_at: Optional[float]
    copies: set[int] = field(default_factory=set)


class Dispatcher:
    """The calls of one conversation that are under way.

    Args:
        hedging: None to send each call once.
        clock: monotonic seconds.
    """

    def __init__(self, hedging: Optional[Hedging], clock: Callable[[], float] = time.monotonic) -> None:
        self._hedging = hedging
        self._clock = clock
        self._keys = 0
        self._by_key: dict[int, _Task] = {}
        self._tasks: list[_Task] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: Any, call: Call) -> Conversation[None]:
        """Begin a call.

        Args:
            name: what :meth:`finish` returns with its outcome.
            call: the call.
        """
        task = _Task(name, call, None)
        yield from self._send(task, optional=False)
        self._tasks.append(task)
        if self._hedging is not None:
            self._hedging.earn()
            task.hedge_at = self._clock() + self._hedging.after

    def finish(self) -> Conversation[tuple[Any, Any]]:
        """Wait for a call; sends copies of the others meanwhile.

        Returns:
            The call's name, and its response or ``CallError``.
        """
        while True:
            finished = yield Finish(self._until_hedge())
            if finished is None:
                yield from self._hedge()
                continue
            task = self._by_key.pop(finished.key)
            task.copies.discard(finished.key)
            if task.copies and isinstance(finished.outcome, _TRANSIENT):
                continue  # its other copy decides
            for key in task.copies:
                del self._by_key[key]
                yield Cancel(key)
            self._tasks.remove(task)
            return task.name, finished.outcome

    def _send(self, task: _Task, optional: bool) -> Conversation[None]:
        key = self._keys
        self._keys += 1
        if (yield Start(task.call, key, optional)):
            task.copies.add(key)
            self._by_key[key] = task

    def _until_hedge(self) -> Optional[float]:
        times = [task.hedge_at for task in self._tasks if task.hedge_at is not None]
        return max(0.0, min(times) - self._clock()) if times else None

    def _hedge(self) -> Conversation[None]:
        now = self._clock()
        for task in self._tasks:
            if task.hedge_at is not None and task.hedge_at <= now:
                task.hedge_at = None
                if self._hedging is not None and self._hedging.spend():
                    yield from self._send(task, optional=True)


def ask(call: Call, hedging: Optional[Hedging]) -> Conversation[Any]:
    """Carry out one call, perhaps hedged.

    Raises:
        CallError: it failed.
    """
    if hedging is None:
        return (yield call)
    dispatcher = Dispatcher(hedging)
    yield from dispatcher.start(None, call)
    _, outcome = yield from dispatcher.finish()
    if isinstance(outcome, CallError):
        raise outcome
    return outcome
