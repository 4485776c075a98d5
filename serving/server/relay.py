"""Passes the connections of one TCP address on to a Unix socket, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_CHUNK = 256 * 1024


class Relay:
    """Accepts on ``listener`` and connects each caller with the Unix socket at ``path``.

    HTTP/2 passes unread, so gRPC's deadlines, cancellations and large messages do too.
    """

    def __init__(self, listener: socket.socket, path: str) -> None:
        self._listener = listener
        self._path = path
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen and accept.

        Raises:
            OSError: the address was taken since the socket was bound.
        """
        self._server = await asyncio.start_server(
            self._accepted, sock=self._listener, limit=_CHUNK, backlog=128
        )

    async def stop(self) -> None:
        """Accept no more and close what is open."""
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
        # A caller whose server is gone sees its connection closed, which gRPC reports as UNAVAILABLE.
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
    """Copy until the source ends, then tell the target so. Waits when the target is slow."""
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    with contextlib.suppress(OSError):
        if target.can_write_eof():
            target.write_eof()
