"""Who is started again, and who is not; the worker is a script that dies as it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tfpipeline.training.supervise import supervise

SCRIPT = """
import os, pathlib, signal, sys
path = pathlib.Path(sys.argv[1])
ends = path.read_text().split()
path.write_text(" ".join(ends[1:]))
if ends[0] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(ends[0]))
"""


@pytest.fixture
def run(tmp_path):
    def run(ends, **options):
        path = tmp_path / "ends"
        path.write_text(ends)
        code = supervise([str(path)], command=[sys.executable, "-c", SCRIPT], pause=0, **options)
        return code, path.read_text().split()

    return run


@pytest.mark.parametrize(
    ("ends", "code", "left"),
    [
        ("0 0", 0, ["0"]),
        ("2 0", 2, ["0"]),
        ("130 0", 130, ["0"]),
        ("1 0", 1, ["0"]),
        ("kill 75 kill 0 0", 0, ["0"]),
        ("75 2 0", 2, ["0"]),
    ],
)
def test_who_is_started_again(run, ends, code, left):
    assert run(ends) == (code, left)


def test_after_five_deaths_at_once_it_gives_up(run, capsys):
    assert run("75 " * 9) == (75, ["75"] * 4)
    assert "has lost another worker, 5 times within 30 s of its start; giving up" in capsys.readouterr().err
    assert run("kill " * 9) == (137, ["kill"] * 4)
    assert run("75 " * 9 + "0", quick_seconds=0.0) == (0, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_go_to_the_worker_once(tmp_path, number):
    heard = tmp_path / "heard"
    worker = (
        "import signal, sys, time\n"
        "def hear(number, frame):\n"
        f"    open({str(heard)!r}, 'a').write(f'{{number}} ')\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, hear); signal.signal(signal.SIGINT, hear)\n"
        f"open({str(heard)!r}, 'a').write('ready ')\n"
        "time.sleep(60)\n"
    )
    code = (
        "import sys; from tfpipeline.training.supervise import supervise; "
        f"sys.exit(supervise([], command=[sys.executable, '-c', {worker!r}]))"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 30
    while not heard.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(supervisor.pid, number)  # as a terminal does
    assert supervisor.wait(30) == 130
    assert heard.read_text().split() == ["ready", str(int(number))]
