"""The common part of the synchronous and the asyncio client: everything except input and output."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Optional, Union

import grpc

from tfpipeline.serving.client import calls, checks, concurrency, hints, options
from tfpipeline.serving.client import telemetry as tracing
from tfpipeline.serving.client.conversations import Sending
from tfpipeline.serving.client.errors import CallError, ClosedError, InputError, from_status
from tfpipeline.serving.client.steps import Call

_ASK_SECONDS = 1.0  # for a second call, to an address of this machine
_CLIENTS: weakref.WeakSet[BaseClient] = weakref.WeakSet()
_INHERITED: list[Any] = []


def _keep_what_is_inherited() -> None:
    """In a process that was forked: freeing a channel of the other one may wait for its threads for ever."""
    _INHERITED.extend(client.__dict__.copy() for client in list(_CLIENTS))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_what_is_inherited)


class BaseClient:
    """Queries one model on one server. A client is thread-safe and cheap to keep: it connects at its first
    call, and has one connection per address. Calls raise errors of :class:`ClientError`; see ``errors.py``.

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
        max_concurrency: maximum number of requests at a time; further ones wait, and the wait is not part of
            their timeout. The batches of one ``predict`` are sent so many at a time. By default there is no
            limit, and the batches are sent one after the other.
        headers: name -> value, sent with every call, such as ``{"authorization": "Bearer ..."}``; values are
            str, or bytes if the name ends with ``-bin``.
        interceptors: gRPC's client interceptors, of ``grpc`` or of ``grpc.aio`` as the client is.
        hedge_after: seconds after which a request without an answer is sent a second time, to another address
            of the server if there is one; the first answer counts. At most a tenth of the requests is sent
            twice. By default none is.
        telemetry: whether calls are traced with OpenTelemetry; by default they are if the program has
            imported it and opentelemetry-instrumentation-grpc is installed.
    Raises:
        InputError: an argument cannot be used. The server is not contacted yet.
    """

    _interceptor_class: type[Any] = grpc.UnaryUnaryClientInterceptor

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
        max_concurrency: Optional[int] = None,
        headers: Optional[Mapping[str, Union[str, bytes]]] = None,
        interceptors: Sequence[Any] = (),
        hedge_after: Optional[float] = None,
        telemetry: Optional[bool] = None,
    ) -> None:
        self.endpoint = calls.Endpoint(target, model, version, version_label, signature)
        self._timeout = checks.seconds(timeout)
        self._uri = options.uri(target)
        tls = credentials if isinstance(credentials, options.TLS) else None
        self._options = options.channel_options(
            target, retries=retries, max_message_bytes=max_message_bytes, tls=tls
        )
        self._credentials = tls.channel_credentials() if tls is not None else credentials
        if self._credentials is not None and not isinstance(self._credentials, grpc.ChannelCredentials):
            raise InputError(f"credentials is {type(credentials).__name__}; give a TLS(...)")
        if max_concurrency is not None:
            checks.whole("max_concurrency", max_concurrency, 1, otherwise=", or None for no limit")
        self._max_concurrency = max_concurrency
        self._headers = checks.headers(headers)
        self._interceptors = self._checked(interceptors)
        self._hedging = (
            None if hedge_after is None else concurrency.Hedging(checks.seconds(hedge_after, "hedge_after"))
        )
        self._tracing = tracing.find(telemetry)
        self._closed = False
        self._process: Optional[int] = None  # the one that connected
        self._start()
        _CLIENTS.add(self)

    def _start(self) -> None:
        """Make what the client needs before it connects."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint.target!r}, model={self.endpoint.model!r})"

    def __reduce__(self) -> NoReturn:
        raise InputError(
            f"a {type(self).__name__} cannot be pickled or copied, because it holds a connection; make one "
            f"in each process"
        )

    def _checked(self, interceptors: Any) -> list[Any]:
        wanted = self._interceptor_class
        if isinstance(interceptors, (str, bytes)) or not isinstance(interceptors, Sequence):
            raise InputError(f"interceptors is {type(interceptors).__name__}; give a list of them")
        for interceptor in interceptors:
            if not isinstance(interceptor, wanted):
                raise InputError(
                    f"interceptors holds a {type(interceptor).__name__}; {type(self).__name__} takes "
                    f"{wanted.__module__.partition('._')[0]}.{wanted.__name__}"
                )
        return list(interceptors)

    def _sending(self, batch_size: Optional[int], timeout: Optional[float]) -> Sending:
        return Sending(batch_size, timeout, self._max_concurrency or 1, self._hedging)

    def _open(self, module: Any, uri: Optional[str] = None, **more: Any) -> Any:
        """Open a channel; ``module`` is ``grpc`` or ``grpc.aio``, ``uri`` one address of the server."""
        options = self._options
        if uri is not None:  # the certificate is for the target's name
            options = [*options, ("grpc.default_authority", self._uri.rpartition("/")[2])]
        if self._credentials is None:
            return module.insecure_channel(uri or self._uri, options, **more)
        return module.secure_channel(uri or self._uri, self._credentials, options, **more)

    def _other_address(self, error: Any) -> Optional[str]:
        """Where the reason for a ``grpc.RpcError`` may be found, if the error has that of another address."""
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            return None
        return options.other_address(self.endpoint.target, error.details() or "")

    @staticmethod
    def _asking(channel: Any) -> Any:
        """A call that fails as any call to this server would."""
        ask = channel.unary_unary(
            calls.HEALTH.path,
            request_serializer=calls.HEALTH.request.SerializeToString,
            response_deserializer=calls.HEALTH.response.FromString,
        )
        return ask(calls.HEALTH.request(), timeout=_ASK_SECONDS)

    @staticmethod
    def _stubs_of(channel: Any) -> dict[str, Any]:
        """A callable for each method."""
        return {
            method.path: channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for method in calls.METHODS
        }

    def _check_open(self) -> None:
        """Raise ClosedError if the client can't be used; gRPC would hang in a forked process."""
        if self._process is not None and self._process != os.getpid():
            raise ClosedError(
                f"the client of {self.endpoint.target} belongs to process {self._process}, which made calls "
                f"with it before this process was forked from it; make a new one here"
            )
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the client of {self.endpoint.target} is closed; make a new one")

    def _deadline(self, step: Call) -> float:
        return self._timeout if step.timeout is None else checks.seconds(step.timeout)

    def _error(
        self, error: Any, step: Call, connected: Optional[bool] = None, again: Optional[Any] = None
    ) -> CallError:
        """The client's error for a ``grpc.RpcError``.

        Args:
            error: the error.
            step: the call.
            connected: whether there is a connection.
            again: the error of a second call, to :meth:`_other_address`.
        """
        said = error
        if again is not None and again.code() is error.code() and "refused" not in (again.details() or ""):
            said = again
        return self._status_error(said.code().name, said.details() or "", step, connected)

    def _status_error(
        self, code: str, details: str, step: Call, connected: Optional[bool] = None
    ) -> CallError:
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
            situation=hints.Situation(self._credentials is not None, connected, step.method.name),
        )
