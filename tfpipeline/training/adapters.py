"""What ``tfpipeline adapter`` does: extracts the adapter of a run, shows it, and merges it into its base."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline import checkpoints, mistaken, paths
from tfpipeline.checkpoints.conversion import Conversion
from tfpipeline.checkpoints.formats import peft as peft_format
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.mistaken import require_run
from tfpipeline.models import TextModel
from tfpipeline.paths import AnyPath
from tfpipeline.training import adapter_file, peft_directory
from tfpipeline.training.adapted import AdaptedCheckpoint, variables_of
from tfpipeline.training.base_identity import BaseIdentity, tensors_hash, vocabulary_hash
from tfpipeline.training.mirror import local_copy
from tfpipeline.training.run import Run
from tfpipeline.training.run_as_checkpoint import as_checkpoint, load_checkpoint
from tfpipeline.training.run_source import check_weights

FORMATS = ("safetensors", "peft")
_NO_ADAPTER = "has no peft section, so it has no adapter; convert it: tfpipeline convert"


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What was written; its ``str`` is the report.

    Attributes:
        dest: the file, or with the format peft the directory.
        size: in bytes, of all files.
        tensors: number of tensors.
        parameters: number of values in them.
        notes: what could not be written.
    """

    dest: Path
    size: int
    tensors: int
    parameters: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = f"{self.tensors} tensors, {self.parameters:,} parameters, {_size(self.size)}"
        return "\n".join([*(f"note: {note}" for note in self.notes), f"wrote {self.dest} ({counts})"])


def extract(
    source: AnyPath,
    dest: AnyPath,
    *,
    weights: str = "best",
    format: str = "safetensors",  # noqa: A002
) -> Extraction:
    """Write the adapter of a run: what it has learnt, without its base.

    Args:
        source: a run with a ``peft`` section.
        dest: the file to write, or the directory with the format peft; it must not exist.
        weights: the weights of the run: "best", "last" or "initial".
        format: ``safetensors`` (see :mod:`tfpipeline.training.adapter_file`), or ``peft``, the files of
            Hugging Face's PEFT library (LoRA and IA3).
    Raises:
        UserError: the run has no adapter or no such weights, the format has no place for it, or ``dest``
            exists or cannot be written.
    """
    if format not in FORMATS:
        raise UserError(
            f'unknown format "{format}" of adapters{did_you_mean(format, FORMATS)}; choose '
            f"{' or '.join(FORMATS)}"
        )
    path = paths.local(dest)
    if path.exists():
        raise UserError(f"{dest} is there already; choose another path")
    run, method = _adapted_run(source)
    check_weights(weights, run.store.index(), str(source))
    if format == "peft":
        peft_directory.require_writable_method(method, str(source))
        model = run.model(weights, precision="float32")
        described = _described(run, model, str(source))
        peft_directory.write(model.adaptation, described, run.config.checkpoint, path)
        _, written = peft_format.open_directory(path)
        shapes, size = written.shapes, sum(file.stat().st_size for file in path.iterdir())
        notes = described.notes
    else:
        adapter = adapter_of(run, weights, str(source))
        adapter_file.write(adapter, path)
        shapes, size, notes = _shapes(adapter.tensors), path.stat().st_size, ()
    return Extraction(path, size, len(shapes), _parameters(shapes), tuple(notes))


