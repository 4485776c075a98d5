"""Tasks within another task (``pair``, ``multitask``): makes their errors name the right section of the run
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
    """Reword errors of a part as errors of the whole run.

    Args:
        section: the run file's section with the part's options.
        prefix: the beginning of each message.
    """
    try:
        yield
    except UserError as error:
        raise _of_part(error, section, prefix) from error


class PartFitter(Fitter):
    """Fits a part; takes the arguments of :func:`errors_of_part`."""

    def __init__(self, options: TaskOptions, section: str, prefix: str = "") -> None:
        self._fitter, self._section, self._prefix = options.fitter(), section, prefix

    def add(self, example: Example) -> None:
        try:  # a context manager would double the time per row
            self._fitter.add(example)
        except UserError as error:
            raise _of_part(error, self._section, self._prefix) from error

    def finish(self) -> Task:
        with errors_of_part(self._section, self._prefix):
            return self._fitter.finish()


def _of_part(error: UserError, section: str, prefix: str) -> UserError:
    sentence = _OWN_OPTIONS.sub(lambda option: f"{section}.{option[1]}", str(error))
    return UserError(f"{prefix}{sentence}")
