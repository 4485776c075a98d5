"""Runs whose ``output`` is on a remote file system, such as ``gs://bucket/runs/tweets``. Colab's TPUs need
this, because their machines are temporary.

The run itself is a folder on this machine. After each checkpoint, new files in it are copied to the remote
folder through ``tf.io.gfile``. If the local folder does not exist yet, the remote one is copied to it first.
``index.json`` is copied last and names only complete checkpoints, so the remote copy can be resumed from at
any time.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import tensorflow as tf

from tfpipeline import paths
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.files import TEMPORARY_PREFIX, AppearedError, atomic_directory
from tfpipeline.paths import AnyPath
from tfpipeline.training.lock import LOCK_FILE

ID_FILE = "id"  # in a run directory; identifies the run at an address
_LAST = ("config.yaml", "checkpoints/index.json")  # copied last: these make the copy readable
_LEFT = ("cache", LOCK_FILE)  # not copied: created again where it is missing


def is_remote(path: AnyPath) -> bool:
    """Whether a path is on a remote file system."""
    return paths.is_far(path)


def _has_file_system(path: AnyPath) -> bool:
    return paths.scheme(path) in tf.io.gfile.get_registered_schemes()


def local_copy(path: AnyPath) -> AnyPath:
    """The local copy of a remote run; other paths unchanged.

    Raises:
        UserError: it cannot be read.
    """
    if is_remote(path) and _has_file_system(path):
        mirror = Mirror(paths.expand(path))
        mirror.pull()
        if (mirror.local / "config.yaml").is_file():
            return mirror.local
    return path


class Mirror:
    """Keeps a local and a remote folder in sync.

    Args:
        remote: ``gs://bucket/folder``, or an address with any other scheme that ``tf.io.gfile`` supports.
        cache: the folder of the local copies; by default ``~/.cache/tfpipeline/runs``.
    Raises:
        UserError: the scheme is not supported.
    """

    def __init__(self, remote: str, cache: Path | None = None) -> None:
        if not _has_file_system(remote):
            raise paths.unusable(remote, "gs")
        self.remote = remote.rstrip("/")
        name, identity = self.remote.rpartition("/")[2], hashlib.sha256(self.remote.encode()).hexdigest()[:12]
        cache = (
            cache or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tfpipeline" / "runs"
        )
        self.local = cache / f"{name}-{identity}"
        self._sent: dict[str, tuple[int, int]] = {}

    def is_stale(self) -> bool:
        """Whether the local run differs from the remote one because another run has replaced it there.

        A run that was not copied yet is not stale: there is no remote run.

        Raises:
            UserError: it cannot be read.
        """
        if not (self.local / "config.yaml").exists():
            return False
        try:
            if not tf.io.gfile.exists(f"{self.remote}/config.yaml"):
                return False
            here, there = self.local / ID_FILE, f"{self.remote}/{ID_FILE}"
            # Runs of earlier versions have no ID.
            own = here.read_text("utf-8") if here.exists() else None
            return own != (_read(there) if tf.io.gfile.exists(there) else None)
        except (tf.errors.OpError, OSError) as error:
            raise self._unreadable(error) from error

    def pull(self) -> None:
        """Copy the remote run to the local folder, unless the same run is there already.

        Raises:
            UserError: it cannot be read.
        """
        stale = self.is_stale()
        if (self.local / "config.yaml").exists() and not stale:
            return
        try:
            names = self._there()
            if "config.yaml" not in names:
                return
            if stale:
                say(f"{self.remote} holds a different run from {self.local}, which is replaced")
            say(f"copying {self.remote} to {self.local}")
            self._sent.clear()
            with (
                atomic_directory(self.local, replace=stale, carry=[LOCK_FILE]) as temporary,
                progress("copying", len(names)) as bar,
            ):
                for name in sorted(names):
                    target = temporary / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    tf.io.gfile.copy(f"{self.remote}/{name}", str(target), overwrite=True)
                    self._sent[name] = _stamp(target)
                    bar.advance()
        except AppearedError:
            if not (self.local / "config.yaml").exists():  # otherwise another process has copied it
                raise
        except (tf.errors.OpError, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: BaseException) -> UserError:
        return UserError(
            f"output: {self.remote} cannot be copied to {self.local} ({_first_line(error)}); check the "
            "address and your permissions"
        )

    def push(self) -> None:
        """Copy new local files to the remote folder, and delete remote files that no longer exist locally.

        Raises:
            UserError: the remote folder cannot be written; the local folder stays as it is.
        """
        try:
            here = self._here()
            for name, stamp in sorted(here.items(), key=lambda item: (item[0] in _LAST, item[0])):
                if self._sent.get(name) != stamp:
                    folder, _, last = f"{self.remote}/{name}".rpartition("/")
                    tf.io.gfile.makedirs(folder)
                    # Not every file system overwrites a file atomically, but all of them rename atomically.
                    arriving = f"{folder}/{TEMPORARY_PREFIX}{last}"
                    tf.io.gfile.copy(str(self.local / name), arriving, overwrite=True)
                    tf.io.gfile.rename(arriving, f"{folder}/{last}", overwrite=True)
                    self._sent[name] = stamp
            for name in self._there() - here.keys():
                tf.io.gfile.remove(f"{self.remote}/{name}")
                self._sent.pop(name, None)
        except (tf.errors.OpError, OSError) as error:
            raise UserError(
                f"output: {self.remote} cannot be written ({_first_line(error)}); the run is in "
                f"{self.local}; run the "
                "same command again to continue"
            ) from error

    def _here(self) -> dict[str, tuple[int, int]]:
        stamps = {}
        for path in self.local.rglob("*"):
            name = path.relative_to(self.local)
            temporary = any(part.startswith(TEMPORARY_PREFIX) for part in name.parts)
            if path.is_file() and not temporary and name.parts[0] not in _LEFT:
                stamps[name.as_posix()] = _stamp(path)
        return stamps

    def _there(self) -> set[str]:
        if not tf.io.gfile.isdir(self.remote):
            return set()
        return {
            f"{folder}/{name}".removeprefix(f"{self.remote}/")
            for folder, _, names in tf.io.gfile.walk(self.remote)
            for name in names
            if not name.startswith(TEMPORARY_PREFIX)
        }


def _read(address: str) -> str:
    with tf.io.gfile.GFile(address) as file:
        return str(file.read())


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "message", "") or error).strip().splitlines() or [type(error).__name__])[0][
        :200
    ]
