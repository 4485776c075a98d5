"""Reading a checkpoint of any format, and writing it in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tfpipeline.checkpoints import formats
from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.console import progress
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.files import atomic_directory, write_error


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What a conversion did; ``str`` of it is the report.

    Attributes:
        checkpoint: what was read.
        dest: where it was written.
        to: the format written.
        reused: whether ``dest`` held the same model before.
        notes: what was decided in writing, and why.
    """

    checkpoint: Checkpoint
    dest: Path
    to: str
    reused: bool
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        read = self.checkpoint
        config = read.config
        lines = [
            f"read {read.source} ({read.format}): {len(read.tensors)} tensors, {config.num_hidden_layers} layers, hidden "
            f"size {config.hidden_size}, {config.num_attention_heads} heads, {len(read.vocabulary)} tokens, "
            f"{'uncased' if read.tokenizer.lowercase else 'cased'}"
        ]
        lines += [f"  left out: {name} ({why})" for name, why in read.left_out.items()]
        lines += [f"  note: {note}" for note in (*read.notes, *self.notes)]
        if self.reused:
            lines.append(f"{self.dest} already holds this model; nothing to do")
        else:
            lines.append(f"wrote {self.dest} ({self.to})")
        return "\n".join(lines)


def load(source: str | Path) -> Checkpoint:
    """Read a checkpoint; its format is recognised from its files.

    Args:
        source: a directory, or a file (or a TensorFlow checkpoint's prefix) in one, which is then the one read
            if the directory holds several.
    Raises:
        UserError: nothing is there, or no format is recognised, or the files are broken or do not fit each other.
    """
    given = Path(source)
    try:
        directory = given if given.is_dir() else given.parent
        there = given.exists() or given.with_name(f"{given.name}.index").exists()
    except OSError as error:  # a name too long, a folder that may not be searched
        raise UserError(f"cannot read {source}: {error.strerror}; check the path") from error
    if not there:
        raise UserError(f"{source}: no such checkpoint; give the directory that holds its files")
    found = [module for module in map(formats.find, formats.names()) if module.recognise(directory)]
    if not found:
        known = "; ".join(f"{name}: {formats.find(name).FILES}" for name in formats.names())
        raise UserError(f"{directory} holds no checkpoint that is known here; needed are, for {known}")
    checkpoint: Checkpoint = found[0].read(directory, "" if given == directory else given.name)
    return checkpoint


def convert(
    source: str | Path, dest: str | Path, *, to: str = "google", overwrite: bool = False
) -> Conversion:
    """Write a checkpoint in another format.

    Args:
        source: a checkpoint, see :func:`load`.
        dest: the directory to write; it appears whole or not at all.
        to: the format.
        overwrite: replace ``dest`` if something else is there.
    Returns:
        The report.
    Raises:
        UserError: ``source`` can't be read, ``dest`` is there and holds something else, or can't be written.
    """
    dest = Path(dest)
    written = [name for name in formats.names() if hasattr(formats.find(name), "write")]
    if to not in written:
        raise UserError(f'the format "{to}" can\'t be written{did_you_mean(to, written)}')
    checkpoint = load(source)
    try:
        there = dest.exists() and not (dest.is_dir() and not any(dest.iterdir()))
    except OSError as error:
        raise write_error(dest, error) from error
    if there and not overwrite:
        if _holds(dest, checkpoint, to):
            return Conversion(checkpoint, dest, to, reused=True)
        raise UserError(
            f"{dest} is there and does not hold this model in the format {to}; choose another folder, or --overwrite"
        )
    if there and dest.resolve() in checkpoint.source.resolve().parents:
        raise UserError(f"{source} lies in {dest}, which --overwrite would delete; choose another folder")
    with progress(f"writing {dest}", 1) as bar, atomic_directory(dest, replace=True) as temporary:
        notes = formats.find(to).write(checkpoint, temporary)
        bar.advance(1)
    return Conversion(checkpoint, dest, to, reused=False, notes=notes)


def _holds(dest: Path, checkpoint: Checkpoint, to: str) -> bool:
    if not dest.is_dir():
        return False
    try:
        found = load(dest)
        return found.format == to and found.equals(checkpoint)
    except UserError:  # whatever is there, it is not this model
        return False
