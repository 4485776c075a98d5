"""Two workers on this machine: trained together, one killed, both supervised; and what is told when one is
missing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import pytest

from tests import tiny
from tests.training import faults
from tests.training.test_exactness import free_ports
from tfpipeline.errors import UserError
from tfpipeline.training import train
from tfpipeline.training.cluster import Cluster, find_cluster, rendezvous

OPTIONS = {"train": 120, "epochs": 6, "save_every": 2, "strategy": "multi_worker"}


def pair(folder, start=faults.start):
    """Both workers of one run."""
    return both(tiny.write_run_file(folder, **OPTIONS), start)


def both(run_file, start=faults.start):
    workers = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    return [start(run_file, "--workers", workers, "--index", index) for index in (0, 1)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    chief, other = (faults.finish(process) for process in pair(folder))
    assert f"next: tfpipeline evaluate {folder / 'run'}\n" in chief
    assert "trained 6 epochs; the chief has the run" in other
    assert "next:" not in other
    return folder / "run"


def test_only_the_chief_writes_the_run(undisturbed):
    assert faults.step(undisturbed) == 42
    other = undisturbed.with_name("run.worker-1")
    assert not (other / "checkpoints" / "index.json").exists()
    assert not (other / "tensorboard").exists()


def test_killed_and_asked_to_stop_they_end_as_undisturbed(undisturbed, tmp_path):
    """One worker is killed, and its supervisor restarts it; the other notices, and is restarted too. Then one
    is asked to stop, and both stop after the same step. Then both go on to the end.
    """
    run = tmp_path / "run"
    supervisors = pair(tmp_path, faults.supervise)
    faults.wait_for_step(run, 4, *supervisors)
    (worker,) = faults.children(supervisors[1].pid)
    os.kill(worker, signal.SIGKILL)
    faults.wait_for_step(run, faults.step(run) + 6, *supervisors)  # no worker takes a step alone
    supervisors[1].send_signal(signal.SIGTERM)
    chief_errors, other_errors = said = [faults.finish(process, 130) for process in supervisors]
    assert "the training was killed by SIGKILL; restarting it" in other_errors
    assert "error: a worker was lost" in chief_errors
    assert "restart all workers to continue, or use --supervise" in chief_errors
    assert "the training has lost another worker; restarting it" in chief_errors
    assert "resuming at step" in chief_errors
    assert all(f"stopped after step {faults.step(run)} of 42" in errors for errors in said)
    for process in both(tmp_path / "run.yaml"):
        faults.finish(process)
    faults.assert_same(undisturbed, run)


@pytest.mark.soak  # the supervised test has the same sentences
def test_without_a_supervisor_the_other_says_what_to_do(tmp_path):
    processes = pair(tmp_path)
    faults.wait_for_step(tmp_path / "run", 6, *processes)
    faults.kill(processes[0])
    errors = faults.finish(processes[1], 75)
    assert "error: a worker was lost" in errors
    assert "restart all workers to continue, or use --supervise" in errors


def test_a_worker_that_never_comes_is_named(tmp_path):
    run_file = tiny.write_run_file(tmp_path, **OPTIONS)
    one, two = free_ports(2)
    workers = f"127.0.0.1:{one},127.0.0.1:{two}"
    began = time.monotonic()
    chief = faults.start(run_file, "--workers", workers, "--index", 0, "--wait", 2)
    errors = faults.finish(chief, 2)
    assert f"error: worker 1 (127.0.0.1:{two}) did not connect; start it, and check that it reaches" in errors
    with pytest.raises(UserError, match=f"^the chief, 127.0.0.1:{one}, did not answer"):
        train(run_file, cluster=Cluster(tuple(workers.split(",")), 1), wait=2)
    assert time.monotonic() - began < 60
    assert not (tmp_path / "run").exists()


def test_workers_of_different_runs_are_told_apart():
    import threading

    workers = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    messages = []

    def come(index, identity):
        try:
            rendezvous(Cluster(workers, index), identity, seconds=10)
        except UserError as error:
            messages.append(str(error))

    threads = [
        threading.Thread(target=come, args=(0, "checkpoint: aa\ndata.train: bb")),
        threading.Thread(target=come, args=(1, "checkpoint: aa\ndata.train: cc")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(messages) == 2
    for message in messages:
        assert "worker 1 has a different data.train (cc) from the chief (bb)" in message


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        workers = (f"127.0.0.1:{port}", "127.0.0.1:9")
        with pytest.raises(UserError, match=f"port {port} of this worker .* can't be used"):
            rendezvous(Cluster(workers, 0), "x", seconds=2)


CLUSTER = {"worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{worker", "TF_CONFIG is not JSON"),
        (json.dumps({"cluster": CLUSTER}), 'TF_CONFIG needs "cluster" and "task"'),
        (
            json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
            r"TF_CONFIG names worker 2, but its cluster has only 2 workers",
        ),
        (
            json.dumps({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}),
            r"TF_CONFIG names the task .*chief.*, but its cluster has only 2 workers",
        ),
        (
            json.dumps({"cluster": {**CLUSTER, "ps": ["c:3"]}, "task": {"type": "worker", "index": 0}}),
            'TF_CONFIG has the job "ps"',
        ),
        (
            json.dumps({"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}),
            'TF_CONFIG: "a" is not host:port',
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}),
            'TF_CONFIG names "a:1" twice',
        ),
    ],
)
def test_a_tf_config_that_cannot_be_used(value, message):
    with pytest.raises(UserError, match=message):
        find_cluster(environment={"TF_CONFIG": value})


def test_a_chief_comes_first_and_workers_count_after_it():
    settings = {
        "cluster": {"chief": ["c:1"], "worker": ["a:1", "b:2"]},
        "task": {"type": "worker", "index": 1},
    }
    cluster = find_cluster(environment={"TF_CONFIG": json.dumps(settings)})
    assert cluster == Cluster(("c:1", "a:1", "b:2"), 2)
    assert not cluster.is_chief
    assert find_cluster(environment={}) is None
    assert find_cluster(environment={"TF_CONFIG": "{}"}) is None
    assert find_cluster(["a:1", "b:2"], 0, {}) == Cluster(("a:1", "b:2"), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "tpu"}, r"^training\.strategy is tpu, but no TPU answers"),
        ({"strategy": "multi_worker"}, r"^training\.strategy is multi_worker, but no workers are given"),
        (
            {"batch_size": 15, "accumulation": 2},
            r"^training\.batch_size is 15, which does not divide among",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(tmp_path, settings, message):
    run_file = tiny.write_run_file(tmp_path, **settings)
    with pytest.raises(UserError, match=message) as caught:
        train(run_file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
