"""Tasks within another task (``pair``, ``multitask``): their errors say where their options stand in the run
file.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfpipeline.errors import UserError
from tfpipeline.tasks.options import Fitter, TaskOptions

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.tasks.base import Task

_OWN_OPTIONS = re.compile(r"(?<![\w.])task\.(labels|columns)\b")


@contextlib.contextmanager
def errors_of_part(section: str, prefix: str = "") -> Iterator[None]:
    """Errors of a part as errors of the run.

    Args:
        section: of the run file, where the part's options stand.
        prefix: what the sentence begins with.
    """
    try:
        yield
    except UserError as error:
        raise _of_part(error, section, prefix) from error


class PartFitter(Fitter):
    """Fits a part; arguments as of :func:`errors_of_part`."""

    def __init__(self, options: TaskOptions, section: str, prefix: str = "") -> None:
        self._fitter, self._section, self._prefix = options.fitter(), section, prefix

    def add(self, example: Example) -> None:
        try:  # a context manager would cost as much as the row
            self._fitter.add(example)
        except UserError as error:
            raise _of_part(error, self._section, self._prefix) from error

    def finish(self) -> Task:
        with errors_of_part(self._section, self._prefix):
            return self._fitter.finish()


def _of_part(error: UserError, section: str, prefix: str) -> UserError:
    sentence = _OWN_OPTIONS.sub(lambda option: f"{section}.{option[1]}", str(error))
    return UserError(f"{prefix}{sentence}")
