"""Temporary folders for checkpoints from archives and remote sources; they exist while they are in use."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from pathlib import Path

from tfpipeline.errors import UserError
from tfpipeline.files import temporary_folder


class TemporaryFolder:
    """A new folder, which is removed with its contents when this object is collected or the process ends.

    Folders that a killed process left behind are removed by the next process.

    ``tempfile.TemporaryDirectory`` warns when it is removed by garbage collection. Here that is intended:
    tensors are read on access, so it is not known earlier when the files are no longer needed.

    Attributes:
        path: the folder.
    Raises:
        UserError: it cannot be created.
    """

    def __init__(self) -> None:
        stack = contextlib.ExitStack()
        try:
            folder = stack.enter_context(temporary_folder(Path(tempfile.gettempdir()) / "checkpoint"))
            self.path = folder / "files"
            self.path.mkdir()
        except (OSError, UserError) as error:
            stack.close()
            cause = error if isinstance(error, OSError) else error.__cause__
            reason = getattr(cause, "strerror", None) or error
            raise UserError(
                f"cannot make a temporary folder: {reason}; set TMPDIR to a folder that may be written"
            ) from error
        self._finalizer = weakref.finalize(self, stack.close)

    def remove(self) -> None:
        """Remove it now."""
        self._finalizer()


def store_error(what: str, folder: Path, error: OSError) -> UserError:
    """The error for a file that could not be written to a temporary folder (usually because of a full disk).

    Args:
        what: the file, as the user knows it.
        folder: the folder it was written to.
    """
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UserError(
        f"cannot write {what} to {folder}: {reason}; free some space there, or set TMPDIR to a folder that "
        f"has it"
    )
