"""Builds tf.distribute strategies by name and configures the devices for them.

TensorFlow allows devices to be configured only before it initializes them, so a strategy is built before the
first tensor.
"""

from __future__ import annotations

import contextlib
import glob
import os
import socket
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf

from tfpipeline.errors import UserError
from tfpipeline.training.cluster import RENDEZVOUS_SECONDS, Cluster
from tfpipeline.training.options import TrainingOptions

_LOST_SECONDS = 30  # without a heartbeat; then a worker counts as lost


def choose_strategy(options: TrainingOptions, cluster: Cluster | None) -> str:
    """The name of the strategy to build: ``training.strategy``, with ``auto`` resolved.

    Raises:
        UserError: the strategy and the cluster contradict each other.
    """
    name: str = options.strategy
    if name == "auto":
        if cluster is not None:
            return "multi_worker"
        if _has_tpu():
            return "tpu"
        return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one_device"
    if name == "multi_worker" and cluster is None:
        raise UserError(
            "training.strategy is multi_worker, but no workers are given; set TF_CONFIG, or give "
            "--workers host:port,host:port and --index"
        )
    if name != "multi_worker" and cluster is not None:
        raise UserError(
            f"TF_CONFIG or --workers describes {len(cluster.workers)} workers, but training.strategy is "
            f"{name}; "
            "set it to multi_worker or auto"
        )
    return name


def build_strategy(
    name: str, options: TrainingOptions, cluster: Cluster | None = None
) -> tf.distribute.Strategy:
    """Build a strategy by its name; see :func:`choose_strategy`.

    Raises:
        UserError: the device does not exist, or the workers cannot be reached.
    """
    _prepare_gpus(options)
    return _STRATEGIES[name](options, cluster)


def devices(replicas: int, strategy: str) -> str:
    """The devices of a training, for readers: ``one device``, or ``2 replicas (mirrored)``.

    Args:
        replicas: their number, over all workers.
        strategy: its name.
    """
    if replicas == 1:
        return "one device"
    return f"{replicas} replicas ({strategy})"


def has_static_shapes(strategy: tf.distribute.Strategy, options: TrainingOptions) -> bool:
    """Whether each step is compiled for one shape. Batches then have few widths and one size."""
    return options.xla or (options.xla is None and is_tpu(strategy))


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are TPU cores."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def _prepare_gpus(options: TrainingOptions) -> None:
    """Allocate GPU memory on demand, and set the precision of matrix products as in the run file.

    By default, TensorFlow rounds the factors to 10 bits (TensorFloat-32) on NVIDIA GPUs from Ampere on.
    """
    tf.config.experimental.enable_tensor_float_32_execution(options.precision == "tensorfloat32")
    for gpu in tf.config.list_physical_devices("GPU"):
        # The caller's program may have initialized the GPU, with its own settings.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)


def _one_device(options: TrainingOptions, cluster: Cluster | None) -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("/gpu:0" if tf.config.list_physical_devices("GPU") else "/cpu:0")


def _mirrored(options: TrainingOptions, cluster: Cluster | None) -> tf.distribute.Strategy:
    """All GPUs of this machine; without a GPU, all logical CPU devices (used by tests)."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    # NCCL needs GPUs; without them one device computes the sum.
    operations: Any = tf.distribute.NcclAllReduce() if kind == "GPU" else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=operations if len(devices) > 1 else None)


def _multi_worker(options: TrainingOptions, cluster: Cluster | None) -> tf.distribute.Strategy:
    """All GPUs of all machines; without GPUs, their CPUs."""
    assert cluster is not None
    gpus = tf.config.list_physical_devices("GPU")
    kinds = tf.distribute.experimental.CommunicationImplementation
    communication = tf.distribute.experimental.CommunicationOptions(
        implementation=kinds.NCCL if gpus else kinds.RING
    )
    with _tf_config(cluster):
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        try:
            _bound_waiting(cluster)
            return tf.distribute.MultiWorkerMirroredStrategy(
                cluster_resolver=resolver, communication_options=communication
            )
        except tf.errors.OpError as error:
            raise UserError(
                f"the workers {', '.join(cluster.workers)} could not be connected ({_first_line(error)}); "
                "check that each reaches the others' addresses, and restart all workers"
            ) from error


@contextlib.contextmanager
def _tf_config(cluster: Cluster) -> Iterator[None]:
    """Set ``TF_CONFIG`` to this cluster: TensorFlow reads it in several places during start-up."""
    saved = os.environ.get("TF_CONFIG")
    os.environ["TF_CONFIG"] = cluster.to_tf_config()
    try:
        yield
    finally:
        if saved is None:
            del os.environ["TF_CONFIG"]
        else:
            os.environ["TF_CONFIG"] = saved


def _bound_waiting(cluster: Cluster) -> None:
    """Limit TensorFlow's wait for workers to a minute instead of an hour."""
    from tfpipeline import _tensorflow_internals

    _tensorflow_internals.configure_coordination(
        len(cluster.workers), connect_seconds=RENDEZVOUS_SECONDS, lost_seconds=_LOST_SECONDS
    )


def _has_tpu() -> bool:
    """Whether this machine has a TPU or names a remote one. Queries no device, because that would initialize
    it.
    """
    return bool(
        os.environ.get("COLAB_TPU_ADDR")
        or os.environ.get("TPU_NAME")
        or (os.environ.get("TPU_ACCELERATOR_TYPE") and glob.glob("/dev/vfio/[0-9]*"))
        or glob.glob("/dev/accel[0-9]*")
    )


def _tpu(options: TrainingOptions, cluster: Cluster | None) -> tf.distribute.Strategy:
    """All cores of a TPU: this machine's own (``local``), or a remote one by name or grpc:// address."""
    name = os.environ.get("TPU_NAME", options.tpu) if options.tpu == "local" else options.tpu
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            _check_reachable(resolver.master())
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    # Resolvers query a metadata server, a cloud API and a driver, which raise different kinds of errors.
    except (tf.errors.OpError, ValueError, RuntimeError, OSError, ImportError, TypeError, KeyError) as error:
        raise UserError(
            f'training.strategy is tpu, but no TPU answers as "{name}" ({_first_line(error)}); choose a '
            f"machine or "
            "Colab runtime that has one, or set training.strategy to auto"
        ) from error


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at the address. TensorFlow itself would wait forever."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=RENDEZVOUS_SECONDS / 2).close()


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "message", "") or error).strip().splitlines() or [type(error).__name__])[0][
        :200
    ]


_STRATEGIES: dict[str, Callable[[TrainingOptions, Cluster | None], tf.distribute.Strategy]] = {
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}
