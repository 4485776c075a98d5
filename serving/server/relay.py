"""Relays connections from a TCP address to a Unix socket, byte by byte, and drains them at the end.

Bytes pass through unchanged, so gRPC's deadlines, cancellations, large messages and TLS work. The relay reads
the headers of HTTP/2 frames only to know when it may close: see :mod:`http2_frames`.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Callable, Optional, cast

from tfpipeline.serving.server.http2_frames import GOAWAY, Streams

_WRITE_BUFFER = 256 * 1024
_TICK_SECONDS = 0.02
# A call that its caller sent before GOAWAY reached it may still be on the way.
_CROSSING_SECONDS = 0.1
_CLOSE_SECONDS = 1.0


class Relay:
    """Accepts connections on ``listener`` and connects each with the Unix socket at ``path``."""

    def __init__(self, listener: socket.socket, path: str) -> None:
        self._listener = listener
        self._path = path
        self._server: Optional[asyncio.AbstractServer] = None
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Start to listen and accept.

        Raises:
            OSError: the address was taken after the socket was bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=self._listener, backlog=128)

    def calls(self) -> int:
        """The number of calls in flight, as far as the relay can see: TLS hides them."""
        return sum(len(connection.streams.open) for connection in self._connections)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, tell callers to send no new calls, and wait for the calls in flight.

        With TLS, callers cannot be told, so it waits until they have closed their connections.

        Args:
            seconds: the maximum time.
        """
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.say_goodbye()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        quiet_since = loop.time()
        while self._connections and loop.time() < end:
            if any(connection.busy for connection in self._connections):
                quiet_since = loop.time()
            elif loop.time() - quiet_since > _CROSSING_SECONDS:
                return
            await asyncio.sleep(_TICK_SECONDS)

    async def stop(self) -> None:
        """Stop accepting, and close open connections; what was received is still passed on."""
        if self._server is not None:
            self._server.close()
        for close in (_Connection.close, _Connection.abort):
            for connection in list(self._connections):
                close(connection)
            if ending := [connection.ended for connection in self._connections]:
                await asyncio.wait(ending, timeout=_CLOSE_SECONDS)

    def _accept(self) -> asyncio.Protocol:
        return _Connection(self._path, self._connections).outer


class _Connection:
    """A caller's connection, ``outer``, and the one to the server, ``inner``."""

    def __init__(self, path: str, connections: set[_Connection]) -> None:
        self._path = path
        self._connections = connections
        self.streams = Streams()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._goodbye = False
        self._connecting: Optional[asyncio.Task[None]] = None
        self.outer = _Side(self, self.from_client)
        self.inner = _Side(self, self.from_server)
        self.outer.peer, self.inner.peer = self.inner, self.outer

    @property
    def busy(self) -> bool:
        """Whether a call may be in flight."""
        return self.streams.unreadable or bool(self.streams.open) or self.streams.server_in_frame

    def opened(self, side: _Side) -> None:
        """A socket is connected: the caller's first, which waits until there is somewhere to write to."""
        if side is self.outer and side.transport is not None:
            self._connections.add(self)
            side.transport.pause_reading()
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: self.inner, self._path)
        except OSError:  # the server is gone: gRPC reports the closed connection as UNAVAILABLE
            self.abort()
            return
        if self.outer.transport is None:  # the caller has gone in the meantime
            self.close()
        else:
            self.outer.transport.resume_reading()

    def from_client(self, data: bytes) -> None:
        """Pass on what the caller sent."""
        self.inner.send(data)
        self.streams.from_client(data)

    def from_server(self, data: bytes) -> None:
        """Pass on what the server sent."""
        self.outer.send(data)
        self.streams.from_server(data)
        self._send_goodbye()

    def say_goodbye(self) -> None:
        """Tell the caller to send no new calls, as soon as that breaks no frame in two."""
        self._goodbye = True
        self._send_goodbye()

    def _send_goodbye(self) -> None:
        if self._goodbye and self.streams.server_between_frames:
            self._goodbye = False
            self.outer.send(GOAWAY)

    def lost(self) -> None:
        """A socket is closed: the other one follows."""
        self.close()
        if self.outer.transport is None and self.inner.transport is None and not self.ended.done():
            self._connections.discard(self)
            self.ended.set_result(None)

    def close(self) -> None:
        """Close both sides after sending what is buffered."""
        for side in (self.outer, self.inner):
            if side.transport is not None:
                side.transport.close()

    def abort(self) -> None:
        """Close both sides at once."""
        if self._connecting is not None:
            self._connecting.cancel()
        for side in (self.outer, self.inner):
            if side.transport is not None:
                side.transport.abort()


class _Side(asyncio.Protocol):
    """One of a connection's two sockets.

    Args:
        connection: the connection it belongs to.
        received: called with the bytes it receives.
    """

    def __init__(self, connection: _Connection, received: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._received = received
        self.peer: _Side = self
        self.transport: Optional[asyncio.Transport] = None
        self._ended = False

    def send(self, data: bytes) -> None:
        """Write, unless this end is closed."""
        if self.transport is not None and not self._ended and not self.transport.is_closing():
            self.transport.write(data)

    def end(self) -> None:
        """Tell the other end that nothing more will be sent."""
        self._ended = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_WRITE_BUFFER)
        sock = self.transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio sets it only if the listener was made with an explicit protocol. Without it, a small
            # frame waits up to 40 ms for the caller's delayed acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.opened(self)

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def eof_received(self) -> bool:
        self.peer.end()
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        if self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.transport = None
        self._connection.lost()
