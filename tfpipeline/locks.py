"""Locks that end with the process that holds them, and name that process.

A lock is a file that its process holds with ``flock``. The system releases it however the process ends, so a
reused process number does no harm. The contents of the file (process, machine, time) are for people, and for
the two cases in which ``flock`` is not enough:

- Some file systems have no ``flock``. There, the process in the file is searched for on this machine, by its
  number and its start time.
- On some network file systems, ``flock`` works within one machine only. A lock of another machine's process
  is therefore watched for a while: the holder of a lock with a heartbeat touches the file every few seconds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Optional

BEAT_SECONDS = 10.0
PATIENCE_SECONDS = 45.0  # without a heartbeat, after which the other machine's process is gone
_LEFT_SECONDS = 24 * 3600.0  # then what another machine's process has begun is given up
_LOOK_SECONDS = 1.0
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EBADF)


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Attributes:
        pid: its number.
        host: the name of its machine.
        since: the time when it took the lock, local time, ISO 8601.
        started: the start time of the process in the system's units; None if the system does not provide it.
    """

    pid: int
    host: str
    since: str
    started: Optional[str] = None

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where}, since {self.since.replace('T', ' ')}"


class Locked(Exception):
    """Another process holds the lock."""

    def __init__(self, owner: Optional[Owner]) -> None:
        super().__init__(str(owner or "another process"))
        self.owner = owner


class Lock:
    """A lock on a folder, or on something without a file of its own.

    Args:
        path: the lock's file. It may be renamed while it is held, see :attr:`path`.
        beat: seconds between heartbeats; None for none.
        patience: seconds without a heartbeat after which another machine's process counts as gone.
        waiting: called with the other machine's process before the wait begins.
    """

    def __init__(
        self,
        path: Path,
        *,
        beat: Optional[float] = None,
        patience: float = PATIENCE_SECONDS,
        waiting: Callable[[Owner], None] = lambda owner: None,
    ) -> None:
        self.path = path
        self._beat, self._patience, self._waiting = beat, patience, waiting
        self._descriptor = -1
        self._released = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def acquire(self) -> None:
        """Acquire the lock.

        Raises:
            Locked: a living process holds it.
            OSError: the file cannot be written.
        """
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                exclusive = _flock(descriptor)
                if exclusive is None:
                    raise Locked(_read(descriptor))
                if not _is_at(descriptor, self.path):  # who had it has just removed it
                    os.close(descriptor)
                    continue
                owner = _read(descriptor)
                if owner is not None and self._lives(owner, exclusive):
                    raise Locked(owner)
                _write(descriptor, _ourselves())
            except BaseException:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
                raise
            self._descriptor = descriptor
            break
        if self._beat is not None:
            self._released.clear()
            self._thread = threading.Thread(target=self._keep_beating, daemon=True, name="lock heartbeat")
            self._thread.start()

    def release(self) -> None:
        """Release the lock and remove its file. Does nothing if the lock is not held."""
        if self._descriptor < 0:
            return
        self._released.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with contextlib.suppress(OSError):  # its folder may be gone, or read-only by now
            if _is_at(self._descriptor, self.path):
                os.unlink(self.path)
        os.close(self._descriptor)
        self._descriptor = -1

    def _keep_beating(self) -> None:
        assert self._beat is not None
        while not self._released.wait(self._beat):
            with contextlib.suppress(OSError):  # a network that is away for a while
                os.utime(self._descriptor)

    def _lives(self, owner: Owner, exclusive: bool) -> bool:
        """Whether the process named in a lock's file may still hold the lock, although this process could
        open the file.
        """
        if owner.host == socket.gethostname():
            return not exclusive and _is_running(owner)
        self._waiting(owner)
        return self._beats()

    def _beats(self) -> bool:
        before, deadline = _stamp(self.path), time.monotonic() + self._patience
        while time.monotonic() < deadline:
            time.sleep(min(_LOOK_SECONDS, self._patience / 10))
            if _stamp(self.path) != before:
                return True
        return False


def is_held(path: Path) -> tuple[bool, Optional[Owner]]:
    """The process on this machine that holds a lock, if any."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False, None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two that ask do not see each other
        except BlockingIOError:
            return True, _read(descriptor)
        except OSError:  # who takes the lock finds out
            pass
        return False, None
    finally:
        os.close(descriptor)


def create(path: Path) -> int:
    """Create a lock's file in a folder that only this process writes to, and hold the lock until the
    descriptor is closed.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with contextlib.suppress(OSError):  # without flock, the process's number and start time must suffice
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for a process that is checking it
        _write(descriptor, _ourselves())
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_abandoned(path: Path) -> bool:
    """Whether the process that held a lock is gone. In doubt it is not: if it belongs to another user, or to
    another machine and is recent.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        exclusive = _flock(descriptor)
        if exclusive is None:
            return False
        owner = _read(descriptor)
        if owner is None or owner.host != socket.gethostname():
            return time.time() - os.fstat(descriptor).st_mtime > _LEFT_SECONDS
        return exclusive or not _is_running(owner)
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> Optional[bool]:
    """True: this process holds the lock; None: another process does; False: the file system has no such
    locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that now has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _stamp(path: Path) -> tuple[int, bytes]:
    """The time of a file's last change, and its contents. The file is reopened, because network file systems
    refresh only then.
    """
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns, file.read()
    except FileNotFoundError:
        return 0, b""


def _read(descriptor: int) -> Optional[Owner]:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):  # its process had not written it yet, or was writing
        return None


def _write(descriptor: int, owner: Owner) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(owner)).encode() + b"\n", 0)


def _ourselves() -> Owner:
    return Owner(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%dT%H:%M:%S"), _started(os.getpid()))


def _started(pid: int) -> Optional[str]:
    """The start time of a process in the kernel's ticks, and the boot of the machine."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None
    return f"{boot}:{stat.rpartition(')')[2].split()[19]}"  # field 22; the second one may hold blanks


def _is_running(owner: Owner) -> bool:
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, as another user's process
    return owner.started is None or _started(owner.pid) in (None, owner.started)
