"""A command is a module that is found by its name."""

from __future__ import annotations

from pathlib import Path

from typer.main import get_command

from tfpipeline import commands
from tfpipeline.cli import app


def test_every_module_without_an_underscore_is_a_command():
    folder = Path(commands.__file__).parent
    files = {path.stem for path in folder.glob("[!_]*.py")}
    groups = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert files | groups == set(commands.names())
    known = get_command(app).commands
    assert {name.replace("_", "-") for name in files | groups} == set(known)
    for group in groups:
        inside = {path.stem for path in (folder / group).glob("[!_]*.py")}
        assert {f"{group}.{name}" for name in inside} == set(commands.group(group))
        assert inside == set(known[group].commands)


def test_the_road_comes_first_and_in_its_order():
    assert commands.names()[:6] == ["convert", "train", "evaluate", "export", "serve", "predict"]


def test_every_command_says_what_it_does_in_one_sentence():
    every = [inner for name in commands.names() for inner in commands.group(name) or [name]]
    for name in every:
        first = (commands.find(name).__doc__ or "").splitlines()[0]
        assert first.endswith("."), name
