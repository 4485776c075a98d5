"""Checkpoints on a file system that TensorFlow supports, such as ``gs://bucket/path``, copied to a temporary
folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpipeline import paths
from tfpipeline.checkpoints import sentence_transformers
from tfpipeline.checkpoints.selection import select_files
from tfpipeline.checkpoints.temporary import store_error
from tfpipeline.console import progress
from tfpipeline.errors import UserError
from tfpipeline.runtime import import_tensorflow

_CHUNK = 8 << 20
_SUBFOLDERS = ("assets/tokenizer", sentence_transformers.POOLING)
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
# By default TensorFlow waits two minutes for a connection and an hour for metadata, and tries eleven times.
_IMPATIENT = {
    "GCS_REQUEST_CONNECTION_TIMEOUT_SECS": "15",
    "GCS_METADATA_REQUEST_TIMEOUT_SECS": "30",
    "GCS_RETRY_CONFIG_MAX_RETRIES": "3",
}


def fetch(source: str, folder: Path) -> str:
    """Copy the files that a checkpoint needs.

    Args:
        source: ``scheme://...``: a folder, a file or TensorFlow checkpoint's prefix in one, or an archive.
        folder: an empty folder; it may hold some files after an error.
    Returns:
        The name of the given file or prefix; "" for a folder.
    Raises:
        UserError: the scheme is not supported, nothing is there, it cannot be read, or the disk is full.
    """
    tf = import_tensorflow()
    if paths.scheme(source) not in tf.io.gfile.get_registered_schemes():
        raise paths.unusable(source, "gs", "hf")
    with impatient():
        path = source.rstrip("/")
        where, name, names = _list(tf, source, path)
        files = [name] if name.endswith(_ARCHIVES) else select_files(names, name, where=where)
        if not files:
            raise UserError(
                f"{where} holds no weights of a known kind; give the folder that holds a checkpoint's files"
            )
        try:
            sizes = {file: tf.io.gfile.stat(f"{where}/{file}").length for file in files}
        except tf.errors.OpError as error:
            raise _unreadable(source, error) from error
        with progress(f"copying {source} (MB)", sum(sizes.values()) / 1e6) as bar:
            for file, size in sizes.items():
                for count in _copy(tf, f"{where}/{file}", folder / file, size, folder):
                    bar.advance(count / 1e6)
    return name


def _list(tf: Any, source: str, path: str) -> tuple[str, str, list[str]]:
    """The folder of a path, the name within it ("" for the folder itself), and the names of its files."""
    where, _, name = path.rpartition("/")
    index = _stat(tf, f"{path}.index", source)  # first: some file systems accept any prefix as a folder
    if index is None or index.is_directory:
        names = _files(tf, path, source)
        if names:
            return path, "", names
    if not where.endswith(":/"):
        names = _files(tf, where, source)
        if name in names or f"{name}.index" in names:
            return where, name, names
    raise UserError(f"{source}: no such checkpoint; give the folder that holds its files")


def _files(tf: Any, path: str, source: str) -> list[str]:
    """The files of a folder, including those of the subfolders that checkpoints have; empty if it is not a
    folder.
    """
    # listdir reports "not found" when a server does not respond; stat reports the real error.
    status = _stat(tf, path, source)
    if status is None or not status.is_directory:
        return []
    try:
        names = list(tf.io.gfile.listdir(path))
        there = {name.rstrip("/") for name in names}
        for folder in _SUBFOLDERS:
            if folder.split("/")[0] in there and tf.io.gfile.isdir(f"{path}/{folder}"):
                names += [f"{folder}/{name}" for name in tf.io.gfile.listdir(f"{path}/{folder}")]
    except tf.errors.OpError as error:
        raise _unreadable(source, error) from error
    return [name for name in names if name and not name.endswith("/")]


def _stat(tf: Any, path: str, source: str) -> Any:
    """A path's status; None if nothing is there."""
    try:
        return tf.io.gfile.stat(path)
    except tf.errors.NotFoundError:
        return None
    except tf.errors.OpError as error:
        raise _unreadable(source, error) from error


def _copy(tf: Any, path: str, target: Path, size: int, folder: Path) -> Iterator[int]:
    """Copy a file; yields the size of each chunk in bytes."""
    left = size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.gfile.GFile(path, "rb") as source, target.open("xb") as file:
            while chunk := source.read(min(_CHUNK, left)) if left else b"":
                file.write(chunk)
                left -= len(chunk)
                yield len(chunk)
    except tf.errors.OpError as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        raise store_error(path, folder, error) from error
    if left:
        raise UserError(f"{path} ended {left} bytes early; run the command again")


def _unreadable(path: str, error: Any) -> UserError:
    """A one-line error for an exception of TensorFlow, whose messages have several lines."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    reason = reason if len(reason) <= 200 else f"{reason[:197]}..."
    return UserError(f"cannot read {path}: {reason}; check the network and that you may read it")


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Reduce the retries of the Google Cloud file system, which reads these variables at its first use.

    Values set by the user are kept.
    """
    added = [name for name in _IMPATIENT if name not in os.environ]
    os.environ.update({name: _IMPATIENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
