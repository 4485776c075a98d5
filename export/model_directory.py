"""The directory of a model, ``models/NAME``: its versions and its labels, on this machine or far away."""

from __future__ import annotations

import abc
import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from tfpipeline import locks, paths
from tfpipeline.errors import UserError
from tfpipeline.files import (
    AppearedError,
    atomic_file,
    publish,
    require_writable,
    temporary_folder,
    write_error,
)
from tfpipeline.paths import AnyPath

MARKER = "saved_model.pb"  # written last: a version without it is not whole
_LOCK_FILE = ".labels.lock"
_PATIENCE_SECONDS = 30.0
_LARGEST = 2**63 - 1  # a version is an int64 of TensorFlow Serving


def open_directory(model: AnyPath) -> ModelDirectory:
    """The directory of a model, which need not be there yet.

    Args:
        model: ``models/NAME``, ``gs://bucket/models/NAME``, or what else TensorFlow's file systems write.
    Raises:
        UserError: it is no path, a file, or on a file system that TensorFlow cannot write.
    """
    if paths.is_far(model):
        from tfpipeline.export.upload import FarDirectory  # which loads TensorFlow

        return FarDirectory(paths.expand(model))
    return LocalDirectory(paths.local(model))


class ModelDirectory(abc.ABC):
    """Versions are the children whose names are integers; servers ignore all others.

    Attributes:
        address: as users write it.
    """

    address: str

    @abc.abstractmethod
    def path(self, version: int) -> Path | str:
        """The directory of a version, there or not: a str where it is far away."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """What is in the directory; nothing if there is none."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes | None:
        """The content of a file in the directory; None if there is none."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    @abc.abstractmethod
    def files(self, version: int) -> Mapping[str, int]:
        """The files of a version by their names in it, with their bytes."""

    @abc.abstractmethod
    def require_writable(self) -> None:
        """Refuse a directory that cannot be written to, before the work whose result goes there.

        Raises:
            UserError: says why.
        """

    @abc.abstractmethod
    def staging(self, version: int) -> AbstractContextManager[Path]:
        """An empty folder on this machine to write a version in; it goes when the block ends."""

    @abc.abstractmethod
    def publish(self, written: Path, version: int) -> None:
        """Give what was written in :meth:`staging` its version.

        Raises:
            AppearedError: another export has taken that version.
            UserError: it cannot be written.
        """

    @abc.abstractmethod
    def remove(self, version: int) -> None:
        """Take a version away; no server ever sees a part of it as whole."""

    @abc.abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Held while labels are changed or versions removed; waits for whoever holds it."""

    def versions(self) -> dict[int, str]:
        """The versions that are there, ascending, with their directories' names: "007" is version 7.

        Source: IndexChildrenByVersion in tensorflow/serving,
        sources/storage_path/file_system_storage_path_source.cc.
        """
        numbers = {int(name): name for name in self.names() if re.fullmatch(r"[0-9]+", name)}
        return {number: numbers[number] for number in sorted(numbers) if number <= _LARGEST}

    def taken(self) -> set[int]:
        """The versions that are there or being published."""
        return set(self.versions())


class LocalDirectory(ModelDirectory):
    """A directory on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.address = directory, str(directory)
        if directory.exists() and not directory.is_dir():
            raise UserError(f"{directory} is a file; name a folder for the model's versions")

    def path(self, version: int) -> Path:
        return self.directory / self.versions().get(version, str(version))

    def names(self) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self.directory) if entry.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"cannot read {self.address}: {error.strerror}; check its permissions") from error

    def read(self, name: str) -> bytes | None:
        try:
            return (self.directory / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(
                f"cannot read {self.directory / name}: {error.strerror}; check its permissions"
            ) from error

    def write(self, name: str, content: bytes) -> None:
        with atomic_file(self.directory / name) as temporary:
            temporary.write_bytes(content)

    def files(self, version: int) -> dict[str, int]:
        folder = self.path(version)
        return {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def require_writable(self) -> None:
        require_writable(self.directory)

    def staging(self, version: int) -> AbstractContextManager[Path]:
        return temporary_folder(self.path(version))

    def publish(self, written: Path, version: int) -> None:
        if version in self.versions():  # also when it is called 007
            raise AppearedError(f"version {version} of {self.address} is there already")
        publish(written, self.path(version))

    def remove(self, version: int) -> None:
        path = self.path(version)
        with temporary_folder(path) as folder:  # one rename takes all of it from whoever looks for versions
            os.rename(path, folder / "removed")
            shutil.rmtree(folder / "removed")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        lock = locks.Lock(self.directory / _LOCK_FILE)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                lock.acquire()
                break
            except locks.Locked as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{self.address}: labels and versions are being changed by {error}; "
                        "run the command again when it has ended"
                    ) from error
                time.sleep(0.02)
            except OSError as error:
                raise write_error(self.directory / _LOCK_FILE, error) from error
        try:
            yield
        finally:
            lock.release()
