"""Exports in older releases of TensorFlow: loaded and asked as servers do, in a session: ``make parity``."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="environments for old releases are made in make parity only")

from tests.random_runs import TASKS, random_run
from tfpipeline.export import export_run

TEXTS = ["the food was good", "a bad film , very bad", ""]
_ASK = """
import json, sys
import tensorflow as tf
graph = tf.Graph()
with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1]).signature_def["serving_default"]
    feeds = {signature.inputs["text"].name: json.loads(sys.argv[2])}
    found = session.run(signature.outputs["probabilities"].name, feeds)
print(json.dumps([tf.__version__, found.tolist()]))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    run = random_run(folder, *TASKS["classifier"])
    return export_run(run, folder / "m", target_serving="2.12"), run.predict(run.model(), TEXTS)


@pytest.mark.timeout(1800)  # installing a release takes minutes, much longer on a busy machine
@pytest.mark.parametrize("release", ["2.12", "2.16", "2.20"])
def test_an_older_release_answers_as_this_one(exported, release, tmp_path):
    version, want = exported
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "old"], check=True)
    python = tmp_path / "old" / "bin" / "python"
    wanted = [f"tensorflow-cpu=={release}.*"]
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(
            f"TensorFlow {release} does not install here: {installed.stderr.strip().splitlines()[-1]}"
        )
    asked = subprocess.run(
        [python, "-I", "-c", _ASK, version, json.dumps(TEXTS)], capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr[-2000:]
    found_release, found = json.loads(asked.stdout.splitlines()[-1])
    assert found_release.startswith(f"{release}.")
    np.testing.assert_allclose(found, want["probabilities"], rtol=0, atol=1e-5)
