"""The adapters of several runs: whether they fit together, and what each has learnt."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.models import TextModel
from tfpipeline.models.adapted_model import Adapter
from tfpipeline.models.layer_changes import LayerChange
from tfpipeline.models.peft import METHODS_THAT_CAN
from tfpipeline.paths import AnyPath
from tfpipeline.training.base_identity import tensors_hash
from tfpipeline.training.opening import open_run
from tfpipeline.training.precision import policy
from tfpipeline.training.trained_model import TrainedModel

Arrays = dict[str, np.ndarray]
_DROPOUT = "_dropout_prob"  # of an encoder's configuration; has no meaning in serving


class NamedRun(NamedTuple):
    """A run and the name of its adapter."""

    name: str
    run: TrainedModel


class Adapters(NamedTuple):
    """What several runs have learnt, on one base.

    Attributes:
        base: the first run's model without its adapter: the encoder that all share.
        adapters: by name, in the order of the runs.
        identities: a hash of what each predicts with on this base, by name.
    """

    base: TextModel
    adapters: Mapping[str, Adapter]
    identities: Mapping[str, str]


def open_runs(runs: Mapping[str, AnyPath], weights: str) -> list[NamedRun]:
    """Open the runs, and check that one model can serve all of their adapters.

    Only small files are read.

    Raises:
        UserError: a run has no adapter, is not trained, or differs from the first one in what they share.
    """
    opened = [NamedRun(name, open_run(run)) for name, run in runs.items()]
    for _, run in opened:
        _check_adapter(run, weights)
    first = opened[0].run
    known = _shared(first)
    for _, run in opened[1:]:
        for what, value in _shared(run).items():
            if value != known[what]:
                raise UserError(
                    f"{run.path} has {what} than {first.path}; export adapters together that share it"
                )
    try:
        first.task.by_row([run.task for _, run in opened])
    except UserError as error:
        raise UserError(
            f"{first.path}: {error}; export each run alone: tfpipeline export {first.path} --to MODEL"
        ) from error
    return opened


def _check_adapter(run: TrainedModel, weights: str) -> None:
    method = run.config.peft
    if method is None:
        raise UserError(
            f"{run.path} has no adapter, because it was trained without peft; export it alone: "
            f"tfpipeline export {run.path} --to MODEL"
        )
    if not method.mergeable:
        raise UserError(
            f"{run.path} has an adapter of peft.method {method.method}, which cannot be served with "
            f"--adapters; {METHODS_THAT_CAN}"
        )
    if not run.has_weights(weights):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    if not run.model_config.changes_rows:
        raise UserError(
            f"{run.path} has the architecture {run.model_config.architecture}, which cannot be served with "
            "--adapters: its serving form cannot change layers from row to row"
        )


def _shared(run: TrainedModel) -> dict[str, Any]:
    """What all runs must have in common, by how its difference is called."""
    options, config = run.task.options, run.model_config.to_dict()
    return {
        "another architecture": {name: v for name, v in config.items() if not name.endswith(_DROPOUT)},
        "another vocabulary": run.vocabulary,
        "another tokenizer": run.tokenizer_options,
        "another kind of task": (run.config.task.name, options.name),
        "another text.max_length or text.long": run.truncation.identity(),
        "other texts in a row": (run.has_pairs, run.config.task.encoding),
        "another head": {name: getattr(options, name) for name in options.fixed_by_head if name != "labels"},
    }


def read(runs: Sequence[NamedRun], weights: str) -> Adapters:
    """Read what the runs have learnt, one after the other.

    Raises:
        UserError: the runs were trained from different bases, or a method's changes cannot be separated.
    """
    base: Arrays = {}
    origin: dict[str, TrainedModel] = {}  # of the base's values
    learnt = []
    for name, run in runs:
        model = run.model(weights, precision="float32")
        adaptation = model.adaptation
        changes = adaptation.layer_changes()
        replaced = {variable.path: variable.numpy() for variable in adaptation.replaced}
        added = {variable.path for variable in adaptation.added}
        for variable in model.encoder.weights:
            path = variable.path
            if path in added or path in replaced:
                continue
            value = variable.numpy()
            if path not in base:
                base[path], origin[path] = value, run
            elif not np.array_equal(base[path], value):
                raise UserError(
                    f"{run.path} has another base than {origin[path].path} ({path} differs); export adapters "
                    "together that were trained from one checkpoint"
                )
        head = {variable.path: variable.numpy() for variable in model.head.weights}
        learnt.append((name, changes, replaced, head))
    for _, _, replaced, _ in learnt:  # what every method replaces is relative to the first one's
        for path, value in replaced.items():
            base.setdefault(path, value)
    adapters = {
        name: Adapter(dict(_with_biases(changes, replaced, base)), head)
        for name, changes, replaced, head in learnt
    }
    of_base = tensors_hash(base)
    identities = {
        name: hashlib.sha256(
            repr([of_base, run.task.fitted, tensors_hash(_arrays(adapter))]).encode()
        ).hexdigest()
        for (name, run), adapter in zip(runs, adapters.values())
    }
    return Adapters(_base_model(runs[0].run, base), adapters, identities)


def _with_biases(
    changes: Mapping[str, LayerChange], replaced: Arrays, base: Arrays
) -> Iterator[tuple[str, LayerChange]]:
    """Changes with those of the biases that a method has trained."""
    added = {}
    for path, value in replaced.items():
        layer, _, kind = path.rpartition("/")
        if kind != "bias":
            raise UserError(
                f"an adapter replaces {path}, but only changes of matrices and biases can be served with "
                "--adapters"
            )
        added[layer] = value - base[path]
    for path in {**changes, **added}:
        change = changes.get(path, LayerChange())
        yield path, dataclasses.replace(change, added_bias=added.get(path))


def _base_model(run: TrainedModel, base: Arrays) -> TextModel:
    with policy("float32"):
        model = run.build_base(run.model_config.encoder(uninitialized=True))
    for variable in model.encoder.weights:
        variable.assign(base[variable.path])
    return model


def _arrays(adapter: Adapter) -> Arrays:
    changes = {
        f"{path}/{name}": array
        for path, change in adapter.changes.items()
        for name, array in change.arrays().items()
    }
    return {**changes, **adapter.head}
