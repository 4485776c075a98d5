"""The services that tools know: health (grpc.health.v1) and reflection.

Sources: EnableDefaultHealthCheckService in tensorflow/serving, model_servers/server.cc (its service names);
grpc/doc/health-checking.md.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

_SERVICES = (
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)
# The whole server, the names that TensorFlow Serving uses, and the services' full names.
_NAMES = (health.OVERALL_HEALTH, "PredictionService", "ModelService", *_SERVICES)
_LOOK_SECONDS = 0.2


class HealthService(health.HealthServicer):
    """SERVING while every model has an AVAILABLE version, otherwise NOT_SERVING.

    A `Check` looks at that moment. Those who `Watch` are told within 0.2 s.

    Args:
        healthy: whether every model has an AVAILABLE version.
    """

    def __init__(self, healthy: Callable[[], bool]) -> None:
        super().__init__()
        self._healthy = healthy
        self._told: Any = None
        self._watchers: set[Callable[[Any], None]] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, name="health", daemon=True)
        self._update()
        self._thread.start()

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        self._update()
        return super().Check(request, context)

    def Watch(  # noqa: N802
        self, request: Any, context: Any, send_response_callback: Any = None
    ) -> Any:
        if send_response_callback is not None:
            self._watchers.add(send_response_callback)
            context.add_callback(lambda: self._watchers.discard(send_response_callback))
        return super().Watch(request, context, send_response_callback)

    def stop(self) -> None:
        """Tell everyone NOT_SERVING, for good, end their calls, and end the thread."""
        self._ending.set()
        self._thread.join()
        self.enter_graceful_shutdown()
        for end in list(self._watchers):
            end(None)

    def _look(self) -> None:
        while not self._ending.wait(_LOOK_SECONDS):
            self._update()

    def _update(self) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        status = serving if self._healthy() else health_pb2.HealthCheckResponse.NOT_SERVING
        if status != self._told:
            for name in _NAMES:
                self.set(name, status)
            self._told = status


def add_health(server: grpc.Server, healthy: Callable[[], bool]) -> HealthService:
    """Register the health service; call its :meth:`HealthService.stop` before the server's."""
    service = HealthService(healthy)
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    return service


def add_reflection(server: grpc.Server, more: Iterable[str] = (health.SERVICE_NAME,)) -> None:
    """Register the reflection service, with which grpcurl lists services and reads their messages."""
    reflection.enable_server_reflection([*_SERVICES, *more, reflection.SERVICE_NAME], server)