def adapter_of(run: Run, weights: str = "best", name: str | None = None) -> adapter_file.AdapterFile:
    """The adapter of a run.

    Args:
        run: with a ``peft`` section.
        weights: "best", "last" or "initial".
        name: of the run, for messages.
    Raises:
        UserError: a callback has changed weights that the method does not train.
    """
    options, name = run.config.peft, name or str(run.path)
    if options is None:
        raise UserError(f"{name} {_NO_ADAPTER} {name} DEST")
    model, base = run.model(weights), run.model("initial")
    variables = variables_of(model)
    untouched = {
        variable.path: variable for variable in base.encoder.weights if variable.path not in variables
    }
    for variable in model.encoder.weights:
        if variable.path in untouched and not np.array_equal(variable, untouched[variable.path]):
            raise UserError(
                f"{variable.path} of {name} was changed in training, but not by {options.method}, "
                f"so its adapter alone is not the model; convert it: tfpipeline convert {name} DEST"
            )
    return adapter_file.AdapterFile(
        name=name,
        settings=adapter_file.kept_settings(run.config),
        method_version=options.version,
        base=BaseIdentity(
            run.config.checkpoint,
            tensors_hash(base.encoder.tensors()),
            vocabulary_hash(run.vocabulary),
            run.model_config,
        ),
        task_files=adapter_file.task_files(run.task),
        tokenizer=run.tokenizer_options.to_dict(run.vocabulary),
        tensors={path: variable.numpy() for path, variable in variables.items()},
        weights=weights,
        step=int(run.store.state(weights)["step"]),
        scores=dict(run.validation_scores(weights)),
    )


