"""The relay in front of tensorflow_model_server: how it sends, what it knows of calls, how it ends."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tfpipeline.serving.server.http2_frames import GOAWAY, Streams
from tfpipeline.serving.server.relay import Relay
from tfpipeline.serving.server.sockets import bind

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION = 0, 1, 3, 4, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


CLIENT = PREFACE + frame(SETTINGS, payload=b"x" * 12)
CALL = frame(HEADERS, END_HEADERS, 1, b"path") + frame(DATA, END_STREAM, 1, b"question" * 50)
ANSWER = (
    frame(HEADERS, 0, 1, b"status")
    + frame(CONTINUATION, END_HEADERS, 1, b"more")
    + frame(DATA, 0, 1, b"answer" * 50)
    + frame(HEADERS, END_STREAM | END_HEADERS, 1, b"trailers")
)


@pytest.mark.parametrize("size", [1, 2, 7, 9, 10, 1000])
def test_a_call_is_open_from_its_headers_to_the_last_byte_of_its_answer(size):
    streams = Streams()
    sent = CLIENT + CALL
    for start in range(0, len(sent), size):
        streams.from_client(sent[start : start + size])
    assert streams.open == {1}
    last = len(ANSWER) - len(frame(HEADERS, END_STREAM | END_HEADERS, 1, b"trailers"))
    for start in range(0, last, size):
        streams.from_server(ANSWER[start : min(start + size, last)])
    assert streams.open == {1}
    for start in range(last, len(ANSWER), size):
        streams.from_server(ANSWER[start : start + size])
        assert (not streams.open and not streams.server_in_frame) == (start + size >= len(ANSWER))
    assert streams.server_between_frames


def test_a_cancelled_call_and_a_refused_one_are_not_open():
    streams = Streams()
    streams.from_client(CLIENT + CALL + frame(HEADERS, END_HEADERS, 3) + frame(HEADERS, END_HEADERS, 5))
    streams.from_client(frame(RST_STREAM, 0, 3, b"\0\0\0\x08"))
    streams.from_server(frame(RST_STREAM, 0, 5, b"\0\0\0\x07"))
    assert streams.open == {1}


def test_no_frame_is_added_inside_another_or_before_the_first():
    streams = Streams()
    assert not streams.server_between_frames  # a server's first frame must be SETTINGS
    found = []
    for at in range(len(ANSWER)):
        streams.from_server(ANSWER[at : at + 1])
        if streams.server_between_frames:
            found.append(at + 1)
    # Not after the first frame: its headers go on in the next one.
    assert found == [9 + 6 + 9 + 4, 9 + 6 + 9 + 4 + 9 + 300, len(ANSWER)]


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1"])
def test_what_is_not_http2_is_passed_over(data):
    streams = Streams()
    for at in range(len(data)):
        streams.from_client(data[at : at + 1])
    assert streams.unreadable
    assert not streams.server_between_frames


def test_goaway_is_the_frame_of_the_standard():
    assert frame(7, payload=b"\x7f\xff\xff\xff\0\0\0\0") == GOAWAY


class Server:
    """A relay with a server behind it that shows what it gets and sends what it is told."""

    def __init__(self, tmp_path, listener=None):
        self.path = str(tmp_path / "s")
        self.listener = listener or bind("127.0.0.1", 0)
        self.relay = Relay(self.listener, self.path)
        self.inner = asyncio.Queue()

    async def __aenter__(self):
        async def accepted(reader, writer):
            self.inner.put_nowait((reader, writer))

        self.server = await asyncio.start_unix_server(accepted, self.path)
        await self.relay.start()
        return self

    async def __aexit__(self, *error):
        await self.relay.stop()
        while not self.inner.empty():
            self.inner.get_nowait()[1].close()
        self.server.close()
        await self.server.wait_closed()
        self.listener.close()

    async def connect(self):
        reader, writer = await asyncio.open_connection(*self.listener.getsockname())
        return reader, writer, *(await asyncio.wait_for(self.inner.get(), 5))


def run(test):
    asyncio.run(asyncio.wait_for(test, 20))


def test_small_frames_are_sent_at_once(tmp_path):
    """TCP_NODELAY on the caller's connection, also if the listener was made without an explicit protocol."""

    async def test():
        plain = socket.socket()
        plain.bind(("127.0.0.1", 0))
        async with Server(tmp_path, plain) as served:
            _, writer, _, inner = await served.connect()
            (connection,) = served.relay._connections
            accepted = connection.outer.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for one in (writer, inner):
                one.close()

    run(test())


def test_a_listener_has_an_explicit_protocol():
    with bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_bytes_and_ends_pass_in_both_directions(tmp_path):
    async def test():
        async with Server(tmp_path) as served:
            reader, writer, inner_reader, inner_writer = await served.connect()
            sent = bytes(range(256)) * 20_000

            async def send(to):
                to.write(sent)
                await to.drain()
                to.write_eof()

            both = asyncio.gather(send(writer), send(inner_writer), reader.read(), inner_reader.read())
            assert (await both)[2:] == [sent, sent]
            inner_writer.close()
            writer.close()

    run(test())


def test_draining_waits_for_the_answer_and_says_goodbye(tmp_path):
    async def test():
        async with Server(tmp_path) as served:
            reader, writer, inner_reader, inner_writer = await served.connect()
            _, idle, _, inner_idle = await served.connect()
            writer.write(CLIENT + CALL)
            await inner_reader.readexactly(len(CLIENT + CALL))
            inner_writer.write(frame(SETTINGS))
            assert await reader.readexactly(9) == frame(SETTINGS)
            assert served.relay.calls() == 1
            draining = asyncio.create_task(served.relay.drain(10))
            assert await reader.readexactly(len(GOAWAY)) == GOAWAY
            with pytest.raises(OSError):
                await asyncio.open_connection(*served.listener.getsockname())
            await asyncio.sleep(0.3)
            assert not draining.done()
            inner_writer.write(ANSWER)
            await draining
            await served.relay.stop()
            assert await reader.read() == ANSWER
            for one in (writer, inner_writer, idle, inner_idle):
                one.close()

    run(test())


def test_draining_ends_in_time(tmp_path):
    async def test():
        async with Server(tmp_path) as served:
            _, writer, inner_reader, inner_writer = await served.connect()
            writer.write(b"\x16\x03\x01")  # TLS: nobody knows whether a call is in flight
            await inner_reader.readexactly(3)
            start = asyncio.get_running_loop().time()
            await served.relay.drain(0.3)
            assert asyncio.get_running_loop().time() - start >= 0.3
            for one in (writer, inner_writer):
                one.close()

    run(test())


def test_a_server_that_is_gone_closes_the_connection(tmp_path):
    async def test():
        async with Server(tmp_path) as served:
            served.server.close()
            (tmp_path / "s").unlink(missing_ok=True)
            reader, writer = await asyncio.open_connection(*served.listener.getsockname())
            assert await reader.read() == b""
            writer.close()

    run(test())
