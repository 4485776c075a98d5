"""The command line: one command for each step from a checkpoint to a prediction.

The commands are the modules of :mod:`tfpipeline.commands`: thin wrappers over plain functions. Nothing heavy
is imported until a command needs it, so ``--help`` is instant and ``predict --target`` works with the base
installation. Results go to standard output, everything else to standard error. Exit codes: 0 success, 2 an
input cannot be used (one sentence says which), 130 interrupted, 75 another worker of the training was lost.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import typer
import typer.core

from tfpipeline import __version__, commands, terminal
from tfpipeline.errors import UserError, explain_missing_extra


@contextlib.contextmanager
def _interruption_named() -> Iterator[None]:
    """Typer itself says nothing when Ctrl-C ends a command."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None


class _Group(typer.core.TyperGroup):
    def make_context(self, *args: Any, **options: Any) -> Any:
        with _interruption_named():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _interruption_named():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    name="tfpipeline",
    help="A BERT checkpoint becomes a served endpoint: convert, train, evaluate, export, serve, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"tfpipeline {__version__}")
        raise typer.Exit


def _add(to: typer.Typer, name: str) -> None:
    """Add a command, or a group with its commands."""
    shown = name.rpartition(".")[2].replace("_", "-")
    inside = commands.group(name)
    if not inside:
        to.command(shown)(commands.find(name))
        return
    group = typer.Typer(cls=_Group, help=commands.help_of(name), no_args_is_help=True, rich_markup_mode=None)
    for inner in inside:
        _add(group, inner)
    to.add_typer(group, name=shown)


for _name in commands.names():
    _add(app, _name)


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def main() -> None:
    """The ``tfpipeline`` command."""
    from tfpipeline.serving.client import ClientError

    terminal.escape_what_cannot_be_shown()
    try:
        with explain_missing_extra():
            app(prog_name="tfpipeline")
    except (UserError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except UnicodeEncodeError as error:  # output is escaped, so this is the name of a file
        if terminal.is_utf8(sys.getfilesystemencoding()):
            raise
        print(
            f"error: the name {error.object!r} cannot be given to this system, whose file names are "
            f"{sys.getfilesystemencoding()} (LC_ALL, LANG, PYTHONUTF8); set PYTHONUTF8=1",
            file=sys.stderr,
        )
        sys.exit(2)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        sys.stderr.close()
        sys.exit(0)
