"""Relays connections from a TCP address to a Unix socket, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_CHUNK = 256 * 1024


class Relay:
    """Accepts connections on ``listener`` and connects each with the Unix socket at ``path``.

    HTTP/2 passes through unread, so gRPC's deadlines, cancellations and large messages work.
    """

    def __init__(self, listener: socket.socket, path: str) -> None:
        self._listener = listener
        self._path = path
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start to listen and accept.

        Raises:
            OSError: the address was taken after the socket was bound.
        """
        self._server = await asyncio.start_server(
            self._accepted, sock=self._listener, limit=_CHUNK, backlog=128
        )

    async def stop(self) -> None:
        """Stop accepting, and close open connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # If the server is gone, the caller's connection is closed, which gRPC reports as UNAVAILABLE.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                inner_reader, inner_writer = await asyncio.open_unix_connection(self._path, limit=_CHUNK)
                try:
                    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
                finally:
                    inner_writer.close()
            finally:
                writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then signal the end to the target. Waits if the target is slow."""
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    with contextlib.suppress(OSError):
        if target.can_write_eof():
            target.write_eof()
