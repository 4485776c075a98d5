"""Waiting for the server, as the demo does; the rest of the demo is the commands, which tests/cli walks."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from examples.vader_tweets import demo
from tfpipeline.serving.client import NotReadyError


@pytest.fixture
def nobodys_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def test_a_server_that_ends_ends_the_demo(nobodys_port):
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"]) as process:
        with pytest.raises(SystemExit) as caught:
            demo.wait_for(nobodys_port, "tweets", process)
        assert caught.value.code == 2


def test_a_server_that_never_answers_is_given_up(nobodys_port):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        with pytest.raises(NotReadyError, match="was not ready"):
            demo.wait_for(nobodys_port, "tweets", process, looks=2)
        process.kill()
