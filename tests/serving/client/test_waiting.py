"""wait_until_ready: what means wait, what means ready, what means never."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tfpipeline.serving.client import (
    ModelFailedError,
    NotReadyError,
    PermissionDeniedError,
    UnimplementedError,
    VersionState,
    calls,
    conversations,
    errors,
    steps,
)


def test_ready(connect):
    assert VersionState.AVAILABLE in [status.state for status in connect("sentiment").wait_until_ready(10)]


def test_a_model_that_is_unknown_then_starts_then_loads(connect, request):
    statuses = connect(f"slowly:{request.node.name}").wait_until_ready(30)
    assert statuses == [calls.VersionStatus(1, VersionState.AVAILABLE)]


def test_a_label_that_is_given_later(connect, request):
    """The version is AVAILABLE all the while, but can't be asked by its label yet."""
    assert connect(f"labelled:2:{request.node.name}", version_label="stable").wait_until_ready(30)
    with pytest.raises(
        NotReadyError, match=r"last seen: NOT_FOUND \(Unrecognized servable version label: stable\)"
    ):
        connect("labelled:1000", version_label="stable").wait_until_ready(1)


def test_a_failed_load_is_raised_at_once(connect, server):
    started = time.monotonic()
    with pytest.raises(ModelFailedError) as caught:
        connect("failed").wait_until_ready(30)
    assert time.monotonic() - started < 10
    assert str(caught.value).startswith(
        f'{server.target} could not load version 3 of model "failed": '
        "Could not find meta graph def matching supplied tags: { serve }; "
    )


@pytest.mark.parametrize(
    ("code", "error"), [("PERMISSION_DENIED", PermissionDeniedError), ("UNIMPLEMENTED", UnimplementedError)]
)
def test_what_waiting_cannot_change_is_raised_at_once(connect, code, error):
    with pytest.raises(error, match=r"\(model_status, model"):
        connect(f"status:{code}").wait_until_ready(30)


@pytest.mark.parametrize(
    ("model", "seen"),
    [
        ("loading", "version 1 is LOADING"),
        ("failing", "version 3 is END (bad), version 2 is LOADING"),
        ("ended", "version 2 is END"),
        ("absent", "NOT_FOUND (Could not find any versions of model absent)"),
        ("status:UNAVAILABLE", "UNAVAILABLE (the server's own words)"),
        ("status:RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED (the server's own words)"),
    ],
)
def test_the_time_is_up(connect, server, model, seen):
    with pytest.raises(NotReadyError) as caught:
        connect(model).wait_until_ready(1)
    assert str(caught.value) == (
        f'model "{model}" at {server.target} was not ready after 1 s (last seen: {seen}); '
        "see the server's log, or wait longer"
    )


def test_a_server_that_is_down(connect):
    with socket.create_server(("127.0.0.1", 0)) as held:
        target = f"127.0.0.1:{held.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(NotReadyError, match=r"last seen: UNAVAILABLE \(.*Connection refused\)"):
        connect("m", target=target).wait_until_ready(1)
    assert 0.9 < time.monotonic() - started < 5


def test_a_server_that_starts_later(connect, server, make_proxy):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    timer = threading.Timer(1.0, make_proxy, kwargs={"port": port})
    timer.start()
    statuses = connect("sentiment", target=f"127.0.0.1:{port}").wait_until_ready(30)
    timer.join()
    assert VersionState.AVAILABLE in [status.state for status in statuses]


def test_each_look_is_bounded_and_the_whole_ends_on_time():
    """With a clock of its own: a server that never answers is asked anew every few seconds."""
    now = [0.0]
    conversation = conversations.wait_until_ready(calls.Endpoint("h:1", "m"), 12, clock=lambda: now[0])
    looks = []
    step = next(conversation)
    with pytest.raises(NotReadyError, match="last seen: DEADLINE_EXCEEDED"):
        while True:
            if isinstance(step, steps.Wait):
                now[0] += step.seconds
                step = conversation.send(None)
            else:
                looks.append(step.timeout)
                now[0] += step.timeout
                step = conversation.throw(errors.DeadlineExceededError("x", "Deadline Exceeded"))
    assert looks == [5.0, 5.0, 1.5]
    assert now[0] == pytest.approx(12)
