"""Locates a checkpoint: in a local folder, an archive, the Hugging Face hub, or a remote file system."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tfpipeline import paths
from tfpipeline.checkpoints import archives, formats, hub, remote
from tfpipeline.checkpoints.temporary import TemporaryFolder
from tfpipeline.errors import UserError
from tfpipeline.paths import AnyPath


@dataclasses.dataclass(frozen=True)
class Located:
    """A checkpoint's files on this machine.

    Attributes:
        directory: the folder that holds them.
        name: the file, or TensorFlow checkpoint's prefix, that the user named; "" if the user named a folder.
        keep: keeps a temporary folder alive, which is removed when this object is collected; None if there is
            no temporary folder.
        display_name: the source as the user wrote it.
    """

    directory: Path
    name: str
    keep: object | None
    display_name: str


def locate(source: AnyPath, recognise: Callable[[Path], bool] | None = None) -> Located:
    """Bring a checkpoint's files to a local folder.

    Args:
        source: a folder; a file, or a TensorFlow checkpoint's prefix, in one; a zip or tar archive of one;
            ``hf://organisation/name@revision``; ``gs://bucket/path`` or another path that TensorFlow's file
            systems can read.
        recognise: whether a folder holds a checkpoint; used to find it in an archive. By default all formats
            are tried.
    Raises:
        UserError: nothing is there, or it cannot be read, downloaded or unpacked.
    """
    display_name = paths.expand(source)
    scheme = paths.scheme(display_name)
    if scheme == hub.SCHEME:
        return Located(hub.fetch(display_name), "", None, display_name)
    if scheme:
        keep = TemporaryFolder()
        try:
            name = remote.fetch(display_name, keep.path)
            if (keep.path / name).is_file() and archives.is_archive(keep.path / name):
                return _unpacked(keep.path / name, display_name, recognise)
        except BaseException:
            keep.remove()
            raise
        return Located(keep.path, name, keep, display_name)
    given = paths.local(display_name)
    try:
        directory = given if given.is_dir() else given.parent
        there = given.exists() or given.with_name(f"{given.name}.index").exists()
        is_file = given.is_file()
    except OSError as error:  # the name is too long, or a folder is not searchable
        raise UserError(f"cannot read {source}: {error.strerror}; check the path") from error
    if not there:
        raise UserError(f"{source}: no such checkpoint; give the directory that holds its files")
    if is_file and archives.is_archive(given):
        return _unpacked(given, display_name, recognise)
    return Located(directory, "" if given == directory else given.name, None, display_name)


def _unpacked(path: Path, display_name: str, recognise: Callable[[Path], bool] | None) -> Located:
    keep = TemporaryFolder()
    try:
        archives.unpack(path, keep.path, display_name=display_name)
        directory = archives.checkpoint_folder(keep.path, recognise or _any_format, display_name=display_name)
    except BaseException:
        keep.remove()
        raise
    return Located(directory, "", keep, display_name)


def _any_format(directory: Path) -> bool:
    return any(formats.find(name).recognise(directory) for name in formats.names())
