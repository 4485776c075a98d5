"""Publishes a trained run as the next version of a served model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.export import checks, compatibility, model_card, versions
from tfpipeline.export import warmup as warmup_requests
from tfpipeline.export.identity import identity as identity_of
from tfpipeline.export.model_directory import ModelDirectory, open_directory
from tfpipeline.export.options import DEFAULT_WARMUP, ExportOptions
from tfpipeline.export.parity import check_parity
from tfpipeline.export.signatures import ServingModule
from tfpipeline.files import write_failure
from tfpipeline.paths import AnyPath
from tfpipeline.training.opening import open_run
from tfpipeline.training.trained_model import TrainedModel


def export_run(
    run: AnyPath | TrainedModel,
    to: AnyPath,
    *,
    weights: str = "best",
    warmup: int = DEFAULT_WARMUP,
    target_serving: str | None = None,
    keep: int | None = None,
    licence: str | None = None,
    overrides: Sequence[str] = (),
) -> Path | str:
    """Write a run's model as the next version under ``to``, checked before anybody can load it.

    The SavedModel is written under a temporary name that no server picks up; a fresh process that imports
    none of our code answers held-out rows from it, which must equal the trained model's answers; then it is
    renamed. Computation is float32 whatever precision the run was trained in.

    Args:
        run: a run directory, or a checkpoint that someone else fine-tuned.
        to: the model's directory, e.g. ``models/sentiment``, or ``gs://bucket/models/sentiment``; versions
            are the integers inside it.
        weights: "best" or "last".
        warmup: the most warm-up requests that servers replay before they answer with the version; 0 for none.
        target_serving: the release of TensorFlow that is to serve the model, such as "2.16", if it is not the
            installed one: the graph is checked for what that release does not know.
        keep: how many of the newest versions stay; older ones that no label needs are removed.
        licence: of the model, for its card.
        overrides: for a checkpoint, settings that its files do not hold, such as ``text.max_length=128``.
    Returns:
        The version's directory; a str where it is on a far file system. When the newest version holds this
        very model, that one, and nothing is written.
    Raises:
        UserError: no such run, it is not trained, an option has a value that it cannot have, ``to`` can't be
            written, or ``target_serving`` does not know an operation or an attribute of the graph.
        checks.ExportError: the exported model is not the trained one.
    """
    options = ExportOptions(
        weights=weights, warmup=warmup, target_serving=target_serving, keep=keep, licence=licence
    )
    return export_with(run, to, options, overrides)


def export_with(
    run: AnyPath | TrainedModel, to: AnyPath, options: ExportOptions, overrides: Sequence[str] = ()
) -> Path | str:
    """:func:`export_run` with its options in one value, which was checked when it was made."""
    directory = open_directory(to)
    run = run if isinstance(run, TrainedModel) else open_run(run, overrides)
    _check(run, options)
    directory.require_writable()
    model = run.model(options.weights, precision="float32")
    identity = identity_of(run, model, options)
    if (published := versions.published(directory, identity)) is not None:
        if isinstance(same := directory.path(published), Path):
            compatibility.check(same, options.target_serving)
        say(f"{directory.path(published)} already holds this model; nothing to do")
        return directory.path(published)
    number = versions.next_version(directory)
    module = ServingModule(run.graph(model).for_serving())
    with (
        progress(f"exporting {directory.path(number)}", 3, note="tracing and writing it") as bar,
        directory.staging(number) as folder,
    ):
        temporary = folder / "model"
        _save(module, temporary)
        compatibility.make_portable(temporary)
        warm = warmup_requests.write(temporary, module, run.text_inputs, options.warmup)
        facts = _facts(run, directory, identity, options) | {"warmup_requests": warm}
        model_card.write(temporary, facts)
        bar.advance(1, "checking its operations")
        checks.check_operations(temporary)
        compatibility.check(temporary, options.target_serving)
        checks.check_size(temporary, _bytes(module.weights), _bytes(module.tokenizer.variables))
        bar.advance(1, "asking it in a fresh process")
        rows, difference = check_parity(run, module, model, temporary)
        bar.advance(1, "checked")
        number = versions.publish_version(temporary, directory, identity)
    version = directory.path(number)
    what = "held-out rows" if run.has_split("validation") else "texts"
    say(
        f"{version}: matches the trained model on {rows} {what} (largest difference {difference:.1e}), "
        "in a process without this package"
    )
    _prune(directory, options)
    return version


def _check(run: TrainedModel, options: ExportOptions) -> None:
    """Refuse what can't be exported, before the expensive work."""
    if not run.has_weights(options.weights):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    run.vocabulary  # noqa: B018 - a run refuses files that were edited when it first reads one


def _facts(
    run: TrainedModel, directory: ModelDirectory, identity: str, options: ExportOptions
) -> dict[str, Any]:
    """What the card says."""
    name = directory.address.rpartition("/")[2]
    return {"identity": identity, **model_card.describe(run, name, options.weights, options.licence)}


def _prune(directory: ModelDirectory, options: ExportOptions) -> None:
    """Remove the versions that are not to be kept."""
    removed = versions.prune(directory, options.keep) if options.keep else []
    if removed:
        which = ", ".join(map(str, removed))
        say(f"removed from {directory.address} (--keep {options.keep}): version {which}")


def _save(module: ServingModule, path: Path) -> None:
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # nobody trains it further
    try:
        tf.saved_model.save(module, str(path), signatures=module.functions, options=options)
    except tf.errors.OpError as error:  # how TensorFlow's own writer reports a full disk
        raise write_failure(path.parent, str(error.message)) from error


def _bytes(variables: Sequence[Any]) -> int:
    return sum(int(np.prod(variable.shape)) * variable.dtype.size for variable in variables)
