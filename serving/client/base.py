"""The common part of the synchronous and the asyncio client: everything except input and output."""

from __future__ import annotations

from typing import Any, Optional

import grpc

from tfpipeline.serving.client import calls, conversations, options
from tfpipeline.serving.client.errors import CallError, ClosedError, InputError, from_status


class BaseClient:
    """Queries one model on one server. A client is thread-safe and cheap to keep: it has one connection per
    address.

    Args:
        target: the server, ``HOST:PORT``; all addresses of the name are used in turn. Or a gRPC URI.
        model: the model's name on the server.
        version: the version to query; by default the newest.
        version_label: a label such as ``"stable"`` instead of a version.
        signature: the signature that ``predict`` and ``predict_raw`` call.
        timeout: maximum seconds per call, including retries; each call also accepts a ``timeout`` of its own.
        credentials: :class:`TLS`, or ``grpc.ChannelCredentials``; by default the connection is not encrypted.
        retries: number of retries if the server is UNAVAILABLE; 0 to 4.
        max_message_bytes: maximum size of a message, in either direction; by default the limit of the format.
    Raises:
        InputError: an argument cannot be used. The server is not contacted yet.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str,
        version: Optional[int] = None,
        version_label: Optional[str] = None,
        signature: str = "serving_default",
        timeout: float = 10.0,
        credentials: Any = None,
        retries: int = options.MAX_RETRIES,
        max_message_bytes: int = options.MAX_MESSAGE_BYTES,
    ) -> None:
        self.endpoint = calls.Endpoint(target, model, version, version_label, signature)
        self._timeout = conversations.check_seconds(timeout)
        self._uri = options.uri(target)
        tls = credentials if isinstance(credentials, options.TLS) else None
        self._options = options.channel_options(
            target, retries=retries, max_message_bytes=max_message_bytes, tls=tls
        )
        self._credentials = tls.channel_credentials() if tls is not None else credentials
        if self._credentials is not None and not isinstance(self._credentials, grpc.ChannelCredentials):
            raise InputError(f"credentials is {type(credentials).__name__}; give a TLS(...)")
        self._closed = False
        self._start()

    def _start(self) -> None:
        """Connect, if that needs no running event loop."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint.target!r}, model={self.endpoint.model!r})"

    def _open(self, module: Any) -> tuple[Any, dict[str, Any]]:
        """Open a channel, with a callable for each method; ``module`` is ``grpc`` or ``grpc.aio``."""
        if self._credentials is None:
            channel = module.insecure_channel(self._uri, self._options)
        else:
            channel = module.secure_channel(self._uri, self._credentials, self._options)
        stubs = {
            method.path: channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for method in calls.METHODS
        }
        return channel, stubs

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the client of {self.endpoint.target} is closed; make a new one")

    def _deadline(self, step: conversations.Call) -> float:
        return self._timeout if step.timeout is None else conversations.check_seconds(step.timeout)

    def _error(self, error: Any, step: conversations.Call) -> CallError:
        """The client's error for a ``grpc.RpcError``."""
        return self._status_error(error.code().name, error.details() or "", step)

    def _status_error(self, code: str, details: str, step: conversations.Call) -> CallError:
        endpoint = self.endpoint
        asked = f"{step.method.name}, {endpoint}"
        if step.method is calls.PREDICT:
            asked += f', signature "{step.request.model_spec.signature_name}"'
        return from_status(
            code,
            details,
            target=endpoint.target,
            asked=asked,
            timeout=self._deadline(step),
        )
