"""Metrics in Prometheus' format, under TensorFlow Serving's names where it has them.

Sources in tensorflow/serving: servables/tensorflow/util.cc and batching/batching_util.h (names, labels,
buckets), model_servers/{prediction_service_impl,http_server}.cc (what is counted), and
util/prometheus_exporter.cc.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric

from tfpipeline.serving.server.status import StatusError

#: The media type of :meth:`ServerMetrics.text`.
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SERVICE = "/tensorflow.serving.PredictionService/"
_QUEUE = "model_server_batch_threads"  # the label of the binary's queues
_COUNTED = ("Predict", "Classify", "Regress")  # as in TensorFlow Serving


def _exponential(scale: float, growth: float, count: int) -> list[float]:
    # Six digits, as TensorFlow Serving writes them.
    return [float(f"{scale * growth**power:g}") for power in range(count)]


class _Exact:
    """Metrics under exactly their names.

    Prometheus' library appends `_total` to the name of a counter, and adds the time of its creation as a
    metric of its own. TensorFlow Serving does neither.
    """

    def __init__(self, metrics: Sequence[Any]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics:
            for family in metric.collect():
                kind = "unknown" if family.type == "counter" else family.type
                exact = Metric(family.name, family.documentation, kind)
                for sample in family.samples:
                    if not sample.name.endswith("_created"):
                        name = sample.name.removesuffix("_total") if kind == "unknown" else sample.name
                        exact.add_sample(name, sample.labels, sample.value)
                yield exact


class ServerMetrics:
    """What one server counts.

    Args:
        serves: whether the server has a model of this name. Requests for others are counted under "":
            otherwise callers could fill the memory with names.
        states: returns (model, version, name of its state) of all versions, for each page.
    """

    def __init__(
        self, serves: Callable[[str], bool], states: Callable[[], Iterable[tuple[str, int, str]]]
    ) -> None:
        self._serves = serves
        self._states = states
        latency = _exponential(10, 1.8, 33)
        self._requests = Counter(
            ":tensorflow:serving:request_count",
            "The total number of requests.",
            ["model_name", "status"],
            registry=None,
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Wall time of requests that were answered, in microseconds.",
            ["model_name", "API", "entrypoint"],
            buckets=latency,
            registry=None,
        )
        self._runtime = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Wall time of TensorFlow's session for one batch, in microseconds.",
            ["model_name", "API", "runtime"],
            buckets=latency,
            registry=None,
        )
        self._batches = Histogram(
            ":tensorflow:serving:batching_session:processed_batch_size",
            "Rows given to TensorFlow at once.",
            buckets=_exponential(1, 2, 14),
            registry=None,
        )
        self._queue = Histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "Wall time of requests in the queue of a batch, in microseconds.",
            ["thread_pool_name"],
            buckets=_exponential(100, 1.2, 52),
            registry=None,
        )
        self._loads = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was loaded.",
            ["model_path", "status"],
            registry=None,
        )
        self._load_latency = Counter(
            ":tensorflow:cc:saved_model:load_latency",
            "Wall time of loading SavedModels that were loaded, warm-up included, in microseconds.",
            ["model_path"],
            registry=None,
        )
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(
            _Exact(
                [
                    self._requests,
                    self._latency,
                    self._runtime,
                    self._batches,
                    self._queue,
                    self._loads,
                    self._load_latency,
                ]
            )
        )
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The state of each version: 1 for the one it is in."""
        states = Metric("tfpipeline_model_version_state", "The state of each version that was seen.", "gauge")
        for model, version, state in self._states():
            labels = {"model_name": model, "version": str(version), "state": state}
            states.add_sample(states.name, labels, 1)
        yield states

    def answered(
        self, model: str, api: str, entrypoint: str, status: grpc.StatusCode, seconds: float
    ) -> None:
        """Count one request.

        Args:
            model: the name that was asked for.
            api: `Predict` and so on; in lower case over REST; "" for other requests.
            entrypoint: `GRPC` or `REST`.
            status: how it ended.
            seconds: how long it took.
        """
        name = model if self._serves(model) else ""
        self._requests.labels(name, status.name).inc()
        if status is grpc.StatusCode.OK:
            self._latency.labels(name, api, entrypoint).observe(seconds * 1e6)

    def loading(self, load: Callable[[Path], Any]) -> Callable[[str, Path], Any]:
        """`load` with its time and result counted; its models count their batches.

        Args:
            load: version directory -> model; raises :class:`StatusError`.
        Returns:
            (name of the model, version directory) -> model.
        """

        def counted(name: str, path: Path) -> Any:
            start = time.perf_counter()
            try:
                model = load(path)
            except StatusError:
                self._loads.labels(str(path), "fail").inc()
                raise
            self._loads.labels(str(path), "success").inc()
            self._load_latency.labels(str(path)).inc((time.perf_counter() - start) * 1e6)
            return _Measured(model, name, self)

        return counted

    def waited(self, seconds: float) -> None:
        """Count the time that a request waited for its batch."""
        self._queue.labels(_QUEUE).observe(seconds * 1e6)

    def computed(self, model: str, rows: int, seconds: float) -> None:
        """Count one batch that TensorFlow has computed."""
        self._batches.observe(rows)
        self._runtime.labels(model, "Predict", "TF1").observe(seconds * 1e6)


class _Measured:
    """A loaded model whose batches are counted; see `versions.Model`."""

    def __init__(self, model: Any, name: str, metrics: ServerMetrics) -> None:
        self._model = model
        self._name = name
        self._metrics = metrics
        self.signatures = model.signatures

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
        start = time.perf_counter()
        values: list[np.ndarray] = self._model.run(feeds, fetches)
        rows = max((len(array) for array in feeds.values() if np.ndim(array)), default=1)
        self._metrics.computed(self._name, rows, time.perf_counter() - start)
        return values

    def close(self) -> None:
        self._model.close()


class CallCounter(grpc.ServerInterceptor):
    """Counts the gRPC calls that TensorFlow Serving counts: Predict, Classify and Regress."""

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        service, _, api = handler_call_details.method.rpartition("/")
        if handler is None or service + "/" != _SERVICE or api not in _COUNTED:
            return handler

        def counted(request: Any, context: Any) -> Any:
            start = time.perf_counter()
            status = grpc.StatusCode.UNKNOWN
            try:
                response = handler.unary_unary(request, context)
                status = grpc.StatusCode.OK
                return response
            finally:
                if status is not grpc.StatusCode.OK:
                    status = context.code() or status
                seconds = time.perf_counter() - start
                self._metrics.answered(request.model_spec.name, api, "GRPC", status, seconds)

        return grpc.unary_unary_rpc_method_handler(
            counted,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
