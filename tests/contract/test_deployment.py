"""The files of `serve-config` with a real tensorflow_model_server: flags, readiness, labels, connections."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
import urllib.request

import pytest

from tfpipeline.serving.client import PredictClient
from tfpipeline.serving.deployment import compose, making, server, writing
from tfpipeline.serving.server.run import BINARY
from tfpipeline.serving.server.sockets import free_port

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(shutil.which(BINARY) is None, reason=f"{BINARY} is not on the PATH"),
]
AGE_SECONDS = 1


def test_a_server_with_the_files_of_compose(saved_models, tmp_path):
    for version, plus in ((1, "plus2"), (2, "plus3")):
        shutil.copytree(saved_models / plus, tmp_path / "models" / "half" / str(version))
    ports = {"port": free_port("127.0.0.1", 0), "rest_port": free_port("127.0.0.1", 0)}

    def here(text):
        """What the container would have, in this folder; files are polled faster."""
        for old, new in {
            server.CONFIG_FOLDER: str(tmp_path / "config"),
            '"/models': f'"{tmp_path}/models',
            "poll_wait_seconds=10": "poll_wait_seconds=1",
        }.items():
            text = text.replace(old, new)
        return text

    def written(labels):
        (tmp_path / "models" / "half" / "labels.json").write_text(f'{{"labels": {labels}}}')
        options = {"max_connection_age": AGE_SECONDS, "batching_file": tmp_path / "batching", **ports}
        deployment = making.make_deployment([str(tmp_path / "models")], options)
        writing.write({tmp_path: {name: here(text) for name, text in compose.files(deployment).items()}})
        return compose.project(deployment)["services"]["serving"]

    (tmp_path / "batching").write_text(making.default_batching(cpus=2))
    service = written('{"stable": 1}')
    command = [shutil.which(BINARY), *map(here, service["command"])]
    ready = [here(word) for word in service["healthcheck"]["test"][1:]]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 60
            while subprocess.run(ready, capture_output=True, timeout=10, check=False).returncode:
                assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.2)
            options = {"model": "half"}  # with retries: a call may meet the end of its connection
            with (
                PredictClient(f"127.0.0.1:{ports['port']}", version_label="stable", **options) as stable,
                PredictClient(f"127.0.0.1:{ports['port']}", **options) as newest,
            ):
                assert stable.predict_raw({"x": [4.0]}).outputs["y"].tolist() == [4.0]
                assert newest.predict_raw({"x": [4.0]}).outputs["y"].tolist() == [5.0]
                written('{"stable": 2, "canary": 1}')
                began = time.monotonic()
                answers = []  # each call is answered, though connections end and the label moves
                while not answers or answers[-1] != 5.0 or time.monotonic() < began + 3 * AGE_SECONDS:
                    answers.append(stable.predict_raw({"x": [4.0]}).outputs["y"].item())
                    assert time.monotonic() < deadline
                assert sorted(set(answers)) == [4.0, 5.0]
                assert answers == sorted(answers)
            url = f"http://127.0.0.1:{ports['rest_port']}{server.METRICS_PATH}"
            with urllib.request.urlopen(url, timeout=10) as response:
                assert ":tensorflow:serving:request_count" in response.read().decode()
            # Why the server must not be a container's first process, from which SIGTERM is kept.
            process.terminate()
            assert process.wait(timeout=10) == -signal.SIGTERM
        finally:
            process.kill()
