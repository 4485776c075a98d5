"""Limits the predictions in flight, and nothing else: status and health calls get through a busy server."""

from __future__ import annotations

import threading
from typing import Any, Callable, Optional

import grpc

#: Threads beyond the limit: they answer status calls, refuse the predictions above the limit, and wait for
#: the messages of calls that have only begun. gRPC gives a call its thread when its headers arrive, so a
#: hundred half-open calls hold a hundred threads. Threads are made when they are needed.
SPARE_THREADS = 1000
_LIMITED = frozenset(
    f"/tensorflow.serving.PredictionService/{name}"
    for name in ("Predict", "Classify", "Regress", "MultiInference")
)


class PredictionLimit(grpc.ServerInterceptor):
    """Refuses predictions with RESOURCE_EXHAUSTED while ``most`` others are in flight.

    gRPC's own limit (``maximum_concurrent_rpcs``) would refuse every method. Then a busy server looks dead to
    those who ask for its status.

    Args:
        most: the maximum number of predictions in flight.
        at_once: how many of them are answered at once; the others wait.
    """

    def __init__(self, most: int, at_once: int) -> None:
        self._free = threading.Semaphore(most)
        self._running = threading.Semaphore(at_once)

    def intercept_service(
        self, continuation: Callable[[Any], Optional[grpc.RpcMethodHandler]], details: Any
    ) -> Optional[grpc.RpcMethodHandler]:
        """The method's handler, limited if it computes predictions."""
        handler = continuation(details)
        if handler is None or details.method not in _LIMITED:
            return handler
        answer = handler.unary_unary

        def limited(request: Any, context: grpc.ServicerContext) -> Any:
            # Counted here and not on arrival: a request that cannot be parsed never gets this far.
            if not self._free.acquire(blocking=False):
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
            try:
                with self._running:
                    return answer(request, context)
            finally:
                self._free.release()

        return grpc.unary_unary_rpc_method_handler(
            limited, handler.request_deserializer, handler.response_serializer
        )
