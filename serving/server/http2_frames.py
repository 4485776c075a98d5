"""Follows HTTP/2 frames to know which calls are in flight on a connection. It reads frame headers only.

Source: RFC 9113, sections 3.4 (connection preface), 4.1 (frame format), 5.1 (stream states), 6.8 (GOAWAY).
"""

from __future__ import annotations

import struct
from typing import Callable

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER_BYTES = 9
_DATA, _HEADERS, _RST_STREAM, _CONTINUATION = 0x0, 0x1, 0x3, 0x9
_END_STREAM, _END_HEADERS = 0x1, 0x4
_LAST_STREAM = 2**31 - 1

#: "Send no new requests; those sent are answered": last stream 2**31 - 1, NO_ERROR.
GOAWAY = struct.pack(">HBBBI", 0, 8, 0x7, 0, 0) + struct.pack(">II", _LAST_STREAM, 0)


class Streams:
    """The open streams of one connection; a gRPC call is a stream.

    Attributes:
        open: the ids of streams that the client has opened and the server has not ended.
        unreadable: the client does not speak plain HTTP/2 (TLS, for example), so nothing is known.
    """

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.unreadable = False
        self._preface = b""
        self._client = _Frames(self._client_frame)
        self._server = _Frames(self._server_frame)

    @property
    def server_between_frames(self) -> bool:
        """Whether a frame may be added to what the server has sent so far."""
        return not self.unreadable and self._server.seen and not self._server.inside

    @property
    def server_in_frame(self) -> bool:
        """Whether the server has sent a part of a frame."""
        return self._server.inside

    def from_client(self, data: bytes) -> None:
        """Follow bytes that the client has sent."""
        if self.unreadable:
            return
        missing = len(_PREFACE) - len(self._preface)
        if missing:
            self._preface += data[:missing]
            if not _PREFACE.startswith(self._preface):
                self.unreadable = True
                return
            data = data[missing:]
        self._client.feed(data)

    def from_server(self, data: bytes) -> None:
        """Follow bytes that the server has sent."""
        if not self.unreadable:
            self._server.feed(data)

    def _client_frame(self, kind: int, flags: int, stream: int) -> None:
        if kind == _HEADERS:
            self.open.add(stream)
        elif kind == _RST_STREAM:
            self.open.discard(stream)

    def _server_frame(self, kind: int, flags: int, stream: int) -> None:
        if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self.open.discard(stream)


class _Frames:
    """Finds the frame headers in one direction's bytes, in pieces of any size."""

    def __init__(self, found: Callable[[int, int, int], None]) -> None:
        self._found = found
        self._header = b""
        self._payload = 0  # bytes of the current frame that are still to come
        self._headers_open = False  # nothing may come between HEADERS and its CONTINUATION frames
        self.seen = False  # at least one frame

    @property
    def inside(self) -> bool:
        """Whether a frame, or a block of headers in several frames, is incomplete."""
        return bool(self._header or self._payload or self._headers_open)

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._payload:
                step = min(self._payload, len(data) - at)
                self._payload -= step
                at += step
                continue
            wanted = _HEADER_BYTES - len(self._header)
            self._header += data[at : at + wanted]
            at += wanted
            if len(self._header) == _HEADER_BYTES:
                high, low, kind, flags, stream = struct.unpack(">HBBBI", self._header)
                self._header, self.seen = b"", True
                self._payload = high << 8 | low
                if kind in (_HEADERS, _CONTINUATION):
                    self._headers_open = not flags & _END_HEADERS
                self._found(kind, flags, stream & _LAST_STREAM)
