"""Rows as tasks see them: the cells that the run file names, by their role."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

import numpy as np

from tfpipeline.console import say
from tfpipeline.data.readers import read_records
from tfpipeline.data.records import Record, read_lines
from tfpipeline.data.splits import split_rows
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file

if TYPE_CHECKING:
    from tfpipeline.data.options import DataOptions


@dataclass(frozen=True)
class Example:
    """One row of a data set.

    Attributes:
        text: the text; it may be empty.
        text_pair: the second text, for tasks about two.
        label: without the white space around it; None where the cell is blank or the run file names no column.
        weight: at least 0, finite.
        group: what must not stand in two parts of a split.
        columns: the row's other cells by column name, for tasks that read more than one label.
        file: where the row comes from, as the user named it.
        line: of that file, from 1.
    """

    text: str
    text_pair: Optional[str] = None
    label: Optional[str] = None
    weight: float = 1.0
    group: Optional[str] = None
    columns: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    line: int = 0

    @property
    def source(self) -> str:
        """``file:line``, for messages."""
        return f"{self.file}:{self.line}"

    @property
    def joined_text(self) -> str:
        """Both texts as one, for models that know no pairs."""
        return self.text if self.text_pair is None else f"{self.text} {self.text_pair}"


def read_data_file(path: Union[str, Path], options: DataOptions) -> list[Example]:
    """Read one data file, its columns as the run file names them.

    Raises:
        UserError: unreadable file, broken row, missing column, weight that is none, no rows; with file and line.
    """
    roles = {role: getattr(options, role) for role in ("text", "text_pair", "label", "weight", "group")}
    named = [name for name in roles.values() if name is not None]
    examples = [_example(record, roles) for record in read_records(path, named)]
    if not examples:
        raise UserError(f"{path}: the file has no rows; expected at least one")
    blank = [example for example in examples if not example.joined_text.strip()]
    if blank:
        rows = "1 row has" if len(blank) == 1 else f"{len(blank)} rows have"
        say(f"warning: {path}: {rows} no text, the first in line {blank[0].line}; kept as empty texts")
    return examples


def load_splits(
    options: DataOptions, stratum: Optional[Callable[[Example], Hashable]] = None
) -> dict[str, list[Example]]:
    """The rows to train, validate and test on, each part in the order of its file.

    What has no file of its own is split off the training file. Texts that stand in the training part and in
    another one are counted and warned about: scores on them say little.

    Args:
        options: the ``data`` section.
        stratum: what a stratified split keeps in proportion; by default the label.
    Returns:
        "train", "validation" and "test"; "test" may be empty.
    Raises:
        UserError: as :func:`read_data_file`; or no rows are left for training or validation.
    """
    rows = read_data_file(options.train, options)
    split = options.split
    fractions = {
        "validation": 0.0 if options.validation else split.validation,
        "test": 0.0 if options.test else split.test,
    }
    strata = groups = None
    if split.by == "stratified":
        strata = [stratum(row) if stratum else row.label for row in rows]
    elif split.by == "group":
        groups = [row.group for row in rows]
    parts = split_rows(len(rows), fractions, split.seed, strata=strata, groups=groups)
    splits = {name: [rows[index] for index in parts[name]] for name in ("train", *fractions)}
    for name in fractions:
        path = getattr(options, name)
        if path:
            splits[name] = read_data_file(path, options)
    for name in splits:
        if not splits[name] and (name == "train" or fractions[name]):
            found = f"{len(set(groups))} groups" if groups else f"{len(rows)} rows"
            raise UserError(
                f"{options.train}: none of its {found} is left for the {name} part; add rows, change data.split, "
                f"or name files in data.validation and data.test"
            )
    if not any(row.weight for row in splits["train"]):
        raise UserError(
            f"{options.train}: no training row has a weight above 0; check the column {options.weight}"
        )
    _warn_shared(splits)
    return splits


def write_examples(path: Union[str, Path], examples: Sequence[Example]) -> None:
    """Write examples as JSON lines, atomically; :func:`read_examples` reads equal ones."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for example in examples:
            # Escaped, so that any string survives; what is default is left out.
            row = {name: value for name, value in vars(example).items() if value not in (None, {})}
            file.write(json.dumps(row) + "\n")


def read_examples(path: Union[str, Path]) -> list[Example]:
    """Read what :func:`write_examples` wrote.

    Raises:
        UserError: unreadable, or a line that was not written by it; names the line.
    """
    examples = []
    for number, line in enumerate(read_lines(Path(path)), 1):
        try:
            examples.append(Example(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}:{number}: not a row of a run ({error}); was the file changed?"
            ) from error
    return examples


def _example(record: Record, roles: Mapping[str, Optional[str]]) -> Example:
    cells = record.columns
    value = {role: None if name is None else cells[name] for role, name in roles.items()}
    used = set(roles.values())
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
    )


def _weight(cell: str, record: Record, column: str) -> float:
    try:
        weight = float(cell)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise UserError(
            f'{record.source}: the column "{column}" holds "{cell}"; a weight is a number of at least 0'
        )
    return weight


def _warn_shared(splits: Mapping[str, Sequence[Example]]) -> None:
    def key(example: Example) -> tuple[str, str]:
        return " ".join(example.text.lower().split()), " ".join((example.text_pair or "").lower().split())

    known = {key(example) for example in splits["train"]}
    for name in ("validation", "test"):
        shared = np.count_nonzero([key(example) in known for example in splits[name]])
        if shared:
            say(
                f"warning: {shared} of {len(splits[name])} {name} rows have a text that is also in the training rows; "
                f"{name} scores are too good by them"
            )
