"""The directory of a model, ``models/NAME``, with its versions and labels, local or remote."""

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

MARKER = "saved_model.pb"  # written last: a version without it is incomplete
_LOCK_FILE = ".labels.lock"
_PATIENCE_SECONDS = 30.0
_LARGEST = 2**63 - 1  # a version is an int64 of TensorFlow Serving


def open_directory(model: AnyPath) -> ModelDirectory:
    """The directory of a model, which need not exist yet.

    Args:
        model: ``models/NAME``, ``gs://bucket/models/NAME``, or another path that TensorFlow can write.
    Raises:
        UserError: it is not a path, is a file, or is on a file system that TensorFlow cannot write.
    """
    if paths.is_far(model):
        from tfpipeline.runtime import import_tensorflow

        import_tensorflow()  # quietly, before the next line imports it
        from tfpipeline.export.upload import FarDirectory

        return FarDirectory(paths.expand(model))
    return LocalDirectory(paths.local(model))


class ModelDirectory(abc.ABC):
    """Versions are the subdirectories named by integers; servers ignore all others.

    Attributes:
        address: in the form that users write.
    """

    address: str

    @abc.abstractmethod
    def path(self, version: int) -> Path | str:
        """The directory of a version, existing or not: a str if it is remote."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """The names in the directory; empty if it does not exist."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes | None:
        """The content of a file in the directory; None if it does not exist."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""

    @abc.abstractmethod
    def files(self, version: int) -> Mapping[str, int]:
        """The files of a version, by name, with their sizes in bytes."""

    @abc.abstractmethod
    def require_writable(self) -> None:
        """Refuse a directory that is not writable, before the expensive work.

        Raises:
            UserError: gives the reason.
        """

    @abc.abstractmethod
    def staging(self, version: int) -> AbstractContextManager[Path]:
        """An empty local folder in which a version is written; it is removed at the end of the block."""

    @abc.abstractmethod
    def publish(self, written: Path, version: int) -> None:
        """Publish the contents of :meth:`staging` as a version.

        Raises:
            AppearedError: another export has taken this version number.
            UserError: it cannot be written.
        """

    @abc.abstractmethod
    def remove(self, version: int) -> None:
        """Remove a version; no server ever sees a partly removed version as complete."""

    @abc.abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Held while labels are changed or versions removed; waits for the current holder."""

    def versions(self) -> dict[int, str]:
        """The existing versions, ascending, with their directory names: "007" is version 7.

        Source: IndexChildrenByVersion in tensorflow/serving,
        sources/storage_path/file_system_storage_path_source.cc.
        """
        numbers = {int(name): name for name in self.names() if re.fullmatch(r"[0-9]+", name)}
        return {number: numbers[number] for number in sorted(numbers) if number <= _LARGEST}

    def taken(self) -> set[int]:
        """The versions that exist or are being published."""
        return set(self.versions())


class LocalDirectory(ModelDirectory):
    """A local directory."""

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
        if version in self.versions():  # also if its name is 007
            raise AppearedError(f"version {version} of {self.address} is there already")
        publish(written, self.path(version))

    def remove(self, version: int) -> None:
        path = self.path(version)
        with temporary_folder(path) as folder:  # a single rename hides all of it from readers of versions
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
