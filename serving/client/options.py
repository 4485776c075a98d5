"""Connection options of the client: the channel's options, with reasons, and TLS."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from tfpipeline.serving.client import checks
from tfpipeline.serving.client.errors import InputError

__all__ = ["TLS"]

# The maximum size of a protobuf message, and of a message that TensorFlow Serving accepts.
MAX_MESSAGE_BYTES = 2**31 - 1
# gRPC makes at most 5 attempts, whatever the setting.
MAX_RETRIES = 4

_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
_LOOPBACK = re.compile(r"(dns:///)?(localhost|127\.\d+\.\d+\.\d+|\[::1\]):")
_LOCALHOST = re.compile(r"(?:dns:///)?localhost:(\d+)")


@dataclass(frozen=True)
class TLS:
    """Encrypts the connection. Values are PEM, as bytes or as the path of a file.

    Attributes:
        root: the certificates to trust; None for gRPC's built-in list of public authorities.
        certificate: the client's certificate chain, if the server requires one.
        key: the private key of ``certificate``.
        server_name: the name in the server's certificate, if it is not the host in the target.
    """

    root: Union[bytes, str, os.PathLike[str], None] = None
    certificate: Union[bytes, str, os.PathLike[str], None] = None
    key: Union[bytes, str, os.PathLike[str], None] = None
    server_name: Optional[str] = None

    def channel_credentials(self) -> Any:
        """The credentials for ``grpc.secure_channel``.

        Raises:
            InputError: a file cannot be read, or only one of certificate and key is given.
        """
        import grpc

        if (self.certificate is None) != (self.key is None):
            raise InputError("TLS needs certificate and key together; give both, or neither")
        return grpc.ssl_channel_credentials(
            _pem("root", self.root), _pem("key", self.key), _pem("certificate", self.certificate)
        )


def _pem(field: str, value: Union[bytes, str, os.PathLike[str], None]) -> Optional[bytes]:
    if value is None:
        return None
    if not isinstance(value, bytes):
        try:
            value = Path(value).expanduser().read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~name of an unknown user
            raise InputError(
                f"TLS {field} can't be read from {os.fspath(value)!r}: {error}; give a PEM file's path"
            ) from error
    if b"-----BEGIN " not in value:
        # gRPC would only report, much later, that the handshake failed.
        raise InputError(f"TLS {field} is not PEM; it must hold -----BEGIN ...")
    return value


def uri(target: str) -> str:
    """The target in gRPC's form: HOST:PORT becomes ``dns:///HOST:PORT``, so that all its addresses are used.

    Raises:
        InputError: the target is neither HOST:PORT nor a gRPC URI.
    """
    if isinstance(target, str):
        if target.startswith(_SCHEMES):
            return target
        match = _HOST_PORT.fullmatch(target)
        if match and 0 < int(match.group(2)) < 65536:
            return f"dns:///{target}"
    # Without a port gRPC would try 443, and fail with a message that does not mention the port.
    raise InputError(
        f"target is {target!r}; give HOST:PORT, e.g. localhost:8500, or a gRPC URI such as dns:///..."
    )


def other_address(target: str, details: str) -> Optional[str]:
    """The other address of "localhost", if a call has failed because nobody listens on the first.

    A server listens on 127.0.0.1 or on ::1. When it refuses the connection for a reason of its own, gRPC may
    still report that nobody listens on the other one.

    Args:
        target: the server, as the user wrote it.
        details: of the status UNAVAILABLE.
    """
    match = _LOCALHOST.fullmatch(target)
    if match is None or "Connection refused" not in details:
        return None
    refused = "ipv6" if re.search(r"\[::1\]|%5B::1%5D", details) else "ipv4"
    return f"ipv4:127.0.0.1:{match[1]}" if refused == "ipv6" else f"ipv6:[::1]:{match[1]}"


def channel_options(
    target: str, *, retries: int, max_message_bytes: int, tls: Optional[TLS] = None
) -> list[tuple[str, Union[str, int]]]:
    """The channel's options.

    Args:
        target: the server, as the user wrote it.
        retries: attempts after the first if the server is UNAVAILABLE; 0 to 4.
        max_message_bytes: the maximum message size, in both directions.
        tls: only its ``server_name`` is an option.
    Raises:
        InputError: a number is out of range.
    """
    checks.whole("retries", retries, 0, MAX_RETRIES)
    checks.whole("max_message_bytes", max_message_bytes, 1, MAX_MESSAGE_BYTES)
    service: dict[str, Any] = {
        # A name may have many addresses, the server's replicas: use all of them, not the first that responds.
        "loadBalancingConfig": [{"round_robin": {}}],
    }
    if retries:
        # Only UNAVAILABLE: the server did not run the request. All calls only read, so a retry is harmless.
        service["methodConfig"] = [
            # A health check asks for the state now, and whoever checks repeats it.
            {"name": [{"service": "grpc.health.v1.Health"}]},
            # One retry is enough for a lost connection; wait_until_ready() repeats its calls anyway.
            {"name": [{"service": "tensorflow.serving.ModelService"}], "retryPolicy": _retry_policy(1)},
            {"name": [{}], "retryPolicy": _retry_policy(retries)},
        ]
    options: list[tuple[str, Union[str, int]]] = [
        ("grpc.primary_user_agent", "tfpipeline-client"),
        ("grpc.service_config", json.dumps(service)),
        # Do not look up a retry policy in DNS.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", int(retries > 0)),
        # The default limit for a response, 4 MB, is 1,365 embeddings of 768 numbers.
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # Larger requests (256 KiB by default) would silently not be retried.
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        # Reconnect to a restarted server within seconds, not after two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        # Servers refuse pings that come more often than every 5 minutes ("too_many_pings"). Setting them also
        # makes the kernel close a dead connection after keepalive_timeout (TCP_USER_TIMEOUT), which is the
        # purpose.
        ("grpc.keepalive_time_ms", 310_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 0),
        # Otherwise clients in one process share connections, and failed attempts of one delay the other.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if _LOOPBACK.match(target):
        # http_proxy in the environment is meant for other hosts.
        options.append(("grpc.enable_http_proxy", 0))
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def _retry_policy(retries: int) -> dict[str, Any]:
    return {
        "maxAttempts": retries + 1,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
