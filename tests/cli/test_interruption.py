"""Ctrl-C: one word and exit code 130, whatever the program is doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tfpipeline import cli, predictors

# Ctrl-C at the import of this module, which the program makes before it knows the command.
DURING_IMPORT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what runs in the background
class CtrlC:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, CtrlC())
from tfpipeline.__main__ import main
sys.argv = ["tfpipeline", "--version"]
main()
"""


@pytest.mark.parametrize("module", ["typer", "tfpipeline.commands.train", "tfpipeline.serving.client"])
def test_during_the_import_of_the_command_line(module):
    command = [sys.executable, "-c", DURING_IMPORT.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "name"), [(cli._Group, "parse_args"), (predictors, "open_local")], ids=["arguments", "command"]
)
def test_later(tfpipeline, monkeypatch, where, name):
    monkeypatch.setattr(where, name, interrupt)
    done = tfpipeline("predict", "--from", ".", "text")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_installed_program_starts_there():
    """Where the import is watched, and not in a module that imports the command line first."""
    setup = (Path(__file__).parents[2] / "setup.py").read_text("utf-8")
    assert "tfpipeline = tfpipeline.__main__:main" in setup
