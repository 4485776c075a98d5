"""Progress and messages: progress bars on a terminal, plain lines elsewhere.

Results go to standard output, everything else to standard error, so ``tfpipeline predict ... > file`` writes
only predictions to the file.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Callable, Optional

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

PLAIN_SECONDS = 10.0  # between two lines of progress where there is no terminal
_FEW = 5  # units: too few to say when the last will be done
_BAR_WIDTHS = (8, 40)  # the least and the most of a bar, in columns

_console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print one line for the user, on standard error."""
    _console.print(message, markup=False, soft_wrap=True)


def plural(count: float, one: str, many: Optional[str] = None) -> str:
    """The form of a word for a number: ``row`` for 1, otherwise ``rows``, or ``many`` if that is
    irregular.
    """
    return one if count == 1 else f"{one}s" if many is None else many


@contextlib.contextmanager
def notice(message: str) -> Iterator[None]:
    """Show a line while work without measurable progress runs, on a terminal only; then remove it."""
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


class _Line(ProgressColumn):
    """A line of progress for the width of the terminal. If it does not fit, the last parts are left out
    first.

    The title comes first, then the remaining time, then the parts of the note (separated by commas), and the
    bar takes the rest.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        width = self._console.width
        total = "?" if task.total is None else f"{int(task.total)}"
        count = f"{int(task.completed):>{len(total)}}/{total}"
        few = task.total is not None and task.total <= _FEW  # each of which may take any time
        left = None if few else task.time_remaining
        time = f"{_clock(task.elapsed)}" if task.finished or left is None else f"{_clock(left)} left"
        room = width - len(count) - 1 - len(time) - 2
        plain = self._console.options.ascii_only
        title = task.description
        if task.fields["note"]:
            room = min(room, max(width // 2, 20))
        if len(title) > room:  # the end of a path is the most informative part
            dots = "..." if plain else "…"
            kept = max(room - len(dots), 0)
            title = f"{title[: kept // 3]}{dots}{title[len(title) - kept + kept // 3 :]}"[:room]
        used = len(f"{title} {count} {time}")
        note = ""
        for part in filter(None, task.fields["note"].split(", ")):
            longer = f"{note}, {part}" if note else f"  {part}"
            if used + len(longer) > width:
                break
            note = longer
        bar = min(width - used - len(note) - 1, _BAR_WIDTHS[1])
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{title} " if title else "")
        if bar >= _BAR_WIDTHS[0] and task.total:
            full = round(bar * min(task.completed / task.total, 1))
            text.append(("=" if plain else "━") * full, "green" if task.finished else "magenta")
            text.append(("-" if plain else "─") * (bar - full) + " ", "bright_black")
        text.append(count, "green")
        text.append(f" {time}", "cyan")
        text.append(note)
        return text


def _clock(seconds: Optional[float]) -> str:
    whole = int(seconds or 0)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def duration(seconds: float) -> str:
    """A span of time in words: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"


class Step:
    """A piece of work with visible progress.

    Args:
        advance: called as ``advance(n, note)``; ``note`` is a short text beside the bar, e.g. the loss. As
            many of its parts, separated by commas, are shown as fit.
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
    note: str = "",
    console: Optional[Console] = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Step]:
    """Show the progress of a piece of work: a live bar on a terminal, otherwise a line every ten seconds.

    Args:
        title: the name of the work.
        total: the number of units; None if unknown.
        done: the number of units already done (in a resumed run).
        note: shown on a terminal until the first unit is done, such as "compiling".
        console: the output; standard error by default.
        clock: returns seconds; tests pass their own.
    """
    console = console or _console
    if console.is_terminal:
        with Progress(_Line(console), console=console, transient=False) as bar:
            task = bar.add_task(title, total=total, completed=int(done), note=note)
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
