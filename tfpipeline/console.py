"""What the user sees: progress bars on a terminal, plain lines elsewhere, messages on standard error.

Results go to standard output, everything else to standard error, so that ``tfpipeline predict ... > file``
holds answers only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Callable, Optional

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_SECONDS = 10.0  # between two lines of progress where there is no terminal

_console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """One line to the user, on standard error."""
    _console.print(message, markup=False, soft_wrap=True)


@contextlib.contextmanager
def notice(message: str) -> Iterator[None]:
    """Show a line while something runs that cannot say how far it is, on a terminal only; then take it away."""
    if not _console.is_terminal:
        yield
        return
    _console.file.write(f"{message} ...")
    _console.file.flush()
    try:
        yield
    finally:
        _console.file.write("\r\x1b[2K")
        _console.file.flush()


class Step:
    """One piece of work whose progress is shown.

    Args:
        advance: called as ``advance(n, note)``; ``note`` is a short text beside the bar, e.g. the loss.
    """

    def __init__(self, advance: Callable[[float, str], None]) -> None:
        self._advance = advance

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._advance(amount, note)


@contextlib.contextmanager
def progress(
    title: str,
    total: Optional[float] = None,
    *,
    done: float = 0,
    console: Optional[Console] = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Step]:
    """Show how far a piece of work is: a live bar on a terminal, else a line every ten seconds.

    Args:
        title: what is being done.
        total: how many units there are; None when unknown.
        done: units already done (a resumed run).
        console: where to; standard error by default.
        clock: seconds; a test passes its own.
    """
    console = console or _console
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, transient=False) as bar:
            task = bar.add_task(title, total=total, completed=int(done), note="")
            yield Step(lambda amount, note: bar.update(task, advance=amount, note=note))
        return

    start = last = clock()
    count = shown = done
    latest = ""

    def line(now: float) -> None:
        nonlocal shown
        shown = count
        share = f"{count:.0f}/{total:.0f} ({100 * count / total:.0f} %)" if total else f"{count:.0f}"
        note = f", {latest}" if latest else ""
        console.print(f"{title}: {share}, {now - start:.0f} s{note}", markup=False, soft_wrap=True)

    def advance(amount: float, note: str) -> None:
        nonlocal count, last, latest
        count += amount
        latest = note or latest
        now = clock()
        if now - last >= PLAIN_SECONDS:
            last = now
            line(now)

    yield Step(advance)
    if clock() - start >= 2 and shown != count:  # short work needs no line
        line(clock())
