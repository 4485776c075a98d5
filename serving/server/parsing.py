"""Refuses messages that are no messages without a traceback in the server's log."""

from __future__ import annotations

from typing import Any, Callable, Optional

import grpc
from google.protobuf.message import DecodeError


class QuietParsing(grpc.ServerInterceptor):
    """Callers get the same INTERNAL as without it; gRPC would log a traceback for each of their messages."""

    def intercept_service(
        self, continuation: Callable[[Any], Optional[grpc.RpcMethodHandler]], details: Any
    ) -> Optional[grpc.RpcMethodHandler]:
        """The method's handler, with a parser that returns None for such a message."""
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        parse = handler.request_deserializer

        def quiet(message: bytes) -> Any:
            try:
                return parse(message)
            except DecodeError:
                return None  # gRPC answers INTERNAL

        return grpc.unary_unary_rpc_method_handler(handler.unary_unary, quiet, handler.response_serializer)
