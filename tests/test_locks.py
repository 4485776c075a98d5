from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tfpipeline import locks
from tfpipeline.locks import Lock, Locked, is_abandoned

HOLD = (
    "import sys, time, pathlib; from tfpipeline.locks import Lock; "
    "Lock(pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock ``tmp_path / "lock"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def left_by(path, **changes):
    """A lock's file that nobody holds."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-01-02T03:04:05", **changes}
    path.write_text(json.dumps(owner))
    return path


def without_flock(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_who_holds_it_is_named_until_it_is_killed(holder, tmp_path):
    lock = Lock(tmp_path / "lock")
    with pytest.raises(Locked, match=f"process {holder.pid}, since 20"):
        lock.acquire()
    assert not is_abandoned(tmp_path / "lock")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert is_abandoned(tmp_path / "lock")
    lock.acquire()
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_two_in_one_process_exclude_each_other(tmp_path):
    one, two = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    one.acquire()
    with pytest.raises(Locked, match=f"process {os.getpid()}"):
        two.acquire()
    one.release()
    two.acquire()
    two.release()
    two.release()  # once is enough


def test_a_lock_that_is_given_back_while_it_is_asked_for(tmp_path, monkeypatch):
    """Its file is removed between our opening it and our locking it: that file is nobody's lock any more."""
    other, ours = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    other.acquire()
    opened, calls = os.open, []

    def open_and_lose(path, *arguments):
        descriptor = opened(path, *arguments)
        calls.append(path)
        if len(calls) == 1:
            other.release()
        return descriptor

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_and_lose)
        ours.acquire()
    with pytest.raises(Locked):
        other.acquire()
    ours.release()


def test_a_number_that_another_process_has_now_holds_nothing(tmp_path):
    lock = Lock(left_by(tmp_path / "lock", pid=os.getppid()))
    lock.acquire()
    lock.release()


def test_without_flock_the_process_itself_is_looked_for(tmp_path, monkeypatch):
    without_flock(monkeypatch)
    started = locks._started(os.getppid())
    assert started
    alive = left_by(tmp_path / "alive", pid=os.getppid(), started=started)
    with pytest.raises(Locked):
        Lock(alive).acquire()
    assert not is_abandoned(alive)
    reused = left_by(tmp_path / "reused", pid=os.getppid(), started="another boot:7")
    assert is_abandoned(reused)
    Lock(reused).acquire()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert is_abandoned(left_by(tmp_path / "gone", pid=gone.pid, started="x"))


def test_another_machine_is_alive_as_long_as_its_lock_is_touched(tmp_path):
    path = left_by(tmp_path / "lock", host="another", pid=1)
    asked, stop = [], threading.Event()

    def beat():
        while not stop.wait(0.02):
            os.utime(path)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(Locked, match=r"process 1 on another, since 2026-01-02 03:04:05"):
            Lock(path, patience=5, waiting=asked.append).acquire()
    finally:
        stop.set()
        beating.join()
    assert [owner.host for owner in asked] == ["another"]
    lock = Lock(path, patience=0.2)  # it is silent from here on
    lock.acquire()
    lock.release()


def test_who_holds_a_lock_with_a_heartbeat_touches_it(tmp_path):
    lock = Lock(tmp_path / "lock", beat=0.01)
    lock.acquire()
    os.utime(tmp_path / "lock", (0, 0))
    deadline = time.monotonic() + 10
    while (tmp_path / "lock").stat().st_mtime == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lock.release()
    assert not any(thread.name == "lock heartbeat" for thread in threading.enumerate())


def test_what_another_machine_has_begun_is_left_alone_for_a_day(tmp_path):
    path = left_by(tmp_path / "lock", host="another")
    assert not is_abandoned(path)
    os.utime(path, (0, time.time() - 25 * 3600))
    assert is_abandoned(path)


def test_a_file_that_names_nobody_is_taken(tmp_path):
    """Its process was killed before it had written."""
    (tmp_path / "lock").touch()
    assert not is_abandoned(tmp_path / "lock")
    lock = Lock(tmp_path / "lock")
    lock.acquire()
    lock.release()
    assert not is_abandoned(tmp_path / "none")


def test_a_lock_goes_with_its_folder(tmp_path):
    (tmp_path / "old").mkdir()
    lock = Lock(tmp_path / "old" / "lock")
    lock.acquire()
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(Locked):
        Lock(tmp_path / "new" / "lock").acquire()
    lock.release()  # not at its place any more: nothing of somebody else's is removed
    assert (tmp_path / "new" / "lock").exists()
