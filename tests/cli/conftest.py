from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

PROGRAM = Path(sys.executable).with_name("tfpipeline")


@pytest.fixture(scope="session")
def tfpipeline():
    """Run the command in a process of its own, as a user does, with no terminal and no standard input."""

    def run(*arguments, cwd=None, input="", check=False):  # noqa: A002 - subprocess's own name
        command = [str(PROGRAM), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, input=input, check=check)

    return run


@pytest.fixture(scope="session")
def trained(tfpipeline, tmp_path_factory):
    """A folder in which the whole path up to an export was walked by the commands: convert, train, export."""
    folder = tmp_path_factory.mktemp("path")
    run_file = tiny.write_run_file(folder, train=300, epochs=10)
    outputs = {}
    for name, arguments in {
        "convert": ["convert", folder / "checkpoint", folder / "google"],
        "train": ["train", run_file, "--set", f"checkpoint={folder / 'google'}"],
        "evaluate": ["evaluate", folder / "run"],
        "export": ["export", folder / "run", "--to", folder / "models" / "tiny"],
    }.items():
        outputs[name] = tfpipeline(*arguments)
        assert outputs[name].returncode == 0, outputs[name].stderr
    return folder, outputs
