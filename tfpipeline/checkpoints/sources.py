"""Where a checkpoint comes from: a local folder, an archive, the Hugging Face hub, or a file system far
away.
"""

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
    """A checkpoint's files, on this machine.

    Attributes:
        directory: the folder that holds them.
        name: the file, or the prefix of a TensorFlow checkpoint, that the user named; "" when it was a
            folder.
        keep: holds a temporary folder alive, which is removed when this is collected; None when there is
            none.
        display_name: the source as the user wrote it.
    """

    directory: Path
    name: str
    keep: object | None
    display_name: str


def locate(source: AnyPath, recognise: Callable[[Path], bool] | None = None) -> Located:
    """Bring a checkpoint's files to a local folder.

    Args:
        source: a folder; a file, or a TensorFlow checkpoint's prefix, in one; a zip or tar archive with one;
            ``hf://organisation/name@revision``; ``gs://bucket/path`` or what else TensorFlow's file systems
            read.
        recognise: whether a folder holds a checkpoint, to find the one in an archive; by default, whether any
            format does.
    Raises:
        UserError: nothing is there, or it cannot be read, fetched or unpacked.
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
    except OSError as error:  # a name too long, a folder that may not be searched
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
