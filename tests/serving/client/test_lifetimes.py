"""A client's end, other event loops, and other processes."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tfpipeline.serving.client import AsyncPredictClient, ClientError, ClosedError, InputError, PredictClient


def test_closed(connect):
    client = connect("sentiment")
    client.predict(["a"])
    client.close()
    client.close()
    for ask in (
        client.model_status,
        client.metadata,
        client.health,
        lambda: client.predict(["a"]),
        lambda: client.predict([]),
        lambda: list(client.predict_stream(["a"])),
    ):
        with pytest.raises(ClosedError, match="is closed; make a new one"):
            ask()


def test_closed_before_it_is_used(connect):
    client = connect("sentiment")
    client.close()
    with pytest.raises(ClosedError):
        client.predict(["a"])


@pytest.mark.parametrize("options", [{}, {"hedge_after": 20.0}, {"max_concurrency": 1}], ids=str)
def test_closing_ends_calls_that_wait(server, options):
    """Those under way, and those that wait for their turn."""
    client = PredictClient(server.target, model="slow:20", timeout=30, **options)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.predict, ["a"]) for _ in range(2)]
        waiting.append(pool.submit(client.predict, ["a", "b"], batch_size=1))
        time.sleep(0.3)
        client.close()
        for call in waiting:
            with pytest.raises(ClosedError, match="is closed; make a new one"):
                call.result(10)


def test_closing_while_calls_begin_raises_nothing_else(server):
    """Many times: a call may meet the channel before, while or after it closes."""
    for _ in range(30):
        client = PredictClient(server.target, model="sentiment", timeout=30)
        client.predict(["a"])
        raised = []

        def ask(client=client, raised=raised):
            try:
                while True:
                    client.predict(["a"])
            except ClientError as caught:  # pytest reports others
                raised.append(caught)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        client.close()
        for thread in threads:
            thread.join(10)
        assert [type(error) for error in raised] == [ClosedError] * 4


@pytest.mark.parametrize("options", [{}, {"hedge_after": 20.0}, {"max_concurrency": 1}], ids=str)
def test_closing_ends_awaited_calls_and_cancelling_a_task_stays_cancelling(server, options):
    async def main():
        client = AsyncPredictClient(server.target, model="slow:20", timeout=30, **options)
        waiting = [
            asyncio.ensure_future(client.predict(["a"])),
            asyncio.ensure_future(client.predict(["a", "b"], batch_size=1)),
        ]
        cancelled = asyncio.ensure_future(client.predict(["a"]))
        await asyncio.sleep(0.3)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await client.close()
        for call in waiting:
            with pytest.raises(ClosedError, match="is closed; make a new one"):
                await asyncio.wait_for(call, 10)

    asyncio.run(main())


def test_one_client_in_one_event_loop_after_the_other(server):
    client = AsyncPredictClient(server.target, model="sentiment", max_concurrency=1)

    async def ask():
        return await asyncio.gather(*(client.predict([text]) for text in ("good", "b")))

    first = asyncio.run(ask())
    assert [answers[0].label for answers in first] == ["positiv ✓", "negativ"]
    for _ in range(3):
        assert asyncio.run(ask()) == first
    assert len(client._connections) == 1  # those of loops that have ended are dropped
    asyncio.run(client.close())
    with pytest.raises(ClosedError):
        asyncio.run(ask())
    gc.collect()  # a warning of a channel that was left open is an error here


def test_one_client_in_two_event_loops_at_once(server):
    client = AsyncPredictClient(server.target, model="sentiment", timeout=30)
    here = threading.Barrier(2)

    def run():
        async def ask():
            here.wait(10)
            return [await client.predict(["good"]) for _ in range(20)]

        return asyncio.run(ask())

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(run) for _ in range(2)]
        assert calls[0].result(30) == calls[1].result(30)
    asyncio.run(client.close())


def test_closing_in_one_event_loop_closes_the_others(server):
    client = AsyncPredictClient(server.target, model="slow:20", timeout=30)
    raised = []

    def run():
        try:
            asyncio.run(client.predict(["a"]))
        except ClientError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    asyncio.run(client.close())
    thread.join(10)
    assert [type(error) for error in raised] == [ClosedError]


@pytest.mark.parametrize("kind", [PredictClient, AsyncPredictClient])
def test_it_cannot_be_pickled_or_copied(kind):
    client = kind("localhost:8500", model="m")
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(
            InputError, match=f"a {kind.__name__} cannot be pickled or copied, because it holds"
        ):
            way(client)


FORKED = """
import asyncio, gc, os, sys, threading, time
from tfpipeline.serving.client import AsyncPredictClient, ClosedError, PredictClient

kind, when, target = sys.argv[1:]
made = {"sync": PredictClient, "async": AsyncPredictClient}[kind]
client = made(target, model="sentiment", timeout=5)
run = (lambda call: call) if kind == "sync" else asyncio.run

def ask():
    # asyncio.run evaluates the coroutine in a loop of its own
    return run(client.predict(["good"]))[0].label

def work():
    while True:
        ask()

if when != "unused":
    ask()
if when == "busy":
    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
child = os.fork()
if child == 0:
    started = time.monotonic()
    try:
        said = ask()
    except ClosedError as error:
        said = "ClosedError " + str(error)
    run(client.close())
    del client
    gc.collect()
    print(said, time.monotonic() - started < 2, flush=True)
    os._exit(0) if when == "busy" else sys.exit(0)  # the threads of the parent are not the child's
print(os.waitpid(child, 0)[1], ask(), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("kind", "when", "support"),
    [
        ("sync", "unused", "0"),
        ("sync", "used", "0"),
        ("sync", "used", None),
        ("sync", "busy", None),
        ("async", "unused", "0"),
        ("async", "used", None),
    ],
)
def test_after_a_fork(server, kind, when, support):
    """A client that has made calls refuses at once, whatever gRPC makes of forks; a fresh one works."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    if support is not None:
        environment["GRPC_ENABLE_FORK_SUPPORT"] = support
    done = subprocess.run(
        [sys.executable, "-c", FORKED, kind, when, server.target],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
        check=False,
    )
    child, parent = [line for line in done.stdout.splitlines() if line]
    if when == "unused":
        assert child == "positiv ✓ True", done.stderr
    else:
        assert child.startswith(f"ClosedError the client of {server.target} belongs to process ")
        assert child.endswith(
            "which made calls with it before this process was forked from it; make a new one here True"
        )
    assert parent == "0 positiv ✓", done.stderr


def test_a_server_that_ends_connections_by_age(connect):
    """Calls go on without an error, over new connections: so clients find new servers."""
    peers = set()

    class Answers(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(self.answer)

        def answer(self, request, context):
            peers.add(context.peer())
            return b""

    age = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 5000)]
    server = grpc.server(ThreadPoolExecutor(4), [Answers()], options=age)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    client = connect("m", target=target)
    end = time.monotonic() + 20
    while len(peers) < 4:
        assert time.monotonic() < end
        client.model_status()
    server.stop(None).wait()
