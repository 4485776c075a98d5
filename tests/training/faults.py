"""Trainings in processes of their own that are killed, stopped and starved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.forked import Forked, tfpipeline

Process = Forked | subprocess.Popen
PROGRAM = Path(sys.executable).with_name("tfpipeline")
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}


def start(run_file, *arguments):
    """``tfpipeline train`` in a process of its own, its standard error kept."""
    return Forked(tfpipeline, "train", *map(str, (run_file, *arguments)))


def supervise(run_file, *arguments):
    """``tfpipeline train --supervise`` as it is installed: it imports no TensorFlow, but its children do."""
    command = [str(PROGRAM), "train", str(run_file), "--supervise", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def train_until_killed(run_file, batch):
    """Train in this process, which is killed after so many batches."""
    from tests.training.test_train import At
    from tfpipeline.training import train

    train(run_file, callbacks=[At(batch, lambda: os.kill(os.getpid(), signal.SIGKILL))])


def finish(process, code=0, seconds=180):
    """Wait for it; the answer is what it wrote."""
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"still running: {process.communicate()[1]}") from None
    assert process.returncode == code, errors
    assert "Traceback" not in errors, errors
    return errors


def step(run: Path) -> int:
    """Steps of the last checkpoint; 0 before the first."""
    try:
        name = json.loads((run / "checkpoints" / "index.json").read_text())["last"]
        return int(json.loads((run / "checkpoints" / name / "state.json").read_text())["step"])
    except FileNotFoundError:
        return 0  # not there yet, or replaced between the two readings


def wait_for_step(run: Path, wanted: int, *processes: Process, seconds: float = 120) -> None:
    """Until the run has a checkpoint of that step, or later."""
    deadline = time.monotonic() + seconds
    while step(run) < wanted:
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        if time.monotonic() > deadline:  # and no process stays behind to slow other tests down
            said = "\n".join(_ended(process) for process in processes)
            raise AssertionError(f"no checkpoint of step {wanted} after {seconds} s: {said}")
        time.sleep(0.005)


def _ended(process: Process) -> str:
    """What it has written, once it and what it has started are killed."""
    for pid in [*children(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    return process.communicate(timeout=30)[1]


def weights(run: Path, role: str = "last") -> dict[str, np.ndarray]:
    folder = run / "checkpoints"
    base = folder / "base.safetensors"
    frozen = load_file(base) if base.exists() else {}
    return frozen | load_file(
        folder / json.loads((folder / "index.json").read_text())[role] / "model.safetensors"
    )


def assert_same(one: Path, other: Path) -> None:
    """Both runs ended with equal weights, bit for bit, and tell the same story."""
    for role in ("last", "best"):
        left, right = weights(one, role), weights(other, role)
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{role} {name}")
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


def children(pid: int) -> list[int]:
    """Processes that this one has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(process: Process) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def has_temporaries(folder: Path) -> bool:
    """Whether something half-written lies about."""
    return any(path.name.startswith(".tmp-") for path in folder.rglob("*"))
