"""Folders for checkpoints that come from an archive or from afar: they live as long as somebody reads
them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from pathlib import Path

from tfpipeline.errors import UserError
from tfpipeline.files import temporary_folder


class TemporaryFolder:
    """A new folder, removed with all it holds when this object is collected or the process ends.

    What a killed process left of such folders is removed by the next one.

    ``tempfile.TemporaryDirectory`` warns when it is removed that way; here it is the way that is meant:
    tensors are read when they are asked for, so nobody knows earlier when the files are no longer needed.

    Attributes:
        path: the folder.
    Raises:
        UserError: it cannot be made.
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
    """The sentence for a file that could not be written into a temporary folder (a full disk, nearly always).

    Args:
        what: the file, as the user knows it.
        folder: where it was to go.
    """
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UserError(
        f"cannot write {what} to {folder}: {reason}; free some space there, or set TMPDIR to a folder that "
        f"has it"
    )
