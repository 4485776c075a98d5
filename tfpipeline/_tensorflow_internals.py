"""All names outside TensorFlow's public API that this package uses, in one place.

TensorFlow may change them in any release. ``tests/test_internals.py`` tests the behaviour that this package
relies on, and reports the installed version if a name is gone. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.core.framework import op_def_pb2, tensor_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2
from tensorflow.python.eager import context
from tensorflow.python.framework import ops
from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

OpList: Any = op_def_pb2.OpList
SavedModel: Any = saved_model_pb2.SavedModel
TensorProto: Any = tensor_pb2.TensorProto
TrackableObjectGraph: Any = trackable_object_graph_pb2.TrackableObjectGraph
types: Any = types_pb2  # the numbers of dtypes in messages: DT_FLOAT and so on


def configure_coordination(workers: int, *, connect_seconds: float, lost_seconds: float) -> None:
    """Set how long TensorFlow waits for the workers of a training, before a strategy connects to them.

    There is no public option for this. A strategy keeps a configuration that was made before it
    (collective_all_reduce_strategy.py, ``_initialize_multi_worker``).

    Args:
        workers: the number of workers; the first one leads.
        connect_seconds: maximum time until a worker connects.
        lost_seconds: maximum time without a sign of life from a worker.
    """
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=int(connect_seconds * 1000),
        heartbeat_timeout_in_ms=int(lost_seconds * 1000),
        shutdown_barrier_timeout_in_ms=int(lost_seconds * 1000),
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=workers)],
    )


@contextlib.contextmanager
def forget_custom_gradients() -> Iterator[None]:
    """Forget, at the end, the gradients that ``tf.custom_gradient`` registered inside the block.

    A graph in which it is used would never be freed: a global table keeps each call's gradient function, and
    with it the graph. MirroredStrategy's and Keras's own code uses it as well. The gradients of a graph that
    was traced in the block must have been taken in the block.
    """
    gradients = ops.gradient_registry._registry
    before = set(gradients)
    try:
        yield
    finally:
        for name in set(gradients) - before:
            del gradients[name]


def session_handle(tensor: tf.Tensor) -> Any:
    """The name of a graph's tensor for :func:`run_session`."""
    return tensor._as_tf_output()


def run_session(
    session: tf.compat.v1.Session, feeds: Mapping[Any, Any], fetches: Sequence[Any]
) -> Sequence[Any]:
    """TensorFlow's C++ ``Session::Run``, without the checks of dtypes and shapes that Python's own does
    first.

    Args:
        feeds: handle -> array.
        fetches: handles.
    Raises:
        tf.errors.OpError: C++'s own error.
    """
    values: Sequence[Any] = session._call_tf_sessionrun(None, feeds, fetches, [], None)
    return values


def write_fingerprint(saved_model: Path) -> None:
    """Write a SavedModel's ``fingerprint.pb`` anew, after its ``saved_model.pb`` was changed."""
    (saved_model / "fingerprint.pb").write_bytes(fingerprinting.CreateFingerprintDef(str(saved_model)))
