"""Decides which settings may change when a run is resumed. Imports no TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfpipeline import paths
from tfpipeline.config import Section
from tfpipeline.errors import UserError
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.run_config import RunConfig

# Settings that do not affect the numbers: locations, what is shown, and what is kept.
_FREE = (
    "output",
    "training.tpu",
    "training.save_every",
    "training.keep",
    "training.keep_optimizer",
    "training.log_every",
    "training.tensorboard",
)
_LENGTH = ("training.epochs", "training.steps")
_PATHS = ("checkpoint", "data.train", "data.validation", "data.test")
_SHOWN = 5  # changes listed in a message
_SHOWN_CHARACTERS = 120  # per value


class Change(NamedTuple):
    """A setting that has changed."""

    name: str
    was: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {_shown(self.was)}, is now {_shown(self.now)}"


def changes(old: Section, new: Section) -> list[Change]:
    """The settings that differ, by their full names.

    If a section's ``name`` has changed, options that exist in only one of the two are not listed.
    """
    was, now = _flat(old), _flat(new)
    differences = []
    for name in dict.fromkeys([*was, *now]):
        kind = f"{name.rpartition('.')[0]}.name"
        if was.get(name) != now.get(name) and (
            (name in was and name in now) or was.get(kind) == now.get(kind)
        ):
            differences.append(Change(name, was.get(name), now.get(name)))
    return differences


def check_settings(
    path: Path, old: RunConfig, new: RunConfig, saved: Mapping[str, Any] | None, *, has_optimizer: bool
) -> None:
    """Refuse to resume a run with settings that would have changed its results.

    Args:
        path: the run directory.
        old: the run's settings.
        new: the settings of the run file.
        saved: the state of the run's last checkpoint; None before the first, and on workers that keep none.
        has_optimizer: whether that checkpoint holds the optimizer's state.
    Raises:
        UserError: a setting has changed that must not; names the settings and what to do.
    """
    differences = [change for change in changes(old, new) if not _is_free(change)]
    others = [change for change in differences if change.name not in _LENGTH]
    if others:
        listed = "; ".join(map(str, others[:_SHOWN]))
        more = f"; and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise UserError(
            f"{path} was started with different settings: {listed}{more}; restore them to resume that "
            "run, or choose another output folder for a new one"
        )
    if not differences or _length(old.training) == _length(new.training):
        return
    if old.peft is not None and old.peft.depends_on_length:  # whatever the schedule
        reason = f"peft.method {old.peft.method} has planned its steps for {_said(old.training)}"
    else:
        reason = _why_not(old.training, new.training, saved, has_optimizer)
    if reason:
        raise UserError(
            f"{path} was started with different settings: {'; '.join(map(str, differences))}; it cannot be "
            f"trained for "
            f"{_said(new.training)}, because {reason}; choose another output folder for a new run, or load "
            f"its weights into your own loop: tfpipeline.load({json.dumps(str(path))})"
        )


def goes_on(saved: Mapping[str, Any], options: TrainingOptions) -> bool:
    """Whether a run that was trained to its end has steps left under these settings, which extend it."""
    return _is_whole(saved) and _done(saved, options) < _length(options)[1]


def _is_whole(saved: Mapping[str, Any]) -> bool:
    """Whether the run has completed all its steps, rather than stopped early."""
    return str(saved["finished"] or "").startswith("trained ")


def _done(saved: Mapping[str, Any], options: TrainingOptions) -> int:
    """The number of steps done or epochs begun, depending on the unit in the settings."""
    return int(saved["step"] if options.steps is not None else saved["epoch"] + (saved["position"] > 0))


def _why_not(
    old: TrainingOptions, new: TrainingOptions, saved: Mapping[str, Any] | None, has_optimizer: bool
) -> str:
    """Why a run's length cannot be changed from ``old`` to ``new``; "" if it can."""
    if old.schedule.name != "constant":
        return (
            f"training.schedule is {old.schedule.name}: its learning rates were chosen for {_said(old)} (a "
            f"run whose "
            "schedule is constant can be extended)"
        )
    if 0 < old.warmup < 1:
        return (
            f"training.warmup is {old.warmup}, a share of all steps: its learning rates were chosen for "
            f"{_said(old)} (a run "
            "whose warm-up is 0 or a number of steps can be extended)"
        )
    if saved is None:
        return ""
    if saved["finished"] and not _is_whole(saved):
        return f"it has ended ({saved['finished']})"
    if _done(saved, new) > _length(new)[1] or (_is_whole(saved) and not goes_on(saved, new)):
        return f"it has already been trained for longer ({saved['step']} steps)"
    if not has_optimizer:
        return (
            "the state of its optimizer was not kept when it ended (with training.keep_optimizer: true it is)"
        )
    return ""


def _length(options: TrainingOptions) -> tuple[str, int]:
    return ("epochs", options.epochs) if options.steps is None else ("steps", options.steps)


def _said(options: TrainingOptions) -> str:
    unit, number = _length(options)
    return f"{number} {unit if number > 1 else unit[:-1]}"


def _is_free(change: Change) -> bool:
    if change.name in _PATHS and change.was and change.now:
        return _resolved(change.was) == _resolved(change.now)  # the file's content is checked elsewhere
    return change.name in _FREE


def _resolved(path: str) -> str:
    return path if paths.is_far(path) else str(paths.local(path).resolve())


def _flat(section: Section) -> dict[str, Any]:
    """Settings by dotted name; a list counts as one value."""
    values: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else str(name), inner)
        else:
            values[prefix] = value

    walk("", section.model_dump(mode="json", serialize_as_any=True))
    return values


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    half = _SHOWN_CHARACTERS // 2
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:half]}...{text[-half:]}"
