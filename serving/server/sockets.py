"""Addresses to listen on, checked before anything slow starts."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Optional

from tfpipeline.errors import UserError
from tfpipeline.serving.server.options import METRICS_PATH


def join_host_port(host: str, port: int) -> str:
    """``host:port`` in the usual notation; an IPv6 address is put in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ready_line(models: Mapping[str, Sequence[int]], address: str, kind: str) -> str:
    """``serving sentiment version 1 on 127.0.0.1:8500 (embedded development server)``.

    Args:
        models: name -> versions.
        address: ``host:port``.
        kind: which server it is.
    """

    def one(name: str, versions: Sequence[int]) -> str:
        plural = "versions" if len(versions) > 1 else "version"
        return f"{name} {plural} {', '.join(map(str, versions))}"

    return f"serving {'; '.join(one(*model) for model in models.items())} on {address} ({kind})"


def http_line(rest: Optional[str], metrics: Optional[str]) -> str:
    """``REST on http://127.0.0.1:8501/v1/models/NAME, metrics on http://...``; "" without both.

    Args:
        rest: ``host:port`` of the REST API.
        metrics: ``host:port`` of the metrics.
    """
    parts = [
        f"REST on http://{rest}/v1/models/NAME" if rest else "",
        f"metrics on http://{metrics}{METRICS_PATH}" if metrics else "",
    ]
    return ", ".join(filter(None, parts))


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """A TCP socket bound to the address but not listening; the caller closes it.

    Args:
        host: the address.
        port: the port; 0 takes a free one.
        option: what chose the port, for messages.

    Raises:
        UserError: the port is taken or not permitted, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(
            f"cannot listen on {host!r}: that name has no address here; use 127.0.0.1 (this machine only) "
            f"or 0.0.0.0"
        ) from error
    # With an explicit protocol, asyncio sets TCP_NODELAY on the sockets that are accepted.
    listener = socket.socket(family, kind, protocol)
    try:
        # On Linux this ignores leftover connections of a stopped server, but never a running server.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise listen_error(host, port, error, option) from error
    return listener


def listen_error(host: str, port: int, error: OSError, option: str = "--port") -> UserError:
    """The error for an address that the operating system refused."""
    where = join_host_port(host, port)
    if error.errno == errno.EADDRINUSE:
        return UserError(
            f"port {port} on {host} is in use by another program; choose another with {option}, or {option} 0"
        )
    if error.errno == errno.EACCES:
        return UserError(
            f"cannot listen on {where}: ports below 1024 need privileges; choose another with {option}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UserError(
            f"cannot listen on {where}: no interface of this machine has that address; "
            "use --host 127.0.0.1 (this machine only) or --host 0.0.0.0 (every interface)"
        )
    return UserError(
        f"cannot listen on {where}: {os.strerror(error.errno or 0)}; choose another --host or {option}"
    )


def free_port(host: str, port: int, option: str = "--port") -> int:
    """``port`` if it can be used, or a free port if it is 0.

    Raises:
        UserError: see :func:`bind`.
    """
    with bind(host, port, option) as listener:
        return int(listener.getsockname()[1])
