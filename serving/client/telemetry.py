"""OpenTelemetry's traces of calls, by its own interceptors; nothing is imported until they are wanted."""

from __future__ import annotations

import sys
from typing import Any, Optional

from tfpipeline.serving.client.errors import InputError

_PACKAGE = "opentelemetry-instrumentation-grpc"


def find(wanted: Optional[bool]) -> Any:
    """OpenTelemetry's gRPC package, or None if calls are not traced.

    Args:
        wanted: None for yes if the program uses OpenTelemetry already and the package is installed.
    Raises:
        InputError: it is wanted and not installed.
    """
    if wanted is False or (wanted is None and "opentelemetry" not in sys.modules):
        return None
    if wanted is not None and not isinstance(wanted, bool):
        raise InputError(f"telemetry is {wanted!r}; give True, False or None")
    try:
        from opentelemetry.instrumentation import grpc
    except ImportError as error:
        if wanted is None:
            return None
        raise InputError(
            f"telemetry=True needs a package that is missing ({error}); install it: pip install {_PACKAGE}"
        ) from error
    return grpc


def traced(package: Any, channel: Any) -> Any:
    """A synchronous channel whose calls are traced; once only, if all channels are traced anyway."""
    if package is None or package.GrpcInstrumentorClient().is_instrumented_by_opentelemetry:
        return channel
    return package.intercept_channel(channel, package.client_interceptor())


def interceptors(package: Any) -> list[Any]:
    """The same for an asyncio channel, as interceptors."""
    if package is None or package.GrpcAioInstrumentorClient().is_instrumented_by_opentelemetry:
        return []
    return list(package.aio_client_interceptors())
