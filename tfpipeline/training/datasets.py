"""Writes a program's own ``tf.data`` datasets to data files for a run."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.console import progress
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.files import temporary_folder

SPLITS = ("train", "validation", "test")


def write_datasets(
    datasets: Mapping[str, tf.data.Dataset], folder: Path, options: DataOptions
) -> dict[str, str]:
    """Write datasets as JSON Lines files, named by a digest of their content. A file that exists is not
    replaced.

    Rows are read once and written one at a time, because a dataset may be larger than memory and its order
    may be random. A dataset with different rows becomes a different data file, so a run is only resumed with
    the rows that it was started with.

    Args:
        datasets: split ("train", optionally "validation" and "test") -> dataset, batched or not. Its elements
            are dicts of the columns that the ``data`` section names, or tuples ``(text, label)`` or ``(text,
            label, weight)`` as in Keras, where a text may be a pair of texts.
        folder: the folder for the files.
        options: the ``data`` section.
    Returns:
        Split -> the path of its file.
    Raises:
        UserError: an element has another form, or the disk is full.
    """
    if not isinstance(datasets, Mapping):
        raise UserError(
            f'data is {type(datasets).__name__}; give a dict of datasets: {{"train": ...}}, perhaps with '
            f'"validation" and "test"'
        )
    unknown = sorted(map(str, set(datasets) - set(SPLITS)))
    if unknown or "train" not in datasets:
        raise UserError(
            f'data: the datasets are called {", ".join(map(str, datasets)) or "nothing"}; give "train", and '
            f'perhaps "validation" '
            'and "test"'
        )
    return {
        split: str(_write(_rows(dataset, split, options), folder, split))
        for split, dataset in datasets.items()
    }


def _write(rows: Iterable[Mapping[str, str | float]], folder: Path, split: str) -> Path:
    digest = hashlib.sha256()
    with temporary_folder(folder / split) as beside:
        temporary = beside / "rows"
        with temporary.open("wb") as file, progress(f"writing the {split} rows") as bar:
            for row in rows:
                line = json.dumps(row).encode() + b"\n"
                digest.update(line)
                file.write(line)
                bar.advance()
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"{split}-{digest.hexdigest()[:16]}.jsonl"
        if not path.exists():  # otherwise keep its time, which resuming checks first
            os.replace(temporary, path)
        return path


def _rows(dataset: tf.data.Dataset, split: str, options: DataOptions) -> Iterator[dict[str, str | float]]:
    for number, element in enumerate(dataset):
        columns = _columns(element, split, options)
        sizes = {name: np.shape(column) for name, column in columns.items()}
        if any(len(size) > 1 for size in sizes.values()) or len(set(sizes.values())) > 1:
            raise UserError(
                f"data: element {number} of the {split} dataset has columns of the shapes {sizes}; each "
                f"must be a single "
                "value, or all of them batches of one size; write a list of labels as JSON text, or as one "
                "column per label"
            )
        cells = {name: np.atleast_1d(column) for name, column in columns.items()}
        for index in range(len(next(iter(cells.values())))):
            yield {name: _cell(values[index]) for name, values in cells.items()}


def _columns(element: Any, split: str, options: DataOptions) -> dict[str, np.ndarray]:
    if isinstance(element, tuple) and len(element) in (2, 3):
        text, *others = element
        texts = text if isinstance(text, (tuple, list)) else [text]
        if len(texts) == 2 and options.text_pair is None:
            raise UserError(
                f"data: the {split} dataset has pairs of texts, but data.text_pair is null; name it, e.g. "
                f"text_pair"
            )
        names = [options.text, options.text_pair][: len(texts)]
        names += [options.label or "label", options.weight or "weight"][: len(others)]
        if len(others) == 2 and options.weight is None:
            raise UserError(
                f"data: the {split} dataset has weights, but data.weight is null; name it, e.g. weight"
            )
        element = dict(zip(names, [*texts, *others]))
    if not isinstance(element, dict) or not element:
        raise UserError(
            f"data: the {split} dataset has elements of the type {type(element).__name__}; expected dicts "
            f"of columns, or "
            "(text, label) or (text, label, weight)"
        )
    return {name: np.asarray(tensor) for name, tensor in element.items()}


def _cell(value: Any) -> str | float:
    """A cell as a JSON value: NaN and infinities as floats, so that they count as missing; all others as
    text.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, float) and not math.isfinite(value) else str(value)
