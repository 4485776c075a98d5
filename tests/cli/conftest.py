from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from tests import tiny
from tfpipeline import cli

PROGRAM = Path(sys.executable).with_name("tfpipeline")


@pytest.fixture(scope="session")
def tfpipeline():
    """Run the command in this process, with no terminal and no standard input.

    Starting TensorFlow takes longer than most commands. :func:`in_a_process` runs the installed program.
    """

    def run(*arguments, cwd=None, input=b"", check=False):  # noqa: A002 - subprocess's own name
        """Arguments and input may be bytes, as the system passes them on."""
        argv = [
            "tfpipeline",
            *(os.fsdecode(one) if isinstance(one, bytes) else str(one) for one in arguments),
        ]
        entered = input.encode() if isinstance(input, str) else input
        streams = {
            "stdin": io.TextIOWrapper(io.BytesIO(entered), "utf-8"),
            "stdout": io.TextIOWrapper(io.BytesIO(), "utf-8"),
            "stderr": io.TextIOWrapper(io.BytesIO(), "utf-8"),
        }
        code = 0
        with (
            mock.patch.multiple(sys, argv=argv, **streams),
            contextlib.chdir(cwd or os.curdir),
        ):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
            for name in ("stdout", "stderr"):
                streams[name].flush()
        out, err = (streams[name].buffer.getvalue().decode() for name in ("stdout", "stderr"))
        done = subprocess.CompletedProcess(argv, code, out, err)
        if check:
            done.check_returncode()
        return done

    return run


@pytest.fixture(scope="session")
def in_a_process():
    """Run the installed program, as a user does, with no terminal and no standard input."""

    def run(*arguments, input=""):  # noqa: A002 - subprocess's own name
        command = [str(PROGRAM), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, input=input, check=False)

    return run


@pytest.fixture(scope="session")
def trained(tfpipeline, in_a_process, shared):
    """A folder in which the whole path up to an export was walked by the commands, and what they said:
    convert, train (as a user runs it), evaluate, export.
    """

    def walk(folder):
        run_file = tiny.write_run_file(folder, train=300, epochs=10)
        outputs = {}
        for name, run, arguments in (
            ("convert", tfpipeline, ["convert", folder / "checkpoint", folder / "google"]),
            ("train", in_a_process, ["train", run_file, "--set", f"checkpoint={folder / 'google'}"]),
            ("evaluate", tfpipeline, ["evaluate", folder / "run"]),
            ("export", tfpipeline, ["export", folder / "run", "--to", folder / "models" / "tiny"]),
        ):
            done = run(*arguments)
            assert done.returncode == 0, done.stderr
            outputs[name] = {"stdout": done.stdout, "stderr": done.stderr}
        (folder / "outputs.json").write_text(json.dumps(outputs))

    folder = shared.folder("path", {}, walk)
    outputs = json.loads((folder / "outputs.json").read_text())
    return folder, {name: SimpleNamespace(**output) for name, output in outputs.items()}
