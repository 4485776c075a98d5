"""Addresses to listen on, checked before anything slow starts."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence

from tfpipeline.errors import UserError


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


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket bound to the address but not listening; the caller closes it.

    Raises:
        UserError: the port is taken or not permitted, or the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(
            f"cannot listen on {host!r}: that name has no address here; use 127.0.0.1 (this machine only) "
            f"or 0.0.0.0"
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # On Linux this ignores leftover connections of a stopped server, but never a running server.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise listen_error(host, port, error) from error
    return listener


def listen_error(host: str, port: int, error: OSError) -> UserError:
    """The error for an address that the operating system refused."""
    where = join_host_port(host, port)
    if error.errno == errno.EADDRINUSE:
        return UserError(
            f"port {port} on {host} is in use by another program; choose another with --port, or --port 0"
        )
    if error.errno == errno.EACCES:
        return UserError(
            f"cannot listen on {where}: ports below 1024 need privileges; choose another with --port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UserError(
            f"cannot listen on {where}: no interface of this machine has that address; "
            "use --host 127.0.0.1 (this machine only) or --host 0.0.0.0 (every interface)"
        )
    return UserError(
        f"cannot listen on {where}: {os.strerror(error.errno or 0)}; choose another --host or --port"
    )


def free_port(host: str, port: int) -> int:
    """``port`` if it can be used, or a free port if it is 0.

    Raises:
        UserError: see :func:`bind`.
    """
    with bind(host, port) as listener:
        return int(listener.getsockname()[1])