def merge(
    source: AnyPath,
    dest: AnyPath,
    *,
    base: AnyPath | None = None,
    to: str = "huggingface",
    weights: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write an adapter and its base as one checkpoint, with the head if the format has a place for it.

    Args:
        source: an ``adapter.safetensors``, a directory of the PEFT library, or a run.
        dest: the directory to write; it appears whole or not at all.
        base: the checkpoint that the adapter was trained on; by default the one that it names. A run has its
            own.
        to: the format, as for :func:`tfpipeline.convert`.
        weights: the weights of a run.
        overwrite: replace ``dest`` if it holds something else.
    Returns:
        The report.
    Raises:
        UserError: the adapter is of another base, its method cannot be merged, or ``dest`` holds something
            else.
    """
    paths.local(dest)
    path = local_copy(source)
    if base is not None:
        _check_dest(dest, base, f"the base of {source}")
    is_run = not paths.is_far(path) and mistaken.is_run(paths.local(path))
    if is_run and base is not None:
        raise UserError(f"{source} is a run, which has its base; leave out --base")
    if not is_run and weights is not None:
        raise UserError(f"{source} is an adapter: it has no other weights; leave out --weights")
    if not is_run:
        _check_dest(dest, source, "the adapter itself")
    if is_run:
        checkpoint = load_checkpoint(path, weights)
    elif _is_peft(path):
        given = None if base is None else load_checkpoint(base, head=False)
        checkpoint = peft_format.read(paths.local(path), base=given)
        named = peft_format.named_base(paths.local(path))
        _check_dest(dest, named, f"the base of {source}")
        if base is not None and named and not _is_same(named, base):
            note = f"{source} names the base {named}; whether {base} is the same is not known"
            checkpoint = dataclasses.replace(checkpoint, notes=[*checkpoint.notes, note])
    else:
        adapter = adapter_file.read(path)
        _check_dest(dest, adapter.base.name, f"the base of {source}")
        adapter.config.peft.require_mergeable(str(source))  # type: ignore[union-attr]
        run = AdaptedCheckpoint(adapter, base)
        note = f"the adapter ({adapter.method}) is merged into {run.base.display_name or run.base.source}"
        checkpoint = as_checkpoint(run, "best", "adapter", str(source), [note])
    return checkpoints.write(checkpoint, dest, to=to, overwrite=overwrite)


def inspect(source: AnyPath) -> str:
    """Describe an adapter: method and options, base, task, labels, tensors and sizes, scores.

    Args:
        source: an ``adapter.safetensors``, or a directory of the PEFT library.
    Raises:
        UserError: it is neither, or is damaged.
    """
    path = paths.local(source)
    if mistaken.is_run(path):
        raise UserError(
            f"{source} is a run; extract its adapter first: tfpipeline adapter extract {source} --to FILE"
        )
    return _inspect_peft(path) if _is_peft(path) else _inspect_file(adapter_file.read(path), path)


def _inspect_file(adapter: adapter_file.AdapterFile, path: Path) -> str:
    fitted, text = adapter.task().fitted, adapter.settings["text"]
    labels = isinstance(fitted, list) and all(isinstance(label, str) for label in fitted)
    shown = ", ".join(fitted) if labels else json.dumps(fitted, ensure_ascii=False)
    options = {name: value for name, value in adapter.settings["peft"].items() if name != "method"}
    facts = {
        "file": f"{path} ({_size(path.stat().st_size)}, tfpipeline {adapter.program})",
        "method": f"{adapter.method} (version {adapter.method_version})",
        "options": _listed(options),
        "base": str(adapter.base),
        "task": f"{adapter.settings['task']['name']}",
        "labels" if labels else "fitted": shown,
        "text": _listed(text),
        "weights": f"{adapter.weights}, step {adapter.step}",
        "scores": ", ".join(f"{name} {value:.4f}" for name, value in adapter.scores.items()) or "none",
    }
    return _description(facts, _shapes(adapter.tensors))


def _inspect_peft(path: Path) -> str:
    settings, weights = peft_format.open_directory(path)
    method = peft_format.library.method_of(settings, path / peft_format.library.CONFIG)
    shown = {
        name: value
        for name, value in settings.items()
        if value not in (None, [], {}, False)
        and name not in ("peft_type", "peft_version", "base_model_name_or_path", "task_type")
    }
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    written = f", PEFT {settings['peft_version']}" if "peft_version" in settings else ""
    facts = {
        "files": f"{path} ({_size(size)}{written})",
        "method": method,
        "options": _listed(shown),
        "base": str(settings.get("base_model_name_or_path")),
        "task": str(settings.get("task_type")),
    }
    return _description(facts, weights.shapes)


def _description(facts: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> str:
    width = max(map(len, facts)) + 2
    lines = [f"{name:<{width}}{value}" for name, value in facts.items()]
    lines.append(f"{'tensors':<{width}}{len(shapes)}, {_parameters(shapes):,} parameters")
    longest = max(map(len, shapes), default=0)
    lines += [f"  {name:<{longest}}  {list(shape)}" for name, shape in sorted(shapes.items())]
    return "\n".join(lines)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())


def _shapes(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}


def _parameters(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return int(sum(np.prod(shape) for shape in shapes.values()))


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _check_dest(dest: AnyPath, kept: AnyPath, what: str) -> None:
    """Refuse to write over what is read: nothing could make it again."""
    if kept and _is_same(dest, kept):
        raise UserError(f"{dest} is {what}; choose another folder")


def _is_same(one: AnyPath, other: AnyPath) -> bool:
    if paths.is_far(one) or paths.is_far(other):
        return str(one) == str(other)
    return paths.local(one).resolve() == paths.local(other).resolve()


def _is_peft(path: AnyPath) -> bool:
    return not paths.is_far(path) and peft_format.recognise(paths.local(path))


def _adapted_run(source: AnyPath) -> tuple[Run, str]:
    """A run with an adapter, and its method."""
    require_run(source)
    path = local_copy(source)
    if not mistaken.is_run(paths.local(path)):
        mistaken.check_run(source, unread=not checkpoints.is_checkpoint(source))
        raise UserError(f"{source} is a checkpoint; adapters are extracted from runs of tfpipeline train")
    run = Run(path)
    if run.config.peft is None:
        raise UserError(f"{source} {_NO_ADAPTER} {source} DEST")
    return run, run.config.peft.method


def _described(run: Run, model: TextModel, name: str) -> checkpoints.Checkpoint:
    """The run as a checkpoint that has a head but no encoder: what PEFT's files say beside the adapter."""
    head = run.task.checkpoint_head(model.head)
    return checkpoints.Checkpoint(
        source=run.path,
        format="run",
        config=run.model_config,
        vocabulary=run.vocabulary,
        tokenizer=run.tokenizer_options,
        tensors={},
        heads=head.tensors,
        labels=head.labels,
        problem_type=head.problem_type,
        notes=head.notes,
        display_name=name,
    )
