"""Files of named tensors: one safetensors, PyTorch or HDF5 file, or several shards with an index."""

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
from tfpipeline.mapped_files import open_mapped, release_pages

# Trained weights look random: data that compresses much better than this does not come from training.
_MOST_COMPRESSION = 100
# So many bytes of a mapped file may stay in the process's memory.
_MOST_MAPPED = 2**26
# Exceptions of h5py for truncated or corrupt files.
_H5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Named tensors of one or several files.

    Attributes:
        path: the file, or the index of the shards.
        shapes: name -> shape, of all tensors.
        read: reads one tensor by its name, as stored.
    """

    path: Path
    shapes: dict[str, Shape]
    read: Callable[[str], np.ndarray]


def open_safetensors(path: Path) -> Weights:
    """Open a safetensors file; its tensors are read on access.

    Raises:
        UserError: the file is truncated, damaged or missing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, "numpy")  # checks the header, and that the file holds all tensors
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        kinds = {name: file.get_slice(name).get_dtype() for name in shapes}
        places = _safetensors_places(path)
        flat = open_mapped(path, np.uint8)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); copy it again") from error

    mapped = 0

    def read(name: str) -> np.ndarray:
        nonlocal mapped
        if kinds[name] != "F32":
            tensor: np.ndarray = file.get_tensor(name)
            return tensor
        if mapped > _MOST_MAPPED:
            release_pages(flat)
            mapped = 0
        mapped += places[name][1] - places[name][0]
        # The library makes copies. Mapping the file avoids them, which saves a fifth of loading a model.
        return np.asarray(flat[slice(*places[name])]).view("<f4").reshape(shapes[name])

    return Weights(path, shapes, read)


def _safetensors_places(path: Path) -> dict[str, tuple[int, int]]:
    """The byte range of each tensor in a file with a valid header (see the format's description)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def open_state_dict(path: Path) -> Weights:
    """Open a PyTorch file of weights; nothing in it is executed."""
    state = StateDict(path)
    return Weights(path, state.shapes, state.__getitem__)


def open_shards(index: Path, open_one: Callable[[Path], Weights]) -> Weights:
    """Open the shards listed in an index (``*.index.json``, which maps tensors to files).

    Raises:
        UserError: the index is malformed, or shards are missing or lack tensors that it lists.
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
    """Open an HDF5 file (``.h5``, of Keras or TensorFlow); its tensors are read on access.

    A name is the path of a dataset through the file's groups. Only data in the file itself is read: HDF5 has
    links, external storage and virtual datasets, which may refer to any other file on the machine.

    Raises:
        UserError: the file is truncated or damaged, or refers to data outside it.
    """
    import h5py

    try:
        # No lock: nothing is written, and cluster file systems often do not support locks.
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
        if bfloat16:  # HDF5 has no such type; Keras stores two bytes and a marker
            import ml_dtypes

            return np.asarray(value).view(ml_dtypes.bfloat16)
        return value

    return Weights(path, shapes, read)


def open_h5_shards(index: Path) -> Weights:
    """Open the HDF5 files listed in an index, with all of their tensors.

    Keras's index (``model.weights.json``) lists groups, and that of transformers (``tf_model.h5.index.json``)
    uses other names than its files. So tensors are looked up in the files themselves.

    Raises:
        UserError: as for :func:`open_shards`, or two files hold the same tensor.
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
    """The files listed in an index; all must be in its folder."""
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
    """All datasets of an HDF5 file by their paths; links are not followed."""
    import h5py

    datasets = {}
    groups = [("", file)]
    seen = {h5py.h5o.get_info(file.id).addr}  # groups may contain each other
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
    """Raise an error if a dataset's data is in another file, or is smaller than declared."""
    if dataset.external or dataset.is_virtual:
        raise UserError(f"{path}: the numbers of {name} lie in another file; do not use it")
    if dataset.shape is None:
        raise UserError(f"{path}: {name} is empty; copy the file again")
    # Space that was never written takes no room in the file, but its full size in memory.
    declared = dataset.dtype.itemsize * max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
    held = dataset.id.get_storage_size()
    if declared > held * (_MOST_COMPRESSION if dataset.id.get_create_plist().get_nfilters() else 1):
        raise UserError(
            f"{path}: {name} has the shape {list(dataset.shape)}, but the file holds {held} bytes of it; "
            f"copy it again"
        )
