"""A model's directory on a remote file system, ``gs://bucket/models/NAME``, through ``tf.io.gfile``.

An object store has no directories. A directory seems to exist as soon as an object with its prefix does, and
renaming it renames one object after another. So a version is uploaded under a name that servers ignore, then
renamed file by file, with ``saved_model.pb`` last. A server that looks in between finds a directory without a
graph and tries again. If the weights came last, it would load the graph and leave them uninitialised
(RunRestore in tensorflow/cc/saved_model/loader_util.cc).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tfpipeline import paths
from tfpipeline.checkpoints.remote import impatient
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.export.model_directory import MARKER, ModelDirectory
from tfpipeline.files import TEMPORARY_PREFIX, AppearedError, temporary_folder

_CLAIM = f"{TEMPORARY_PREFIX}claim-"
_ABANDONED_SECONDS = 24 * 3600.0  # after this time an unfinished export counts as abandoned
_LOOK_AGAIN_SECONDS = 1.0


class FarDirectory(ModelDirectory):
    """A model's directory at a ``scheme://`` address.

    Args:
        address: ``gs://bucket/models/NAME``, or any scheme that ``tf.io.gfile`` supports.
        cache: the folder in which versions are staged; by default ``~/.cache/tfpipeline/exports``.
    Raises:
        UserError: the scheme is not supported, or the address names only a bucket.
    """

    def __init__(self, address: str, cache: Path | None = None) -> None:
        self.address = address.rstrip("/")
        scheme, _, rest = self.address.partition("://")
        if scheme not in tf.io.gfile.get_registered_schemes():
            raise paths.unusable(address, "gs")
        if not all(rest.partition("/")[::2]):
            raise UserError(f"{address} names no folder in a bucket; write {scheme}://BUCKET/models/NAME")
        name, identity = rest.rpartition("/")[2], hashlib.sha256(self.address.encode()).hexdigest()[:12]
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        self._cache = (cache or home / "tfpipeline" / "exports") / f"{name}-{identity}"
        self._token = uuid.uuid4().hex[:12]
        self._arriving = f"{self.address}/{TEMPORARY_PREFIX}{self._token}"
        self._uploaded: Path | None = None

    def path(self, version: int) -> str:
        return f"{self.address}/{self.versions().get(version, version)}"

    def names(self) -> list[str]:
        with self._says("read"):
            if not tf.io.gfile.isdir(self.address):
                return []
            return [name.rstrip("/") for name in tf.io.gfile.listdir(self.address)]

    def read(self, name: str) -> bytes | None:
        with self._says("read"):
            try:
                with tf.io.gfile.GFile(f"{self.address}/{name}", "rb") as file:
                    return bytes(file.read())
            except tf.errors.NotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        # Not every file system replaces a file atomically, but all of them rename atomically.
        arriving = f"{self._arriving}-{name}"
        with self._says("write"):
            with tf.io.gfile.GFile(arriving, "wb") as file:
                file.write(content)
            tf.io.gfile.rename(arriving, f"{self.address}/{name}", overwrite=True)

    def files(self, version: int) -> dict[str, int]:
        with self._says("read"):
            return _files(self.path(version))

    def require_writable(self) -> None:
        with self._says("write"):
            tf.io.gfile.makedirs(self.address)
            probe = f"{self._arriving}-probe"
            with tf.io.gfile.GFile(probe, "wb") as file:
                file.write(b"tfpipeline")
            tf.io.gfile.remove(probe)
            self._remove_abandoned()

    @contextlib.contextmanager
    def staging(self, version: int) -> Iterator[Path]:
        try:
            with temporary_folder(self._cache / str(version)) as folder:
                yield folder
        finally:
            self._uploaded = None
            with contextlib.suppress(tf.errors.OpError):  # otherwise an export a day later removes it
                if tf.io.gfile.exists(self._arriving):
                    tf.io.gfile.rmtree(self._arriving)

    def publish(self, written: Path, version: int) -> None:
        self._upload(written)
        try:
            self._rename(version)
        except AppearedError:
            time.sleep(random.uniform(0, _LOOK_AGAIN_SECONDS))  # so that one of two exports is first
            raise

    def _rename(self, version: int) -> None:
        """Rename the uploaded folder to its version."""
        with self._says("write"), self._claimed(version):
            target = self.path(version)
            moved: list[str] = []
            try:
                for name in sorted(_files(self._arriving), key=lambda name: (name == MARKER, name)):
                    tf.io.gfile.makedirs(f"{target}/{name}".rpartition("/")[0])
                    moved.append(name)
                    tf.io.gfile.rename(f"{self._arriving}/{name}", f"{target}/{name}")
            except BaseException:
                if MARKER not in moved:
                    with contextlib.suppress(tf.errors.OpError):  # a part remains, not a version
                        tf.io.gfile.rmtree(target)
                raise

    def taken(self) -> set[int]:
        claimed = [re.match(rf"{re.escape(_CLAIM)}([0-9]+)-", name) for name in self.names()]
        return {*self.versions(), *(int(match[1]) for match in claimed if match)}

    def remove(self, version: int) -> None:
        with self._says("write"):
            path = self.path(version)
            if tf.io.gfile.exists(f"{path}/{MARKER}"):
                tf.io.gfile.remove(f"{path}/{MARKER}")  # first: the rest is not a version any more
            tf.io.gfile.rmtree(path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Does nothing: a bucket has no locks. If two users change labels in one second, the last wins."""
        yield

    def _upload(self, written: Path) -> None:
        """Copy the written version to a temporary name, once, and check that all of it has arrived."""
        if self._uploaded == written:
            return
        here = {path.relative_to(written).as_posix(): path for path in sorted(written.rglob("*"))}
        here = {name: path for name, path in here.items() if path.is_file()}
        with self._says("write"), progress(f"uploading to {self.address}", len(here)) as bar:
            for name, path in here.items():
                target = f"{self._arriving}/{name}"
                tf.io.gfile.makedirs(target.rpartition("/")[0])
                tf.io.gfile.copy(str(path), target)
                bar.advance(1)
            there = _files(self._arriving)
        for name, path in here.items():
            if there.get(name) != path.stat().st_size:
                raise UserError(
                    f"{self.address}: {there.get(name, 0)} of {path.stat().st_size} bytes of {name} have "
                    "arrived; run the command again"
                )
        self._uploaded = written

    @contextlib.contextmanager
    def _claimed(self, version: int) -> Iterator[None]:
        """Reserve a version number. No operation creates a directory exactly once, so an export writes a
        claim, and has the number if it then sees no other claim.
        """
        claim = f"{_CLAIM}{version}-"
        ours = f"{self.address}/{claim}{self._token}"
        with tf.io.gfile.GFile(ours, "wb") as file:
            file.write(b"claimed")
        try:
            names = self.names()
            others = [name for name in names if name.startswith(claim) and not name.endswith(self._token)]
            if others or version in self.versions():
                raise AppearedError(f"version {version} of {self.address} is being written by another export")
            yield
        finally:
            with contextlib.suppress(tf.errors.OpError):  # otherwise the next export skips this number
                tf.io.gfile.remove(ours)

    def _remove_abandoned(self) -> None:
        """Remove the remains of killed exports, a day later."""
        for name in self.names():
            if name.startswith(TEMPORARY_PREFIX):
                path = f"{self.address}/{name}"
                written = [tf.io.gfile.stat(file).mtime_nsec / 1e9 for file in _paths(path)]
                # Some file systems report 0 as the time at which a file was written.
                if written and all(written) and time.time() - max(written) > _ABANDONED_SECONDS:
                    say(f"removing {path}, which an unfinished export left behind")
                    (tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove)(path)

    @contextlib.contextmanager
    def _says(self, what: str) -> Iterator[None]:
        """Convert TensorFlow's errors to one-line errors."""
        try:
            with impatient():
                yield
        except tf.errors.OpError as error:
            lines = str(error.message).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"cannot {what} {self.address}: {lines[0][:200]}; check the address and your permissions"
            ) from error


def _paths(path: str) -> list[str]:
    """The files of a folder, or the file itself."""
    if not tf.io.gfile.isdir(path):
        return [path]
    return [f"{folder.rstrip('/')}/{name}" for folder, _, names in tf.io.gfile.walk(path) for name in names]


def _files(folder: str) -> dict[str, int]:
    """The files of a folder, by name, with their sizes in bytes."""
    return {
        path.removeprefix(f"{folder}/"): tf.io.gfile.stat(path).length
        for path in _paths(folder)
        if path != folder
    }
