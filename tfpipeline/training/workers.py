"""Values that the workers of a training exchange through TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfpipeline.training.interruption import WorkersLost

# The errors of a collective operation when a worker is lost; which one occurs depends on who notices first.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


def share(strategy: tf.distribute.Strategy, variables: Iterable[Any]) -> None:
    """Copy the chief's variables to every worker, bit for bit."""
    sharing(strategy, variables)()


def sharing(strategy: tf.distribute.Strategy, variables: Iterable[Any]) -> Callable[[], None]:
    """Like :func:`share`, but traced once, for variables that are shared repeatedly."""
    variables = list(variables)

    @tf.function(autograph=False)
    def chiefs() -> list[Any]:
        def replica() -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            mine = tf.cast(tf.equal(context.replica_id_in_sync_group, 0), tf.int32)
            values = [tf.convert_to_tensor(variable.value) for variable in variables]
            sent = [tf.where(mine > 0, value, tf.zeros_like(value)) for value in values]
            # Tensors that are summed together are packed into one, so they must have the same dtype.
            summed: dict[int, tf.Tensor] = {}
            for dtype in sorted({value.dtype for value in values}, key=str):  # the same order on all workers
                places = [index for index, value in enumerate(values) if value.dtype == dtype]
                sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [sent[index] for index in places])
                summed.update(zip(places, sums))
            return [summed[index] for index in range(len(values))]

        return [strategy.experimental_local_results(value)[0] for value in strategy.run(replica)]

    def assign() -> None:
        for variable, value in zip(variables, chiefs()):
            variable.assign(value)

    return assign


def total(strategy: tf.distribute.Strategy, value: int) -> int:
    """The sum of a number over all replicas, the same on every worker."""
    return int(_summing(strategy)(tf.constant(value, tf.int32)))


@functools.lru_cache(maxsize=1)
def _summing(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function that :func:`total` calls, traced once."""

    @tf.function(autograph=False)
    def summed(number: tf.Tensor) -> Any:
        def replica(number: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(number))

        return strategy.experimental_local_results(strategy.run(replica, args=(number,)))[0]

    total: Callable[[tf.Tensor], tf.Tensor] = summed
    return total


@contextmanager
def report_lost_workers(what: str) -> Iterator[None]:
    """Turn TensorFlow's errors about a lost worker into :class:`WorkersLost`."""
    try:
        yield
    except _LOST as error:
        reason = (str(error.message).strip().splitlines() or [type(error).__name__])[0][:160]
        raise WorkersLost(
            f"a worker was lost ({reason}); {what}; restart all workers to continue, or use --supervise"
        ) from error
