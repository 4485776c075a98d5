"""Reads a run as a checkpoint, to convert it or to start another run from it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from tfpipeline import checkpoints, mistaken, paths
from tfpipeline.checkpoints.conversion import Conversion, with_gelu
from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.checkpoints.sentence_transformers import SentenceSettings
from tfpipeline.errors import UserError
from tfpipeline.paths import AnyPath
from tfpipeline.training.mirror import local_copy
from tfpipeline.training.run import Run
from tfpipeline.training.run_config import TextOptions
from tfpipeline.training.run_source import check_weights
from tfpipeline.training.state import State
from tfpipeline.training.trained_model import TrainedModel

FORMAT = "run"


def load_checkpoint(
    source: AnyPath,
    weights: str | None = None,
    *,
    gelu: Literal["erf", "tanh"] | None = None,
    head: bool = True,
) -> checkpoints.Checkpoint:
    """Read a checkpoint, or a run as a checkpoint: its encoder, and its head if formats have a place for it.

    Args:
        source: a run directory (also ``gs://``, which is copied to this machine), or a checkpoint in any form
            that :func:`tfpipeline.checkpoints.load` takes.
        weights: the weights of a run: "best" (the default), "last" or "initial".
        gelu: see :func:`tfpipeline.checkpoints.load`.
        head: whether to read the head of a run too. If not, there are no notes about what is lost.
    Raises:
        UserError: it is neither, it cannot be read, or there are no such weights (yet).
    """
    path = local_copy(source)
    if paths.is_far(path) or not mistaken.is_run(paths.local(path)):
        if weights not in (None, "best"):
            raise UserError(f'{source} is a checkpoint: it has no "{weights}" weights, only its own')
        return checkpoints.load(path, gelu=gelu)
    checkpoint = _read(Run(path), weights or "best", str(source), with_head=head)
    return with_gelu(checkpoint, gelu) if gelu else checkpoint


def convert(
    source: AnyPath,
    dest: AnyPath,
    *,
    to: str = "google",
    weights: str | None = None,
    overwrite: bool = False,
    gelu: Literal["erf", "tanh"] | None = None,
    positions: int | None = None,
    tokens: Sequence[str] = (),
) -> Conversion:
    """Write a checkpoint, or a run, in the format of another program.

    Args:
        source: see :func:`load_checkpoint`.
        dest: the directory to write; it appears whole or not at all.
        to: the format, or ``our_company.our_format``, a module of your own.
        weights: the weights of a run: "best" (the default), "last" or "initial".
        overwrite: replace ``dest`` if it exists and holds something else.
        gelu: see :func:`tfpipeline.checkpoints.load`.
        positions: extend the model to this number of positions, see :func:`tfpipeline.checkpoints.extend`.
        tokens: append these to the vocabulary, see :func:`tfpipeline.checkpoints.extend`.
    Returns:
        The report.
    Raises:
        UserError: ``source`` cannot be read, ``dest`` holds something else, or ``dest`` cannot be written.
    """
    checkpoint = load_checkpoint(source, weights, gelu=gelu)
    checkpoint = checkpoints.extend(checkpoint, positions=positions, tokens=tokens)
    return checkpoints.write(checkpoint, dest, to=to, overwrite=overwrite)


def _read(run: Run, weights: str, name: str, *, with_head: bool) -> checkpoints.Checkpoint:
    check_weights(weights, run.store.index(), name)
    return as_checkpoint(run, weights, FORMAT, name, _progress(run, weights), with_head=with_head)


def as_checkpoint(
    run: TrainedModel,
    weights: str,
    kind: str,
    name: str,
    notes: Sequence[str] = (),
    *,
    with_head: bool = True,
) -> checkpoints.Checkpoint:
    """A trained model as a checkpoint: what it has learnt is merged into its encoder.

    Args:
        run: the trained model.
        weights: its weights.
        kind: the name of the format, for reports.
        name: its name, for reports.
        notes: the first ones of the checkpoint.
        with_head: whether to read the head. If not, there are no notes about what is lost.
    Raises:
        UserError: the method of its ``peft`` section has layers that cannot be merged.
    """
    if run.config.peft is not None:
        run.config.peft.require_mergeable(name)
    model = run.model(weights, precision="float32").merge()
    head = run.task.checkpoint_head(model.head) if with_head else CheckpointHead()
    return checkpoints.Checkpoint(
        source=run.path,
        format=kind,
        config=run.model_config,
        vocabulary=run.vocabulary,
        tokenizer=run.tokenizer.options,
        tensors=_float32(model.encoder.tensors()),
        heads=_float32(head.tensors),
        labels=head.labels,
        problem_type=head.problem_type,
        sentence=_sentence(run, head),
        notes=[*notes, *head.notes, *_settings(run, head)],
        display_name=name,
    )


def _sentence(run: TrainedModel, head: CheckpointHead) -> SentenceSettings | None:
    """How a text becomes one vector, with the run's maximum number of tokens."""
    if head.sentence is None:
        return None
    return dataclasses.replace(head.sentence, max_length=run.config.text.max_length)


def _float32(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(array, np.float32) for name, array in tensors.items()}


def _progress(run: Run, weights: str) -> list[str]:
    """Notes about the weights, and about a run that has not ended."""
    state = State(**run.store.state(weights))
    score = ""
    if weights == "best" and state.best is not None:
        metric = run.config.training.best_metric or run.task.scorer.best_metric
        score = f" ({metric} {state.best:.4f} on validation)"
    notes = [f"the {weights} weights: those after step {state.step}{score}"]
    index = run.store.index()
    last = State(**run.store.state("last")) if "last" in index else State()
    if last.finished is None:
        notes.append(f"the run has not ended: {last.step} steps are done")
    return notes


def _settings(run: TrainedModel, head: CheckpointHead) -> list[str]:
    """Everything besides a checkpoint's files that affects predictions: settings of the head, and how texts
    are handled.
    """
    if not head.tensors:
        return []
    text = run.config.text
    usual = TextOptions(max_length=run.model_config.max_position_embeddings)
    settings = {
        f"text.{name}": str(value)
        for name, value in text.model_dump(exclude={"lowercase"}, exclude_none=True).items()
        if value != getattr(usual, name)
    }
    if run.has_pairs:
        settings["data.text_pair"] = str(run.config.data.text_pair)
    settings.update(head.settings)
    if not settings:
        return []
    options = " ".join(f"--set {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
    return [f"evaluate and export answer as the run does with: {options}"]
