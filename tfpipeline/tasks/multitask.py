"""Several tasks in one model: one encoder, a head for each, every text answered by all of them.

A row trains the heads whose cells it fills; a gap trains none, and a row of gaps alone counts as if it was not there.
The loss of a row is the weighted sum of its heads' losses, and the batch's is the mean over its rows, as for any task:
a head that few rows fill is learnt from fewer.
Outputs, targets, answers and metrics are the heads' own, called ``HEAD/NAME``.
Served answer: each head's, all in one: ``topic/label``, ``topic/probabilities``, ``rating/value`` ...
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from tfpipeline import tasks
from tfpipeline.config import Section, section_by_name
from tfpipeline.console import plural, say
from tfpipeline.data import Example
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.tasks._pooled import in_section
from tfpipeline.tasks.base import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data.options import DataOptions
    from tfpipeline.models import BertConfig

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SHARE = "share"  # the target that says how much a row counts for a head
MEAN = "mean"

_Head = Annotated[SerializeAsAny[Section], section_by_name(tasks.part_schema)]


class MultitaskOptions(Section):
    """The ``task`` section of a run file for several tasks in one model."""

    name: Literal["multitask"] = "multitask"
    heads: dict[str, _Head] = Field(
        min_length=1,
        description="{name: task}: one section per head, written like the `task` section of a run.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="{head: its label column}; default: the head's name. An empty cell means no label for this head.",
    )
    weights: dict[str, float] = Field(
        default_factory=dict, description="{head: weight of its loss}; 1 for heads not named."
    )

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[Section] | None:
        return tasks.part_schema(raw) if field == "heads" else None

    @field_validator("heads", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {head: {"name": task} if isinstance(task, str) else task for head, task in value.items()}

    @model_validator(mode="after")
    def _fit_together(self) -> MultitaskOptions:
        for name in self.heads:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f'heads: "{name}" is no name of letters, digits and _; rename it, and say in columns what it reads'
                )
        for field in ("columns", "weights"):
            for name in getattr(self, field):
                if name not in self.heads:
                    raise ValueError(f'{field}: there is no head "{name}"{did_you_mean(name, self.heads)}')
        if any(weight < 0 for weight in self.weights.values()) or not any(
            self.weights.get(name, 1.0) for name in self.heads
        ):
            raise ValueError("weights must be at least 0, and one of them above it")
        return self


class Multitask(Task):
    """Several tasks of one text; see the module.

    Args:
        options: of the run file.
        parts: head -> its task.
    """

    Options = MultitaskOptions
    best_metric = MEAN
    top_level_only = True

    def __init__(self, options: MultitaskOptions, parts: Mapping[str, Task]) -> None:
        super().__init__(options, {name: part.fitted for name, part in parts.items()})
        self.parts = dict(parts)
        self.lower_is_better = frozenset(
            f"{name}/{metric}" for name, part in self.parts.items() for metric in part.lower_is_better
        )
        self.offsets = {
            f"{name}/{answer}": text
            for name, part in self.parts.items()
            for answer, text in part.offsets.items()
        }

    @classmethod
    def check(cls, options: MultitaskOptions, data: DataOptions) -> None:
        used = data.inputs
        for name, part, own in _parts(options):
            column = _column(options, name)
            if part.columns(own) is None and column in used:
                raise ValueError(
                    f'the head "{name}" reads the column "{column}", which is data.{used[column]}; name its label in task.columns'
                )
            part.check(own, data.model_copy(update={"label": column}))

    @classmethod
    def columns(cls, options: MultitaskOptions) -> Sequence[str] | None:
        return [
            column
            for name, part, own in _parts(options)
            for column in (part.columns(own) or [_column(options, name)])
        ]

    @classmethod
    def strata(cls, options: MultitaskOptions, example: Example) -> Collection[Hashable]:
        found = []
        for name, part, own in _parts(options):
            row = _for_head(options, name, example)
            if _is_filled(part, own, row):
                found += [(name, label) for label in part.strata(own, row)]
        return found

    @classmethod
    def preprocess(cls, options: MultitaskOptions, example: Example) -> Example:
        columns = dict(example.columns)
        for name, part, own in _parts(options):
            row = _for_head(options, name, example)
            if not _is_filled(part, own, row):
                continue
            with _told(name):
                kept = part.preprocess(own, row)
                if kept.text != example.text:
                    raise UserError(
                        f"{example.source}: the text is a list of tokens, which the other heads can't read; name a column of text"
                    )
            columns[_column(options, name)] = kept.label or ""
        return dataclasses.replace(example, columns=columns)

    @classmethod
    def from_examples(cls, options: MultitaskOptions, examples: Sequence[Example]) -> Multitask:
        filled = _fill(options, examples)
        empty = np.flatnonzero(~np.any(list(filled.values()), axis=0))
        if len(empty):
            heads, first = ", ".join(options.heads), examples[int(empty[0])].source
            say(
                f"warning: {len(empty)} of {len(examples)} training rows {plural(len(empty), 'has', 'have')} a label for none of the "
                f"heads ({heads}), {plural(len(empty), '', 'the first is ')}{first}; {plural(len(empty), 'it is', 'they are')} left out"
            )
        parts = {}
        for name, part, own in _parts(options):
            rows = _Filled(options, name, examples, filled[name])
            if not len(rows):
                raise UserError(
                    f'no training row has a label for the head "{name}"; check the column "{_column(options, name)}"'
                )
            with _told(name):
                parts[name] = part.from_examples(own, rows)
        return cls(options, parts)

    def limit_length(self, tokens: int) -> Multitask:
        return type(self)(
            self.options, {name: part.limit_length(tokens) for name, part in self.parts.items()}
        )

    def save(self, directory: Path) -> None:
        for name, part in self.parts.items():
            folder = directory / "heads" / name
            folder.mkdir(parents=True)
            part.save(folder)

    @classmethod
    def load(cls, options: MultitaskOptions, directory: Path) -> Multitask:
        return cls(
            options, {name: part.load(own, directory / "heads" / name) for name, part, own in _parts(options)}
        )

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        filled = _fill(self.options, examples)
        for name, part in self.parts.items():
            rows = _Filled(self.options, name, examples, filled[name])
            share = filled[name].astype(np.float64)
            if training and type(part).weights is not Task.weights:
                # What the head's own task makes of its rows (balanced classes), over the weight they have anyway.
                own = Task.weights(part, rows, training=True)
                counted = part.weights(rows, training=True)
                share[rows.numbers] = np.divide(counted, own, out=np.zeros_like(own), where=own > 0)
            found[f"{name}/{_SHARE}"] = share
            with _told(name):
                targets = part.targets(rows, training=training)
            for target, values in targets.items():
                spread = np.zeros((len(examples), *values.shape[1:]), values.dtype)
                spread[rows.numbers] = values
                found[f"{name}/{target}"] = spread
        return found

    def token_targets(
        self, examples: Sequence[Example], tokens: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        filled = _fill(self.options, examples)
        for name, part in self.parts.items():
            rows = _Filled(self.options, name, examples, filled[name])
            for target, values in part.token_targets(rows, _take(tokens, rows.numbers)).items():
                spread = np.zeros((len(examples), *values.shape[1:]), values.dtype)
                spread[rows.numbers] = values
                found[f"{name}/{target}"] = spread
        return found

    def weights(self, examples: Sequence[Example], *, training: bool) -> np.ndarray:
        filled = np.any(list(_fill(self.options, examples).values()), axis=0)
        return super().weights(examples, training=training) * filled

    def head(self, config: BertConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import HeadGroup

        return HeadGroup(
            {name: part.head(config, seed + index) for index, (name, part) in enumerate(self.parts.items())}
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        total: Any = 0.0
        tokens = {name: tensor for name, tensor in targets.items() if "/" not in name}
        for name, part in self.parts.items():
            losses = part.loss(_of(name, outputs), {**tokens, **_of(name, targets)})
            share = tf.cast(targets[f"{name}/{_SHARE}"], losses.dtype)
            # Of a gap the target is a filler; where, as 0 times a loss that is not finite is not 0.
            counted = tf.where(share > 0, losses, 0.0) * share
            total += self.options.weights.get(name, 1.0) * counted
        return total

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        return self._named(lambda name, part: part.predictions(_of(name, outputs), inputs))

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        return self._named(lambda name, part: part.scored_predictions(_of(name, outputs), inputs))

    def _named(self, answers_of: Callable[[str, Task], Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """Each head's answers, called ``HEAD/NAME``."""
        return {
            f"{name}/{answer}": tensor
            for name, part in self.parts.items()
            for answer, tensor in answers_of(name, part).items()
        }

    def tune(
        self,
        head: Any,
        answers: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        weights: np.ndarray,
    ) -> Mapping[str, np.ndarray]:
        found = dict(answers)
        for name, part, rows in self._scored(answers, targets, weights):
            own, its_targets = _take(_of(name, answers), rows), _take(_of(name, targets), rows)
            for answer, values in part.tune(head.heads[name], own, its_targets, weights[rows]).items():
                changed = np.array(answers[f"{name}/{answer}"])
                changed[rows] = values
                found[f"{name}/{answer}"] = changed
        return found

    def metrics(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> dict[str, float]:
        """Each head's, and ``mean``: of the heads' own best metrics, those for which less is better subtracted."""
        found: dict[str, float] = {}
        for name, part, rows in self._scored(answers, targets, weights):
            scores = part.metrics(
                _take(_of(name, answers), rows), _take(_of(name, targets), rows), weights[rows]
            )
            found.update({f"{name}/{metric}": value for metric, value in scores.items()})
        if not found:
            raise UserError(
                "there is nothing to score: no row has a label for one of the heads and a weight above 0"
            )
        own = [(f"{name}/{part.best_metric}", part) for name, part in self.parts.items()]
        signed = [
            -found[metric] if metric in self.lower_is_better else found[metric]
            for metric, _ in own
            if metric in found
        ]
        return {MEAN: float(np.mean(signed)), **found}

    def report(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> str:
        parts = []
        for name, part, rows in self._scored(answers, targets, weights):
            table = part.report(
                _take(_of(name, answers), rows), _take(_of(name, targets), rows), weights[rows]
            )
            parts.append(f"{name} ({len(rows)} {plural(len(rows), 'row')})\n\n{table}")
        return "\n".join(parts)

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        names, answers = [], {}
        for name, part in self.parts.items():
            filled = _fill(self.options, train)[name]
            asked = _Filled(self.options, name, test, np.ones(len(test), bool))
            found = part.baseline(_Filled(self.options, name, train, filled), asked)
            if found is not None:
                names.append(found[0])
                answers.update({f"{name}/{answer}": values for answer, values in found[1].items()})
        return (", ".join(dict.fromkeys(names)), answers) if names else None

    def mistakes(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> list[tuple[int, str, str]]:
        by_head = []
        for name, part in self.parts.items():
            rows = _filled_rows(name, targets)
            own = part.mistakes(_take(_of(name, answers), rows), _take(_of(name, targets), rows))
            by_head.append([(int(rows[row]), f"{name}: {want}", got) for row, want, got in own])
        # Each head's worst, then each one's second: a reader looks at the first few.
        turns = itertools.zip_longest(*by_head)
        return [mistake for turn in turns for mistake in turn if mistake is not None]

    def near_ties(self, answers: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
        calls = [part.near_ties(_of(name, answers), tolerance) for name, part in self.parts.items()]
        return np.any(calls, axis=0)

    def figures(self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        found = {}
        for name, part in self.parts.items():
            rows = _filled_rows(name, targets)
            if len(rows):
                own = part.figures(_take(_of(name, answers), rows), _take(_of(name, targets), rows))
                found.update({f"{name}-{title}": figure for title, figure in own.items()})
        return found

    def _scored(
        self, answers: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], weights: np.ndarray
    ) -> Iterator[tuple[str, Task, np.ndarray]]:
        """The heads that these rows and answers can be scored for, with the rows' numbers."""
        for name, part in self.parts.items():
            rows = _filled_rows(name, targets)
            if len(rows) and (weights[rows] > 0).any() and _of(name, answers):
                yield name, part, rows


def _fill(options: MultitaskOptions, examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Head -> which rows have a label for it, bool [N]; one walk over the rows, which may lie on disk."""
    parts = list(_parts(options))
    filled = np.zeros((len(parts), len(examples)), bool)
    for number, example in enumerate(examples):
        for head, (name, part, own) in enumerate(parts):
            filled[head, number] = _is_filled(part, own, _for_head(options, name, example))
    return dict(zip(options.heads, filled))


class _Filled(Sequence[Any]):
    """The rows that have a label for a head, as its task sees them; read when they are looked at.

    Attributes:
        numbers: which of the rows they are, int64.
    """

    def __init__(
        self, options: MultitaskOptions, name: str, examples: Sequence[Example], filled: np.ndarray
    ) -> None:
        self._options, self._name, self._examples, self._filled = options, name, examples, filled
        self.numbers = np.flatnonzero(filled)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            chosen = np.zeros_like(self._filled)
            chosen[self.numbers[index]] = True
            return _Filled(self._options, self._name, self._examples, chosen)
        return _for_head(self._options, self._name, self._examples[int(self.numbers[index])])


def _of(name: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """A head's own, under its own names."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _take(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array[rows] for name, array in arrays.items()}


def _filled_rows(name: str, targets: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.flatnonzero(targets[f"{name}/{_SHARE}"] > 0)


def _parts(options: MultitaskOptions) -> Iterator[tuple[str, type[Task], Any]]:
    """Each head's name, its task and that one's options."""
    for name, own in options.heads.items():
        section: Any = own
        yield name, tasks.find(section.name), section


def _column(options: MultitaskOptions, name: str) -> str:
    return options.columns.get(name, name)


def _for_head(options: MultitaskOptions, name: str, example: Example) -> Example:
    """A row as the head's task sees it."""
    cell = example.columns.get(_column(options, name), "")
    # Field by field, as dataclasses.replace takes three times as long, and there are many rows.
    return Example(
        example.text,
        example.text_pair,
        cell.strip() or None,
        example.weight,
        example.group,
        example.columns,
        example.file,
        example.line,
        example.place,
    )


def _is_filled(part: type[Task], own: Any, row: Example) -> bool:
    columns = part.columns(own)
    if columns is None:
        return row.label is not None
    return any(row.columns[column].strip() for column in columns)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Say which head an error is about, and where its options stand."""
    try:
        yield
    except UserError as error:
        raise UserError(f'head "{name}": {in_section(str(error), f"task.heads.{name}")}') from error


TASK: type[Any] = Multitask
