"""The rows of a run from its data files: read once, one after another, then kept in files (:class:`Rows`)."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

import numpy as np

from tfpipeline.console import say
from tfpipeline.data.examples import Example, Rows, Spool
from tfpipeline.data.readers import read_records
from tfpipeline.data.records import Record, number, shortened
from tfpipeline.data.splits import split_rows
from tfpipeline.errors import UserError

if TYPE_CHECKING:
    from tfpipeline.data.options import DataOptions

_LARGEST_WEIGHT, _SMALLEST_WEIGHT = (
    float(limit) for limit in (np.finfo(np.float32).max, np.finfo(np.float32).tiny)
)


class _Codes:
    """Numbers of values, in the order of first sight."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self._found = array("i")

    def append(self, value: Hashable) -> None:
        self._found.append(self.numbers.setdefault(value, len(self.numbers)))

    def array(self) -> np.ndarray:
        return np.frombuffer(self._found, np.int32)


class _Labels:
    """The labels of rows, any number a row, as numbers in the order of first sight."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._found, self._counts = array("i"), array("i")

    def append(self, labels: Collection[Hashable]) -> None:
        for label in labels:
            self._found.append(self._numbers.setdefault(label, len(self._numbers)))
        self._counts.append(len(labels))

    def rarest(self) -> np.ndarray:
        """Each row's rarest label, int64 [N]: what is rare is what a split must see to. One number for rows without."""
        found, counts = self._arrays()
        rarest = np.full(len(counts), len(self._numbers), np.int64)
        if len(found) == len(counts) and (counts == 1).all():
            rarest[:] = found
        elif len(found):
            rows = np.repeat(np.arange(len(counts)), counts)
            order = np.lexsort((found, np.bincount(found)[found], rows))
            _, first = np.unique(rows[order], return_index=True)
            rarest[rows[order][first]] = found[order][first]
        return rarest

    def keep(self, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same parts but for rows with a label that no training row has: they train, what is tested must be learnt."""
        found, counts = self._arrays()
        rows, ends = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts)
        trains = np.zeros(len(counts), bool)
        trains[parts["train"]] = True
        missing = np.ones(len(self._numbers), bool)
        missing[found[trains[rows]]] = False
        if not missing.any():
            return parts
        moved = []
        for row in np.unique(rows[missing[found]]):
            labels = found[ends[row] - counts[row] : ends[row]]
            if missing[labels].any():
                missing[labels] = False
                moved.append(row)
        kept = {name: np.setdiff1d(part, moved) for name, part in parts.items()}
        return {**kept, "train": np.union1d(parts["train"], np.array(moved, np.int64))}

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.frombuffer(self._found, np.int32), np.frombuffer(self._counts, np.int32)


class _File:
    """A data file's rows, and what splitting needs to know of each."""

    def __init__(
        self,
        path: Union[str, Path],
        options: DataOptions,
        columns: Optional[Sequence[str]],
        strata: Callable[[Example], Collection[Hashable]],
        folder: Optional[Path],
        prepare: Optional[Callable[[Example], Example]],
    ) -> None:
        roles = {role: getattr(options, role) for role in ("text", "text_pair", "label", "weight", "group")}
        if columns is not None:
            roles["label"] = None
        targets = columns or ()
        named = [*(name for name in roles.values() if name is not None), *targets]
        spool = Spool(folder)
        self.labels, self.groups = _Labels(), _Codes()
        counts, keys = array("b"), array("Q")
        blank, first = 0, ""
        for record in read_records(path, named):
            example = _example(record, roles, targets)
            if prepare is not None:
                example = prepare(example)
            spool.append(example)
            self.labels.append(strata(example))
            if options.split.by == "group":
                self.groups.append(example.group)
            counts.append(example.weight > 0)
            keys.append(text_key(example))
            if not example.joined_text.strip():
                blank, first = blank + 1, first or example.place or f"line {example.line}"
        self.rows = spool.rows()
        self.counts, self.keys = np.frombuffer(counts, np.bool_), np.frombuffer(keys, np.uint64)
        if not len(self.rows):
            raise UserError(f"{path}: the file has no rows; expected at least one")
        if blank:
            rows = "1 row has" if blank == 1 else f"{blank} rows have"
            say(f"warning: {path}: {rows} no text, the first in {first}; kept as empty texts")


def read_data_file(
    path: Union[str, Path],
    options: DataOptions,
    columns: Optional[Sequence[str]] = None,
    folder: Optional[Path] = None,
    *,
    prepare: Optional[Callable[[Example], Example]] = None,
) -> Rows:
    """Read one data file, its columns as the run file names them.

    Args:
        path: the file.
        options: the ``data`` section.
        columns: those that the task reads from ``Example.columns``; None: it reads ``Example.label``.
        folder: where many rows are kept; see :class:`Spool`.
        prepare: what is made of each row before it is kept.
    Raises:
        UserError: unreadable file, broken row, missing column, weight that is none, no rows; with file and line.
    """
    return _File(path, options, columns, _own_label, folder, prepare).rows


def load_splits(
    options: DataOptions,
    strata: Optional[Callable[[Example], Collection[Hashable]]] = None,
    folder: Optional[Path] = None,
    *,
    columns: Optional[Sequence[str]] = None,
    prepare: Optional[Callable[[Example], Example]] = None,
) -> dict[str, Rows]:
    """The rows to train, validate and test on, each part in the order of its file.

    What has no file of its own is split off the training file. Texts that stand in the training part and in
    another one are counted and warned about: scores on them say little.

    Args:
        options: the ``data`` section.
        strata: a row's labels; by default the one in its label column. A stratified split keeps the rarest of them in
            proportion. What is split off keeps no label from the training rows, unless it is split by groups.
        folder: where many rows are kept; see :class:`Spool`.
        columns: those that the task reads from ``Example.columns``; None: it reads ``Example.label``.
        prepare: what is made of each row before it is kept.
    Returns:
        "train", "validation" and "test"; "test" may be empty.
    Raises:
        UserError: as :func:`read_data_file`; or no rows are left for training or validation.
    """
    strata = strata or _own_label
    file = _File(options.train, options, columns, strata, folder, prepare)
    split = options.split
    fractions = {
        "validation": 0.0 if options.validation else split.validation,
        "test": 0.0 if options.test else split.test,
    }
    parts = split_rows(
        len(file.rows),
        fractions,
        split.seed,
        strata=file.labels.rarest() if split.by == "stratified" else None,
        groups=file.groups.array() if split.by == "group" else None,
    )
    if split.by != "group":
        parts = file.labels.keep(parts)
    splits = {name: file.rows.take(parts[name]) for name in ("train", *fractions)}
    keys = {name: file.keys[parts[name]] for name in splits}
    counts: dict[str, np.ndarray] = {}
    for name in fractions:
        path = getattr(options, name)
        if path:
            own = _File(path, options, columns, strata, folder, prepare)
            splits[name], keys[name], counts[name] = own.rows, own.keys, own.counts
    for name in splits:
        if not len(splits[name]) and (name == "train" or fractions[name]):
            groups = len(file.groups.numbers)
            found = f"{groups} groups" if groups else f"{len(file.rows)} rows"
            raise UserError(
                f"{options.train}: none of its {found} is left for the {name} part; add rows, change data.split, "
                f"or name files in data.validation and data.test"
            )
    counts = {name: file.counts[parts[name]] for name in splits} | counts
    for name, counted in counts.items():
        if len(counted) and not counted.any():
            what = "training" if name == "train" else name
            path = getattr(options, name) or options.train
            raise UserError(f"{path}: no {what} row has a weight above 0; check the column {options.weight}")
    known = np.sort(keys.pop("train"))
    for name in fractions:
        places = np.searchsorted(known, keys[name]).clip(max=len(known) - 1)
        shared = int((known[places] == keys[name]).sum())
        if shared:
            say(
                f"warning: {shared} of {len(keys[name])} {name} rows have a text that is also in the training rows; "
                f"{name} scores are too good by them"
            )
    return splits


def _own_label(example: Example) -> Collection[Hashable]:
    return () if example.label is None else (example.label,)


def text_key(example: Example) -> int:
    """A number that two rows share whose texts are the same but for case and white space, and hardly any others."""
    texts = [" ".join(text.lower().split()) for text in (example.text, example.text_pair or "")]
    digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _example(record: Record, roles: Mapping[str, Optional[str]], targets: Sequence[str]) -> Example:
    cells = record.columns
    value = {role: None if name is None else cells[name] for role, name in roles.items()}
    used = set(roles.values()) - set(targets)
    label, group = value["label"], value["group"]
    if group is not None and not group.strip():
        raise UserError(f'{record.source}: the column "{roles["group"]}" is empty; every row needs its group')
    return Example(
        text=value["text"] or "",
        text_pair=value["text_pair"],
        label=(label or "").strip() or None,
        weight=1.0 if value["weight"] is None else _weight(value["weight"], record, str(roles["weight"])),
        group=group,
        columns={name: cell for name, cell in cells.items() if name not in used},
        file=record.file,
        line=record.line,
        place=record.place,
    )


def _weight(cell: str, record: Record, column: str) -> float:
    weight = number(cell)
    if not (math.isfinite(weight) and weight >= 0):
        reason = "a weight is a number of at least 0"
    elif weight > _LARGEST_WEIGHT or 0 < weight < _SMALLEST_WEIGHT:
        reason = (
            f"a weight is 0, or from {_SMALLEST_WEIGHT:.0e} to {_LARGEST_WEIGHT:.0e}"  # the loss has 32 bits
        )
    else:
        return weight
    raise UserError(f'{record.source}: the column "{column}" holds "{shortened(cell) or cell}"; {reason}')
