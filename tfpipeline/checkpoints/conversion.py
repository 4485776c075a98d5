"""Reads checkpoints of any format, and writes them in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tfpipeline import paths
from tfpipeline.checkpoints import formats
from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.checkpoints.extension import extend
from tfpipeline.checkpoints.sources import locate
from tfpipeline.console import progress
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.files import AppearedError, atomic_directory, write_error
from tfpipeline.mistaken import check_checkpoint, is_run, run_of
from tfpipeline.paths import AnyPath


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The result of a conversion; its ``str`` is the report.

    Attributes:
        checkpoint: the checkpoint that was read.
        dest: the directory that was written.
        to: the format of ``dest``.
        reused: whether ``dest`` already held the same model.
        notes: decisions made in writing, and their reasons.
    """

    checkpoint: Checkpoint
    dest: Path
    to: str
    reused: bool
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        read = self.checkpoint
        lines = [f"read {read}"]
        lines += [f"  left out: {name} ({why})" for name, why in read.left_out.items()]
        lines += [f"  note: {note}" for note in (*read.notes, *self.notes)]
        if self.reused:
            lines.append(f"{self.dest} already holds this model; nothing to do")
        else:
            lines.append(f"wrote {self.dest} ({self.to})")
        return "\n".join(lines)


def load(
    source: AnyPath,
    *,
    gelu: Literal["erf", "tanh"] | None = None,
    format: str | None = None,  # noqa: A002 - what it is called everywhere
) -> Checkpoint:
    """Read a checkpoint.

    Args:
        source: a directory, or a file (or a TensorFlow checkpoint's prefix) in one, which is then the one
            read if the directory holds several; a zip or tar of one; ``hf://org/name``;
            ``gs://bucket/folder``.
        gelu: the meaning of "gelu" in this model, if it differs from the format's usual meaning.
        format: the name of a format, or ``our_company.our_format``, a module of your own; by default the
            format is recognised by its files.
    Raises:
        UserError: there is no checkpoint, its format is not recognised, or the files are damaged or do not
            match.
    """
    check_checkpoint(source)
    named = None if format is None else formats.find(format)
    known = _all_formats() if named is None else [named]
    located = locate(
        source, lambda directory: is_run(directory) or any(one.recognise(directory) for one in known)
    )
    if is_run(located.directory) and not located.name:
        raise UserError(
            f"{located.display_name} holds a run of tfpipeline train; unpack it and give its folder"
        )
    candidates = [module for module in known if module.recognise(located.directory)]
    if located.name:  # it decides, also for weights beside others that come first
        candidates = [
            module for module in known if module.owns(located.directory, located.name)
        ] or candidates
    if not candidates:
        check_checkpoint(source, unread=True)
        needed = "; ".join(f"{formats.name_of(module)}: {module.FILES}" for module in known)
        raise UserError(
            f"{located.display_name} holds no known checkpoint; required files by format: {needed}"
        )
    if len(candidates) > 1:
        several = " and ".join(formats.name_of(module) for module in candidates)
        raise UserError(
            f"{located.display_name} holds checkpoints in several formats ({several}); name the weights' "
            "file to read"
        )
    checkpoint: Checkpoint = candidates[0].read(located.directory, located.name)
    if format is not None:
        checkpoint = dataclasses.replace(checkpoint, format=format)
    if located.display_name != str(located.directory):
        checkpoint = dataclasses.replace(checkpoint, keep=located.keep, display_name=located.display_name)
    if checkpoint.config.type_vocab_size == 1:
        note = "type_vocab_size is 1: the second text of a pair has token type 0, as the first one has"
        checkpoint = dataclasses.replace(checkpoint, notes=[*checkpoint.notes, note])
    return with_gelu(checkpoint, gelu) if gelu else checkpoint


def is_checkpoint(source: AnyPath) -> bool:
    """Whether :func:`load` can read a source: a folder that a format recognises, a file, or a remote
    location.
    """
    if paths.is_far(source):
        return True
    path = paths.local(source)
    return bool(_formats_of(path)) if path.is_dir() else path.exists()


def _all_formats() -> list[Any]:
    return [formats.find(name) for name in formats.names()]


def _formats_of(directory: Path) -> list[Any]:
    return [module for module in _all_formats() if module.recognise(directory)]


