"""TensorFlow's checkpoint files: an index and its data files.

Tensors are named after variables (TensorFlow 1's Saver) or after paths through a tree of objects
(``tf.train.Checkpoint``). In the second case the checkpoint also stores the tree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from tfpipeline.errors import UserError

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the key of the tree


def is_object_based(index: Path) -> Optional[bool]:
    """Whether a checkpoint stores a tree of objects; None if its index cannot be read."""
    try:
        return bool(tf.train.load_checkpoint(str(index.with_suffix(""))).has_tensor(OBJECT_GRAPH))
    except (tf.errors.OpError, ValueError, RuntimeError):
        return None


def holds(directory: Path, object_based: bool) -> bool:
    """Whether a directory holds a checkpoint of this kind."""
    return any(is_object_based(index) is object_based for index in directory.glob("*.index"))


def is_of_kind(directory: Path, name: str, object_based: bool) -> bool:
    """Whether a file or prefix belongs to a checkpoint of this kind."""
    return is_object_based(_index(directory, name)) is object_based


def open_bundle(directory: Path, name: str, default: str, *, object_based: bool) -> tuple[Any, Path]:
    """Open TensorFlow's reader of a checkpoint; also returns the checkpoint's prefix.

    Args:
        directory: with the files.
        name: the prefix or one of the files, if the directory holds several checkpoints.
        default: the prefix that is read if there are several and ``name`` is empty.
        object_based: the kind to read; an index that cannot be read counts as name-based.
    Raises:
        UserError: there is no such checkpoint, or there are several, or a file is missing or damaged.
    """
    indexes = _of_kind(directory, "*.ckpt.index", object_based) or _of_kind(
        directory, "*.index", object_based
    )
    asked = _index(directory, name)
    if asked.exists():
        named = [asked]
    else:
        named = [path for path in indexes if path.name == f"{default}.index"] or indexes
    if not named:
        raise UserError(f"{directory} has no {default}.index; copy the whole checkpoint")
    if len(named) > 1:
        raise UserError(
            f"{directory} holds several checkpoints ({', '.join(path.stem for path in named)}); give the "
            f"path of one"
        )
    prefix = named[0].with_suffix("")
    if not list(directory.glob(f"{prefix.name}.data-*")):
        raise UserError(f"{prefix}.data-00000-of-00001 is missing; copy the whole checkpoint")
    try:
        return tf.train.load_checkpoint(str(prefix)), prefix
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UserError(f"{prefix}.index is truncated or damaged; copy the checkpoint again") from error


def read_tensor(reader: Any, prefix: Path, name: str) -> np.ndarray:
    """A tensor of a checkpoint, as stored.

    Raises:
        UserError: the data is damaged.
    """
    try:
        value: np.ndarray = reader.get_tensor(name)
    # A truncated file raises IndexError; a flipped bit raises DataLossError (RuntimeError in some versions).
    except (tf.errors.OpError, IndexError, RuntimeError) as error:
        raise UserError(
            f"{prefix}: cannot read {name}, a data file is truncated or damaged; copy the checkpoint again"
        ) from error
    return value


def _index(directory: Path, name: str) -> Path:
    """The index that belongs to a file or prefix."""
    return directory / f"{re.sub(r'[.](index|data-[0-9-of]+)$', '', name)}.index"


def _of_kind(directory: Path, pattern: str, object_based: bool) -> list[Path]:
    return [
        index for index in sorted(directory.glob(pattern)) if bool(is_object_based(index)) is object_based
    ]
