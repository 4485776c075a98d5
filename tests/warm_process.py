"""The export's check asks one process that stays, as long as its start is not the subject."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

# It imports what fresh_process.py imports, so nothing of ours; the script itself checks that each time.
_LOOP = """
import gc, json, runpy, sys, traceback
answers, sys.stdout = sys.stdout, sys.stderr
import tensorflow
tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
gc.collect(), gc.freeze(), gc.set_threshold(20_000, 10, 10)  # see conftest.py
for line in sys.stdin:
    sys.argv = json.loads(line)
    try:
        runpy.run_path(sys.argv[0])
        failure = ""
    except BaseException:
        failure = traceback.format_exc()
    print(json.dumps(failure), file=answers, flush=True)
"""


class WarmProcess:
    """``subprocess.run`` for scripts, one after the other in a single process that is started when first
    needed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def run(self, command: list[str], **options: object) -> subprocess.CompletedProcess:
        python, isolated, *script = command
        assert (python, isolated) == (sys.executable, "-I")
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _LOOP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        print(json.dumps([str(Path(script[0])), *script[1:]]), file=self._process.stdin, flush=True)
        failure = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(command, int(bool(failure)), "", failure)

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=30)


@pytest.fixture(scope="session", autouse=True)
def warm_process() -> Iterator[WarmProcess]:
    """Exports are checked by one process; a test that asks for ``cold_process`` gets a new one each time."""
    from tfpipeline.export import checks

    warm = WarmProcess()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "subprocess", SimpleNamespace(run=warm.run))
        yield warm
    warm.close()


@pytest.fixture
def cold_process(monkeypatch) -> None:
    """Exports are checked as the product does it."""
    from tfpipeline.export import checks

    monkeypatch.setattr(checks, "subprocess", subprocess)