def with_gelu(checkpoint: Checkpoint, gelu: str) -> Checkpoint:
    """A copy of a checkpoint with another kind of gelu, "erf" or "tanh".

    Raises:
        UserError: it is neither, or the model has another activation.
    """
    was, now = checkpoint.config.hidden_act, f"gelu_{gelu}"
    if now not in ("gelu_erf", "gelu_tanh"):
        raise UserError(f'gelu is "{gelu}"; it must be erf or tanh')
    if not was.startswith("gelu_"):
        raise UserError(f"{checkpoint.source}: hidden_act is {was}, not a gelu; leave out --gelu")
    return dataclasses.replace(
        checkpoint,
        config=checkpoint.config.replace(hidden_act=now),
        notes=[*checkpoint.notes, f"hidden_act is {now}, as asked for, instead of {was}"],
    )


def convert(
    source: AnyPath,
    dest: AnyPath,
    *,
    to: str = "google",
    overwrite: bool = False,
    gelu: Literal["erf", "tanh"] | None = None,
    positions: int | None = None,
    tokens: Sequence[str] = (),
) -> Conversion:
    """Write a checkpoint in another format.

    Args:
        source: a checkpoint, see :func:`load`.
        dest: the directory to write; it appears whole or not at all.
        to: the format, or ``our_company.our_format``, a module of your own.
        overwrite: replace ``dest`` if something else is there.
        gelu: see :func:`load`.
        positions: extend the model to this number of positions, see :func:`extend`.
        tokens: append these to the vocabulary, see :func:`extend`.
    Returns:
        The report.
    Raises:
        UserError: ``source`` cannot be read, ``dest`` holds something else, or ``dest`` cannot be written.
    """
    checkpoint = extend(load(source, gelu=gelu), positions=positions, tokens=tokens)
    return write(checkpoint, dest, to=to, overwrite=overwrite)


def write(
    checkpoint: Checkpoint, dest: AnyPath, *, to: str = "google", overwrite: bool = False
) -> Conversion:
    """Write a checkpoint that was read; see :func:`convert`."""
    dest = paths.local(dest)
    module: Any = formats.find(to) if "." in to or to in formats.names() else None
    if not hasattr(module, "write"):
        raise UserError(f'the format "{to}" can\'t be written{did_you_mean(to, formats.written())}')
    lost = []
    if checkpoint.sentence is not None and not getattr(module, "KEEPS_SENTENCE_SETTINGS", False):
        lost = [f"the format {to} does not say how a text becomes one vector ({checkpoint.sentence.pooling})"]
        checkpoint = dataclasses.replace(checkpoint, sentence=None)
    run = run_of(dest)
    if run is not None and dest.exists():
        raise UserError(
            f"{dest} is {'a run' if run == dest else f'a part of the run {run}'}; choose another folder"
        )
    try:
        there = dest.exists() and not (dest.is_dir() and not any(dest.iterdir()))
    except OSError as error:
        raise write_error(dest, error) from error
    if there and not overwrite:
        if _holds(dest, checkpoint, to):
            return Conversion(checkpoint, dest, to, reused=True)
        raise UserError(
            f"{dest} is there and does not hold this model in the format {to}; choose another folder, or "
            f"--overwrite"
        )
    source = Path(checkpoint.display_name or checkpoint.source)
    if there and dest.resolve() in source.resolve().parents:
        raise UserError(f"{source} lies in {dest}, which --overwrite would delete; choose another folder")
    try:
        with progress(f"writing {dest}", 1) as bar, atomic_directory(dest, replace=there) as temporary:
            notes = [*lost, *module.write(checkpoint, temporary)]
            bar.advance(1)
    except AppearedError:
        if not _holds(dest, checkpoint, to):
            raise
        return Conversion(checkpoint, dest, to, reused=True)  # another process has converted the same
    return Conversion(checkpoint, dest, to, reused=False, notes=notes)


def _holds(dest: Path, checkpoint: Checkpoint, to: str) -> bool:
    if not dest.is_dir():
        return False
    try:
        existing = load(dest, format=to if "." in to else None)
        return existing.format == to and existing.equals(checkpoint)
    except UserError:  # whatever it is, it is not this model
        return False
