"""A command is a module that is found by its name."""

from __future__ import annotations

from pathlib import Path

from typer.main import get_command

from tfpipeline import commands
from tfpipeline.cli import app


def test_every_module_without_an_underscore_is_a_command():
    files = {path.stem for path in Path(commands.__file__).parent.glob("[!_]*.py")}
    assert files == set(commands.names())
    assert {name.replace("_", "-") for name in files} == set(get_command(app).commands)


def test_the_road_comes_first_and_in_its_order():
    assert commands.names()[:6] == ["convert", "train", "evaluate", "export", "serve", "predict"]


def test_every_command_says_what_it_does_in_one_sentence():
    for name in commands.names():
        first = (commands.find(name).__doc__ or "").splitlines()[0]
        assert first.endswith("."), name
