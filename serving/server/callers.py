"""How many callers a batch can expect, and how long its first request waits for them."""

from __future__ import annotations

import threading
import time
from typing import Callable

#: After a batch, the next one waits at most this part of the time that the last one took.
_SHARE_OF_BATCH = 0.5
#: After waits in vain, at most this many batches do not wait.
_MAX_REST = 16


class Callers:
    """Counts the callers of one loaded version.

    Most callers send their next request as soon as they have an answer. If a batch starts before they are
    back, it is small, the next one holds the others, and so on: batches are half as large as they could be,
    and small batches are slow. So as many callers are expected as there were at once during the last two
    batches, and the first request of a batch waits until they are there, within limits.

    Callers that send requests at random times do not come back so soon. So after a wait in vain, the next
    1, 2, 4 ... batches do not wait for them.

    Args:
        timeout_seconds: how long a request waits, from its arrival on, even if no batch has just ended.
        parallel: how many batches are computed at once.
        clock: returns seconds.
    """

    def __init__(
        self, timeout_seconds: float, parallel: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout = timeout_seconds
        self._share = _SHARE_OF_BATCH / parallel
        self._clock = clock
        self._lock = threading.Lock()
        self._present = 0
        self._most = 0  # at once, since the last batch ended
        self._most_before = 0  # during the batch before
        self._after_batch = 0.0
        self._rest = 0  # batches left that do not wait for the callers of the last one
        self._next_rest = 1

    def arrive(self) -> bool:
        """Count a caller; returns whether all expected callers are there now."""
        with self._lock:
            self._present += 1
            self._most = max(self._most, self._present)
            return self._present >= self._most_before

    def leave(self) -> None:
        """A caller has its answer."""
        with self._lock:
            self._present -= 1

    def all_present(self) -> bool:
        """Whether nobody else is expected."""
        with self._lock:
            return self._present >= max(self._most, self._most_before)

    def wait_until(self, arrived: float) -> float:
        """When a request that arrived at this time waits no longer, by the clock."""
        until = arrived + self._timeout
        return until if self._rest else max(until, self._after_batch)

    def wait_ended(self, full: bool) -> None:
        """A batch has waited enough and begins.

        Args:
            full: whether it has as many rows as it can take.
        """
        with self._lock:
            if self._rest:
                self._rest -= 1
            elif full or self._present >= max(self._most, self._most_before):
                self._next_rest = 1
            else:
                self._rest = self._next_rest
                self._next_rest = min(2 * self._next_rest, _MAX_REST)

    def batch_ended(self, started: float) -> None:
        """A batch has been computed, its callers have not left yet."""
        now = self._clock()
        with self._lock:
            self._most_before, self._most = self._most, self._present
            self._after_batch = now + self._share * (now - started)
