"""Reads the rows of a run from its data files, once and one after another, and stores them in files
(:class:`Rows`).
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

import numpy as np

from tfpipeline.console import plural, say
from tfpipeline.data.examples import Example, Rows, Spool
from tfpipeline.data.readers import read_records
from tfpipeline.data.records import Record, parse_float, require_value, shortened
from tfpipeline.data.row_errors import RowErrors
from tfpipeline.data.splits import split_rows
from tfpipeline.errors import UserError

if TYPE_CHECKING:
    from tfpipeline.data.options import DataOptions

_LARGEST_WEIGHT, _SMALLEST_WEIGHT = (
    float(limit) for limit in (np.finfo(np.float32).max, np.finfo(np.float32).tiny)
)
# Advice about rows of other splits that belong together with training rows.
_TOGETHER = "put all rows of one into the same file"
_BY = "leave data.split.by out to keep them together"
_OTHERS = "add rows with another {}"


class _Labels:
    """The labels of rows, any number per row, numbered in the order of first occurrence."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._found, self._counts = array("i"), array("i")

    def append(self, labels: Collection[Hashable]) -> None:
        for label in labels:
            self._found.append(self._numbers.setdefault(label, len(self._numbers)))
        self._counts.append(len(labels))

    def rarest(self) -> np.ndarray:
        """Each row's rarest label, int64 [N]; rows without labels share a number. Splitting by it preserves
        rare labels.
        """
        labels, counts = self._arrays()
        rarest = np.full(len(counts), len(self._numbers), np.int64)
        if len(labels) == len(counts) and (counts == 1).all():
            rarest[:] = labels
        elif len(labels):
            rows = np.repeat(np.arange(len(counts)), counts)
            order = np.lexsort((labels, np.bincount(labels)[labels], rows))
            _, first = np.unique(rows[order], return_index=True)
            rarest[rows[order][first]] = labels[order][first]
        return rarest

    def keep(self, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Move rows with a label that no training row has to the training rows."""
        all_labels, counts = self._arrays()
        rows, ends = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts)
        trains = np.zeros(len(counts), bool)
        trains[parts["train"]] = True
        missing = np.ones(len(self._numbers), bool)
        missing[all_labels[trains[rows]]] = False
        if not missing.any():
            return parts
        moved = []
        for row in np.unique(rows[missing[all_labels]]):
            labels = all_labels[ends[row] - counts[row] : ends[row]]
            if missing[labels].any():
                missing[labels] = False
                moved.append(row)
        kept = {name: np.setdiff1d(part, moved) for name, part in parts.items()}
        return {**kept, "train": np.union1d(parts["train"], np.array(moved, np.int64))}

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.frombuffer(self._found, np.int32), np.frombuffer(self._counts, np.int32)


@dataclass(frozen=True)
class _Plan:
    """The settings for reading the files of a run.

    Attributes:
        options: the ``data`` section.
        columns: the columns that the task reads; None: it reads ``Example.label``.
        strata: a row's labels.
        together: roles of columns (``group``, ``text_pair``); rows with an equal value should stay in one
            split.
        folder: the folder for the rows, if there are many.
        prepare: converts each row before it is stored.
        errors: collects the errors of rows that cannot be used.
    """

    options: DataOptions
    columns: Optional[Sequence[str]]
    strata: Callable[[Example], Collection[Hashable]]
    together: Sequence[str]
    folder: Optional[Path]
    prepare: Optional[Callable[[Example], Example]]
    errors: RowErrors


class _File:
    """A data file's rows, and the values of each row that splitting needs."""

    def __init__(self, path: Union[str, Path], plan: _Plan) -> None:
        options, errors = plan.options, plan.errors
        roles = {role: getattr(options, role) for role in ("text", "text_pair", "label", "weight", "group")}
        if plan.columns is not None:
            roles["label"] = None
        targets = plan.columns or ()
        named = [*(name for name in roles.values() if name is not None), *targets]
        # An invalid weight has an error message of its own.
        valued = [name for name in named if name != roles["weight"] or name in targets]
        spool = Spool(plan.folder)
        self.labels = _Labels()
        groups = {role: array("Q") for role in plan.together}
        counts, keys = array("b"), array("Q")
        blank, first, before = 0, "", errors.count
        for record in read_records(path, named, options.file_options, errors.add):
            try:
                for name in valued:
                    require_value(record, name)
                example = _example(record, roles, targets)
                if plan.prepare is not None:
                    example = plan.prepare(example)
                labels = plan.strata(example)
            except UserError as error:
                errors.add(error)
                continue
            spool.append(example)
            self.labels.append(labels)
            for role, group_keys in groups.items():
                group_keys.append(folded_key(getattr(example, role) or ""))
            counts.append(example.weight > 0)
            keys.append(text_key(example))
            if not example.joined_text.strip():
                blank, first = blank + 1, first or example.place or f"line {example.line}"
        self.rows = spool.rows()
        self.groups = {role: np.frombuffer(group_keys, np.uint64) for role, group_keys in groups.items()}
        self.counts, self.keys = np.frombuffer(counts, np.bool_), np.frombuffer(keys, np.uint64)
        if not len(self.rows) and errors.count == before:
            raise UserError(f"{path}: the file has no rows; expected at least one")
        if blank:
            have, where = plural(blank, "row has", "rows have"), plural(blank, "in", "the first in")
            rows = f"{blank} {have} no text, {where} {first}"
            say(f"warning: {path}: {rows}; kept as {plural(blank, 'an empty text', 'empty texts')}")


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
        columns: the columns that the task reads from ``Example.columns``; None: it reads ``Example.label``.
        folder: the folder for the rows, if there are many; see :class:`Spool`.
        prepare: converts each row before it is stored.
    Raises:
        UserError: unreadable file, missing column, no rows, rows that cannot be used (the first ten of them);
            with file and line.
    """
    plan = _Plan(options, columns, _own_label, (), folder, prepare, RowErrors())
    file = _File(path, plan)
    plan.errors.check()
    return file.rows


def load_splits(
    options: DataOptions,
    strata: Optional[Callable[[Example], Collection[Hashable]]] = None,
    folder: Optional[Path] = None,
    *,
    columns: Optional[Sequence[str]] = None,
    prepare: Optional[Callable[[Example], Example]] = None,
    together: Optional[str] = None,
) -> dict[str, Rows]:
    """Load the rows to train, validate and test on, each split in the order of its file.

    A split without a file of its own is taken from the training file. Texts and groups that occur both in the
    training rows and in another split are counted in a warning, because scores on them are optimistic.

    Args:
        options: the ``data`` section.
        strata: returns a row's labels; by default the label of the label column. A stratified split keeps the
            rarest of them in proportion. Unless the split is by groups, the training rows have every label.
        folder: the folder for the rows, if there are many; see :class:`Spool`.
        columns: the columns that the task reads from ``Example.columns``; None: it reads ``Example.label``.
        prepare: converts each row before it is stored.
        together: a field of :class:`Example`, such as ``text_pair``; rows with an equal value stay in one
            split unless the run file says otherwise. None: no such field.
    Returns:
        "train", "validation" and "test"; "test" may be empty.
    Raises:
        UserError: as in :func:`read_data_file`; or no rows are left for training or validation.
    """
    roles = [role for role in ("group", together) if role is not None and getattr(options, role)]
    if together is not None and options.group == getattr(options, together):
        roles = roles[:1]
    plan = _Plan(options, columns, strata or _own_label, roles, folder, prepare, RowErrors())
    paths = {name: getattr(options, name) for name in ("validation", "test")}
    files = {name: _File(path, plan) for name, path in {"train": options.train, **paths}.items() if path}
    plan.errors.check()
    file, split = files["train"], options.split
    fractions = {name: 0.0 if name in files else getattr(split, name) for name in paths}
    groups = _numbered(file.groups[roles[0]]) if roles else np.zeros(len(file.rows), np.int64)
    by = split.by or _default_split(options, roles, groups, 1 + sum(map(bool, fractions.values())))
    parts = split_rows(
        len(file.rows),
        fractions,
        split.seed,
        strata=file.labels.rarest() if by == "stratified" else None,
        groups=groups if by == "group" else None,
    )
    if by != "group":
        parts = file.labels.keep(parts)
    splits = {name: file.rows.take(parts[name]) for name in ("train", *fractions)}
    counts = {name: file.counts[parts[name]] for name in splits}
    for name in splits.keys() & files.keys() - {"train"}:
        splits[name], counts[name] = files[name].rows, files[name].counts
    for name in splits:
        if not len(splits[name]) and (name == "train" or fractions[name]):
            count, unit = (len(np.unique(groups)), "group") if by == "group" else (len(file.rows), "row")
            raise UserError(
                f"{options.train}: of its {count} {plural(count, unit)} none is left for the {name} part; "
                f"add rows, change data.split, or name files in data.validation and data.test"
            )
    for name, counted in counts.items():
        if len(counted) and not counted.any():
            what = "training" if name == "train" else name
            path = getattr(options, name) or options.train
            raise UserError(f"{path}: no {what} row has a weight above 0; check the column {options.weight}")
    for name in fractions:
        own = name in files
        for role in (None, *roles):
            keys = {part: found.keys if role is None else found.groups[role] for part, found in files.items()}
            known, asked = keys["train"][parts["train"]], keys[name] if own else keys["train"][parts[name]]
            shared = int(np.isin(asked, known).sum())
            if shared:
                what, advice = "a text that is also in the training rows", ""
                if role is not None:
                    column = shortened(getattr(options, role))
                    what = f"the {column} of a training row"
                    advice = f"; {_TOGETHER if own else _BY if split.by else _OTHERS.format(column)}"
                say(
                    f"warning: {shared} of {len(asked)} {name} rows {plural(shared, 'has', 'have')} {what}, "
                    f"so {name} scores will be optimistic{advice}"
                )
    return splits


def _default_split(options: DataOptions, roles: Sequence[str], groups: np.ndarray, wanted: int) -> str:
    """How rows are split if the run file does not specify it."""
    if not roles:
        return "stratified"
    # The task's field is ignored if the values cannot be divided: all questions may be about one context.
    return "group" if options.group or len(np.unique(groups)) >= wanted else "stratified"


def _numbered(keys: np.ndarray) -> np.ndarray:
    """Number keys in the order of first occurrence, int64 [N]."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _own_label(example: Example) -> Collection[Hashable]:
    return () if example.label is None else (example.label,)


def text_key(example: Example) -> int:
    """A hash that ignores case and white space; different texts hardly ever share it."""
    return folded_key(example.text, example.text_pair or "")


def folded_key(*texts: str) -> int:
    """A hash that ignores case and white space; different texts hardly ever share it."""
    folded = [" ".join(text.lower().split()) for text in texts]
    digest = hashlib.blake2b("\0".join(folded).encode("utf-8", "surrogatepass"), digest_size=8).digest()
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
    weight = parse_float(cell)
    if not (math.isfinite(weight) and weight >= 0):
        reason = "a weight is a number of at least 0"
    elif weight > _LARGEST_WEIGHT or 0 < weight < _SMALLEST_WEIGHT:
        reason = (
            f"a weight is 0, or from {_SMALLEST_WEIGHT:.0e} to {_LARGEST_WEIGHT:.0e}"  # the loss has 32 bits
        )
    else:
        return weight
    raise UserError(f'{record.source}: the column "{column}" holds "{shortened(cell) or cell}"; {reason}')
