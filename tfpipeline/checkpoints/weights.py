"""Files of named tensors: one safetensors or PyTorch file, or shards of them under an index."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfpipeline.checkpoints.files import read_json
from tfpipeline.checkpoints.table import Shape
from tfpipeline.checkpoints.torch_pickle import StateDict
from tfpipeline.errors import UserError


@dataclasses.dataclass(frozen=True)
class Weights:
    """Named tensors of one file, or of several.

    Attributes:
        path: the file, or the index of the shards.
        shapes: name -> shape, of all tensors.
        read: one tensor by its name, as the file holds it.
    """

    path: Path
    shapes: dict[str, Shape]
    read: Callable[[str], np.ndarray]


def open_safetensors(path: Path) -> Weights:
    """A safetensors file; its tensors are read when asked for.

    Raises:
        UserError: truncated, damaged, or not there.
    """
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, "numpy")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); copy it again") from error
    return Weights(path, shapes, file.get_tensor)


def open_state_dict(path: Path) -> Weights:
    """A PyTorch file of weights; nothing in it is executed."""
    state = StateDict(path)
    return Weights(path, state.shapes, state.__getitem__)


def open_shards(index: Path, open_one: Callable[[Path], Weights]) -> Weights:
    """The shards of an index (``*.index.json``: which tensor is in which file).

    Raises:
        UserError: the index is no such file, or shards are missing or do not hold what it says.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f'{index} has no "weight_map"; copy it again from where the checkpoint came from')
    names = sorted({str(place) for place in places.values()})
    strange = [name for name in names if Path(name).name != name]
    if strange:
        raise UserError(
            f'{index} names a file outside its folder, "{strange[0]}"; do not use this checkpoint'
        )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise UserError(
            f"{index.parent} lacks {', '.join(missing)}, which {index.name} names; copy the whole checkpoint"
        )
    shards = {name: open_one(index.parent / name) for name in names}
    absent = [f"{name} ({place})" for name, place in places.items() if name not in shards[place].shapes]
    if absent:
        raise UserError(
            f"{index} names tensors that their files lack: {', '.join(absent)}; copy the whole checkpoint"
        )
    shapes = {name: shards[place].shapes[name] for name, place in places.items()}
    return Weights(index, shapes, lambda name: shards[places[name]].read(name))
