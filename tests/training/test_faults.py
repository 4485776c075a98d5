"""Nothing is lost: killed, stopped and starved runs end as undisturbed ones do."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import tiny
from tests.training import faults
from tfpipeline.errors import UserError
from tfpipeline.training import train

# Dropout on, clipping on, a ragged last batch, a checkpoint at every step.
OPTIONS = {"train": 200, "epochs": 6, "save_every": 1, "log_every": 1}


@pytest.fixture(scope="module")
def whole(undisturbed):
    """The run that nothing happens to."""
    return undisturbed(
        OPTIONS["train"], **{name: value for name, value in OPTIONS.items() if name != "train"}
    ).path


def kill_at_random(folder, whole, times, seed):
    chance = random.Random(seed)
    run_file, run = tiny.write_run_file(folder, **OPTIONS), folder / "run"
    total = faults.step(whole)
    kills = 0
    while kills < times:
        process = faults.start(run_file)
        done = faults.step(run)
        # Anywhere between its first step and its last, in the midst of a step or of a checkpoint.
        wanted = chance.randint(done + 1, max(done + 1, total - 2 * (times - kills)))
        faults.wait_for_step(run, wanted, process)
        time.sleep(chance.random() * 0.05)
        faults.kill(process)
        assert process.returncode == -signal.SIGKILL, f"seed {seed}: it ended before it was killed"
        kills += 1
    errors = faults.finish(faults.start(run_file))
    assert "resuming at step" in errors
    faults.assert_same(whole, run)
    assert not faults.has_temporaries(run)


def test_killed(whole, tmp_path):
    kill_at_random(tmp_path, whole, 1, seed=time.time_ns())


@pytest.mark.soak
def test_killed_twenty_times(whole, tmp_path):
    kill_at_random(tmp_path, whole, 20, seed=time.time_ns())


def test_asked_to_stop_it_saves_and_says_how_to_go_on(whole, tmp_path):
    """Twice, by each signal, and then trained to the end."""
    run_file, run = tiny.write_run_file(tmp_path, **OPTIONS), tmp_path / "run"
    for number in (signal.SIGTERM, signal.SIGINT):
        process = faults.start(run_file)
        faults.wait_for_step(run, faults.step(run) + 5, process)
        process.send_signal(number)
        errors = faults.finish(process, 130)
        assert "finishing this step and saving" in errors
        assert f"stopped after step {faults.step(run)} of" in errors
        assert "run the same command again to continue" in errors
        assert not faults.has_temporaries(run)
    train(run_file)
    faults.assert_same(whole, run)


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stays(whole, tmp_path):
    """On a disk of its own that keeps every checkpoint; given more room, the run goes on."""
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    run_file = tiny.write_run_file(tmp_path, **OPTIONS)
    disk = tmp_path / "disk"
    disk.mkdir()
    again = f"{sys.executable} -m tfpipeline train {run_file} --set output={disk}/run --set training.keep=100"
    script = f"""
        mount -t tmpfs -o size=1500k tmpfs {disk}
        {again}; echo "exit $?"
        ls -a {disk}/run/checkpoints
        mount -o remount,size=50m {disk}
        {again}; echo "exit $?"
        cp -r {disk}/run {tmp_path}/kept
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=faults.ENVIRONMENT,
        check=True,
        timeout=180,
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("exit")] == ["exit 2", "exit 0"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "cannot write" in errors[0]
    assert "No space left on device" in errors[0]
    assert "free some space and run the command again" in errors[0]
    assert ".tmp-" not in done.stdout
    assert "Traceback" not in done.stderr
    faults.assert_same(whole, tmp_path / "kept")


def test_a_loss_that_is_no_number_names_step_rows_and_rate(tiny_run, undisturbed, monkeypatch):
    """From the fifth step on; the last good checkpoint, of step 4, can be gone on from."""
    from tfpipeline.training import step

    real = step.TrainStep.many

    def broken(self, batches, number, **options):
        if number >= 4:
            batches = [{**batch, step.WEIGHTS: batch[step.WEIGHTS] * np.inf} for batch in batches]
        return real(self, batches, number, **options)

    run_config = tiny_run("b", epochs=1, save_every=2)
    with monkeypatch.context() as patched:
        patched.setattr(step.TrainStep, "many", broken)
        with pytest.raises(UserError) as caught:
            train(run_config)
    message = str(caught.value)
    assert message.startswith("step 5: the loss is nan")
    assert "at the learning rate 0.005" in message
    assert message.count("train.csv:") == 5
    assert "and 11 more" in message
    assert f"the checkpoint of step 4 is kept in {run_config.output}" in message
    resumed = train(run_config)
    faults.assert_same(undisturbed(epochs=1).path, resumed.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: tiny.write_csv(folder / "train.csv", tiny.texts(119, seed=1)),
            r"data\.train: .* has changed since",
        ),
        (
            lambda folder: (
                shutil.rmtree(folder / "checkpoint"),
                tiny.write_checkpoint(folder / "checkpoint", seed=5, num_hidden_layers=1),
            ),
            r"checkpoint: .*/model\.safetensors has changed since",
        ),
    ],
    ids=["data", "model"],
)
def test_other_data_or_another_model_do_not_go_on_with_a_run(tiny_run, tmp_path, change, message):
    run_config = tiny_run(epochs=1)
    train(run_config)
    change(tmp_path / "a")
    with pytest.raises(UserError, match=message):
        train(run_config)
