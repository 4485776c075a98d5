from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from tfpipeline.console import PLAIN_SECONDS, duration, plural, progress


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def plain(width=200):
    return Console(file=io.StringIO(), force_terminal=False, width=width)


def test_without_a_terminal_a_line_now_and_then():
    clock, console = Clock(), plain()
    with progress("training", 100, console=console, clock=clock) as bar:
        for _ in range(100):
            clock.now += PLAIN_SECONDS / 40
            bar.advance(1, "loss 0.5")
    assert console.file.getvalue().splitlines() == [
        "training: 40/100 (40 %), 10 s, loss 0.5",
        "training: 80/100 (80 %), 20 s, loss 0.5",
        "training: 100/100 (100 %), 25 s, loss 0.5",
    ]


@pytest.mark.parametrize(
    ("count", "words"), [(0, "rows were"), (1, "row was"), (2, "rows were"), (0.5, "rows were")]
)
def test_words_agree_with_their_number(count, words):
    assert f"{plural(count, 'row')} {plural(count, 'was', 'were')}" == words


def test_short_work_prints_nothing():
    clock, console = Clock(), plain()
    with progress("training", 10, console=console, clock=clock) as bar:
        clock.now += 1.9
        bar.advance(10)
    assert console.file.getvalue() == ""


NOTE = "loss 0.5123, 118 examples/s, learning rate 2.91e-05, 3456 tokens/s"


def shown(width, title="epoch 1/3", total=120, note=NOTE, **changes):
    """The last state of a line of progress on a terminal, as text."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, _environ={"TERM": "xterm"})
    with progress(title, total, console=console, done=7, **changes) as bar:
        bar.advance(5, note)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()))
    assert all(len(line.rstrip()) <= width for line in lines)
    return [line for line in lines if line.strip()][-1].rstrip()


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (120, r"epoch 1/3 ━+─+  12/120 0:00  " + re.escape(NOTE)),
        (80, r"epoch 1/3  12/120 0:00  loss 0\.5123, 118 examples/s, learning rate 2\.91e-05"),
        (60, r"epoch 1/3 ━+─+  12/120 0:00  loss 0\.5123, 118 examples/s"),
        (40, r"epoch 1/3  12/120 0:00  loss 0\.5123"),
        (30, r"epoch 1/3  12/120 0:00"),
    ],
)
def test_on_a_terminal_one_line_with_what_there_is_room_for(width, line):
    """What does not fit is left out as a whole, the last parts first; nothing is cut or wrapped."""
    found = shown(width)
    assert re.fullmatch(line, found), found


def test_of_few_pieces_of_work_nobody_knows_how_long_the_next_takes():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with progress("exporting", 3, console=console) as bar:
        for _ in range(2):
            time.sleep(0.01)
            bar.advance()
        time.sleep(0.2)  # it is drawn ten times a second
    assert " left" not in console.file.getvalue()


def test_a_long_title_leaves_room_for_what_happens():
    title = "exporting models/somebody/with/many/folders/and/still/more/of/them/12"
    assert shown(80, title, 3, "running in a fresh process").endswith("  running in a fresh process")
    assert "of/them/12 " in shown(80, title, 3)
    assert shown(200, title, 3).startswith(title)


def test_what_it_waits_for_is_said_until_the_first_step():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with progress("epoch 1/3", 9, note="compiling", console=console) as bar:
        bar.advance(1, "loss 0.5")
    first, last = (
        console.file.getvalue().split("compiling")[0],
        console.file.getvalue().split("compiling")[-1],
    )
    assert "0/9" in first
    assert "loss 0.5" in last


def test_how_much_of_an_unknown_amount():
    assert re.fullmatch(r"writing 12/\? 0:00  now", shown(80, "writing", None, "now"))


def test_a_terminal_without_unicode():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, force_terminal=True, width=60, _environ={"TERM": "xterm"})
    with progress("x" * 70, 4, console=console) as bar:
        bar.advance(2)
    file.flush()
    assert b"x...x" in file.buffer.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (754, "12 min 34 s"), (7500, "2 h 5 min")],
)
def test_spans_of_time(seconds, words):
    assert duration(seconds) == words
