"""Files of named tensors: one safetensors, PyTorch or HDF5 file, or shards of them under an index."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.checkpoints.files import read_json
from tfpipeline.checkpoints.table import Shape
from tfpipeline.checkpoints.torch_pickle import StateDict
from tfpipeline.errors import UserError

# Weights are as good as random: what packs much better than this was not made by training.
_MOST_COMPRESSION = 100
# What h5py raises for files that are cut short or whose bytes are wrong.
_H5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


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
        file = safe_open(path, "numpy")  # checks the header, and that all tensors are there
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        kinds = {name: file.get_slice(name).get_dtype() for name in shapes}
        places = _safetensors_places(path)
        flat = np.memmap(path, np.uint8, "r")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); copy it again") from error

    def read(name: str) -> np.ndarray:
        if kinds[name] != "F32":
            tensor: np.ndarray = file.get_tensor(name)
            return tensor
        # The library copies; these go straight from the file to where they are used, a fifth of loading a
        # model.
        return np.asarray(flat[slice(*places[name])]).view("<f4").reshape(shapes[name])

    return Weights(path, shapes, read)


def _safetensors_places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor's bytes lie in a file whose header was checked (the format's description)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def open_state_dict(path: Path) -> Weights:
    """A PyTorch file of weights; nothing in it is executed."""
    state = StateDict(path)
    return Weights(path, state.shapes, state.__getitem__)


def open_shards(index: Path, open_one: Callable[[Path], Weights]) -> Weights:
    """The shards of an index (``*.index.json``: which tensor is in which file).

    Raises:
        UserError: the index is no such file, or shards are missing or do not hold what it says.
    """
    places = _places(index)
    names = _shard_names(index, places.values())
    shards = {name: open_one(index.parent / name) for name in names}
    absent = [f"{name} ({place})" for name, place in places.items() if name not in shards[place].shapes]
    if absent:
        raise UserError(
            f"{index} names tensors that their files lack: {', '.join(absent)}; copy the whole checkpoint"
        )
    shapes = {name: shards[place].shapes[name] for name, place in places.items()}
    return Weights(index, shapes, lambda name: shards[places[name]].read(name))


def open_h5(path: Path) -> Weights:
    """An HDF5 file (Keras's and TensorFlow's ``.h5``); its tensors are read when asked for.

    A name is the path of a dataset through the file's groups. Only what lies in the file itself is read: HDF5
    has links, external storage and virtual datasets, which may lead to any other file of the machine.

    Raises:
        UserError: truncated, damaged, or a part of it lies elsewhere.
    """
    import h5py

    try:
        # No lock: nothing is written, and file systems of clusters often have none.
        file = h5py.File(path, "r", locking=False)
        datasets = _datasets(file, path)
        for name, dataset in datasets.items():
            _check_dataset(dataset, name, path)
        shapes = {name: tuple(dataset.shape) for name, dataset in datasets.items()}
    except UserError:
        raise
    except _H5_ERRORS as error:
        raise UserError(f"{path} is truncated or damaged ({error}); copy it again") from error

    def read(name: str) -> np.ndarray:
        dataset = datasets[name]
        bfloat16 = dataset.dtype == np.dtype("V2") and dataset.attrs.get("dtype") == "bfloat16"
        if dataset.dtype.kind != "f" and not bfloat16:
            raise UserError(
                f"{path}: {name} holds {dataset.dtype}, not floats; the file is not a BERT model's"
            )
        try:
            value: np.ndarray = dataset[()]
        except _H5_ERRORS as error:
            raise UserError(f"{path}: cannot read {name} ({error}); copy the file again") from error
        if bfloat16:  # HDF5 has no such type; Keras stores two bytes and says so
            import ml_dtypes

            return np.asarray(value).view(ml_dtypes.bfloat16)
        return value

    return Weights(path, shapes, read)


def open_h5_shards(index: Path) -> Weights:
    """The HDF5 files that an index names, with all that they hold.

    Keras's index (``model.weights.json``) says which groups are where and that of transformers
    (``tf_model.h5.index.json``) goes by other names than its files, so it is the files that say what they
    hold.

    Raises:
        UserError: as :func:`open_shards`, or two files hold the same tensor.
    """
    places = [
        place
        for entry in _places(index).values()
        for place in (entry if isinstance(entry, list) else [entry])
    ]
    holders: dict[str, Weights] = {}
    for file in _shard_names(index, places):
        shard = open_h5(index.parent / file)
        for name in shard.shapes:
            if name in holders:
                raise UserError(
                    f"{index.parent}: {holders[name].path.name} and {file} both hold {name}; copy the "
                    f"checkpoint again"
                )
            holders[name] = shard
    shapes = {name: shard.shapes[name] for name, shard in holders.items()}
    return Weights(index, shapes, lambda name: holders[name].read(name))


def _places(index: Path) -> dict[str, Any]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f'{index} has no "weight_map"; copy it again from where the checkpoint came from')
    return places


def _shard_names(index: Path, places: Iterable[Any]) -> list[str]:
    """The files that an index names, all of them beside it."""
    names = sorted({str(place) for place in places})
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
    return names


def _datasets(file: Any, path: Path) -> dict[str, Any]:
    """All datasets of an HDF5 file by their paths; no link is followed."""
    import h5py

    datasets = {}
    groups = [("", file)]
    seen = {h5py.h5o.get_info(file.id).addr}  # groups may hold one another
    while groups:
        prefix, group = groups.pop()
        for name in group:
            full = f"{prefix}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UserError(
                    f"{path}: {full} is a link, not a tensor, and may lead out of the file; do not use it"
                )
            item = group[name]
            if isinstance(item, h5py.Dataset):
                datasets[full] = item
                continue
            address = h5py.h5o.get_info(item.id).addr
            if not isinstance(item, h5py.Group) or address in seen:
                raise UserError(f"{path}: {full} is neither a tensor nor a group of its own; do not use it")
            seen.add(address)
            groups.append((f"{full}/", item))
    return dict(sorted(datasets.items()))


def _check_dataset(dataset: Any, name: str, path: Path) -> None:
    """Raise for a dataset whose numbers are elsewhere, or fewer than it declares."""
    if dataset.external or dataset.is_virtual:
        raise UserError(f"{path}: the numbers of {name} lie in another file; do not use it")
    if dataset.shape is None:
        raise UserError(f"{path}: {name} is empty; copy the file again")
    # Space that was never written takes none in the file, and all of it in memory.
    declared = dataset.dtype.itemsize * max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
    held = dataset.id.get_storage_size()
    if declared > held * (_MOST_COMPRESSION if dataset.id.get_create_plist().get_nfilters() else 1):
        raise UserError(
            f"{path}: {name} has the shape {list(dataset.shape)}, but the file holds {held} bytes of it; "
            f"copy it again"
        )
