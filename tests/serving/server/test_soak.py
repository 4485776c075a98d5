"""Mixed load while versions come and go, labels move and replicas die: nothing fails, nothing is wrong.

``make soak`` runs ten minutes of it; the short form checks the same in seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tfpipeline.export.labels import promote
from tfpipeline.serving.client import ClientError, PredictClient
from tfpipeline.serving.server.run import BINARY

_READY = re.compile(r"serving m versions? .* on (\S+) \(")


class Served:
    """A `tfpipeline serve` in a process of its own; it starts at once, and :meth:`address` waits for it."""

    def __init__(self, model_dir, binary=None):
        path = [str(Path(sys.executable).parent), *([os.path.dirname(binary)] if binary else [])]
        arguments = [str(model_dir), "--port", "0", *(["--server-binary", binary] if binary else [])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tfpipeline", "serve", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PATH": os.pathsep.join(path)},
        )
        self._reading = threading.Thread(target=self.process.stderr.read)  # or its pipe would fill

    def __enter__(self):
        return self

    def address(self):
        said = []
        for line in self.process.stderr:
            said.append(line)
            if match := _READY.match(line):
                self._reading.start()
                return match[1]
        return pytest.fail("".join(said))

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        if self._reading.ident is not None:
            self._reading.join(timeout=60)
        self.process.stderr.close()


class Load:
    """Callers that ask without a pause, and check every answer.

    Version N of the model is x / 2 + 2 if N is even, + 3 if it is odd.
    """

    def __init__(self, target, callers, labels=()):
        self.wrong, self.failed, self.answered = [], [], Counter()
        self._stop = threading.Event()
        self._clients = contextlib.ExitStack()
        ask = [(self._half, {"version_label": label}) for label in labels] + [
            (self._half, {}),
            (self._upper, {"signature": "upper"}),
            (self._row_sums, {"signature": "row_sums"}),
        ]
        self._ways = [
            (check, self._clients.enter_context(PredictClient(target, model="m", timeout=60, **options)))
            for check, options in ask
        ]
        self._threads = [threading.Thread(target=self._work, args=(seed,)) for seed in range(callers)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._clients.close()

    def _work(self, seed):
        random = np.random.default_rng(seed)
        while not self._stop.is_set():
            check, client = self._ways[random.integers(len(self._ways))]
            try:
                if random.random() < 0.05:
                    client.model_status()
                else:
                    version, right = check(client, random, int(random.integers(1, 80)))
                    self.answered[version] += 1
                    if not right:
                        self.wrong.append((version, check.__name__))
            except ClientError as error:
                self.failed.append(error)

    def _half(self, client, random, rows):
        x = random.normal(size=rows).astype(np.float32)
        answer = client.predict_raw({"x": x})
        return answer.version, np.array_equal(answer.outputs["y"], x / 2 + (2 + answer.version % 2))

    def _upper(self, client, random, rows):
        text = np.array([b"x%d" % n for n in random.integers(0, 10**9, rows)], object)
        answer = client.predict_raw({"text": text})
        return answer.version, [one.upper() for one in text] == answer.outputs["upper"].tolist()

    def _row_sums(self, client, random, rows):
        x = random.integers(0, 9, (rows, random.integers(1, 9))).astype(np.float32)
        answer = client.predict_raw({"x": x})
        return answer.version, np.array_equal(answer.outputs["sum"], x.sum(1))


def memory_mb(process):
    """Resident memory of a process and its children."""
    found = 0
    for pid in [process.pid, *children(process.pid)]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/status").read_text()
            found += int(re.search(r"VmRSS:\s+(\d+)", status)[1]) if "VmRSS" in status else 0
    return found / 1024


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def change_under_load(
    model_dir, publish, servers, *, seconds, callers, publish_every, promote_every, kill_after=math.inf
):
    """Publish versions and move a label under load, and kill the last server.

    Returns:
        The load that has ended, and the memory in MB of the first server at twenty times.
    """
    target = "ipv4:" + ",".join(server.address() for server in servers)
    newest, memory = 1, []
    start = time.monotonic()
    published = promoted = 0
    with Load(target, callers, ["stable"]) as load:
        while (now := time.monotonic() - start) < seconds:
            if now >= (published + 1) * publish_every:
                published += 1
                newest += 1
                publish(model_dir, newest, f"plus{2 + newest % 2}")
            if now >= (promoted + 1) * promote_every:
                promoted += 1
                promote(model_dir, newest)
            if now >= kill_after:
                servers[-1].process.kill()
                kill_after = math.inf
            if now >= (len(memory) + 1) * seconds / 20:
                memory.append(memory_mb(servers[0].process))
                keep = {newest, newest - 1, newest - 2, labelled(model_dir)}
                for version in set(range(1, newest)) - keep:
                    shutil.rmtree(model_dir / str(version), ignore_errors=True)
            time.sleep(0.05)
    assert published >= 2
    assert promoted >= 2
    return load, memory


def labelled(model_dir):
    return json.loads((model_dir / "labels.json").read_text())["labels"]["stable"]


def assert_nothing_lost(load, versions):
    assert load.failed == []
    assert load.wrong == []
    assert len(load.answered) >= versions, load.answered


@pytest.fixture
def model_dir(tmp_path, publish):
    publish(tmp_path / "m", 1, "plus3")
    promote(tmp_path / "m", 1)
    return tmp_path / "m"


def test_versions_and_labels_change_and_a_replica_dies_under_load(model_dir, publish):
    with Served(model_dir) as first, Served(model_dir) as second:
        load, _ = change_under_load(
            model_dir,
            publish,
            [first, second],
            seconds=8,
            callers=8,
            publish_every=1.5,
            promote_every=2.5,
            kill_after=6,
        )
    assert second.process.returncode == -signal.SIGKILL
    assert_nothing_lost(load, 4)


@pytest.mark.soak
@pytest.mark.parametrize("binary", [None, BINARY], ids=["embedded", BINARY])
def test_ten_minutes_of_changes_under_load(model_dir, publish, binary):
    if binary is not None and (binary := shutil.which(BINARY)) is None:
        pytest.skip(f"{BINARY} is not on the PATH")
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    with Served(model_dir, binary) as server:
        load, memory = change_under_load(
            model_dir, publish, [server], seconds=seconds, callers=32, publish_every=20, promote_every=30
        )
    print(f"{sum(load.answered.values())} answers of {len(load.answered)} versions, MB: {memory}")
    assert_nothing_lost(load, seconds // 20 - 4)
    # From a quarter on: by then, every path has been used.
    assert memory[-1] <= 1.05 * memory[5], memory


@pytest.mark.soak
def test_replicas_are_killed_under_load(model_dir, publish):
    """Three of four, a minute apart."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Served(model_dir)) for _ in range(4)]
        with Load("ipv4:" + ",".join(server.address() for server in servers), 32) as load:
            for server in servers[1:]:
                time.sleep(60)
                server.process.kill()
            time.sleep(60)
    assert_nothing_lost(load, 1)
