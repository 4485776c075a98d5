from __future__ import annotations

import io

from rich.console import Console

from tfpipeline.console import PLAIN_SECONDS, progress


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


def test_short_work_prints_nothing():
    clock, console = Clock(), plain()
    with progress("training", 10, console=console, clock=clock) as bar:
        clock.now += 1.9
        bar.advance(10)
    assert console.file.getvalue() == ""


def test_on_a_terminal_a_bar():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress("training", 4, done=1, console=console) as bar:
        bar.advance(3, "loss 0.5")
    shown = console.file.getvalue()
    assert "training" in shown
    assert "4/4" in shown
    assert "loss 0.5" in shown
