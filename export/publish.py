"""Publishes a trained run as the next version of a served model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline import paths
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.export import checks, compatibility, explanations, labels, model_card, requirements, versions
from tfpipeline.export import warmup as warmup_requests
from tfpipeline.export.identity import identity as identity_of
from tfpipeline.export.model_directory import ModelDirectory, open_directory
from tfpipeline.export.options import ExportOptions
from tfpipeline.export.parity import check_parity
from tfpipeline.export.servable import ServableModel, check_options, prepare
from tfpipeline.export.signatures import ServingModule
from tfpipeline.files import write_failure
from tfpipeline.index import served
from tfpipeline.index.embedder import require_same_model
from tfpipeline.index.stored import Index, open_index
from tfpipeline.paths import AnyPath
from tfpipeline.tasks import Signature
from tfpipeline.training.opening import open_run
from tfpipeline.training.trained_model import TrainedModel


def export_run(
    run: AnyPath | TrainedModel, to: AnyPath, *, overrides: Sequence[str] = (), **options: Any
) -> Path | str:
    """Write a run's model as the next version under ``to``, and check it before anyone can load it.

    The SavedModel is written under a temporary name that no server picks up. A fresh process that imports
    nothing of this package runs it on held-out rows, and its outputs must equal those of the trained model.
    Then it is renamed. It computes in ``precision``, whatever the precision of the training.

    Args:
        run: a run directory, or a checkpoint that was fine-tuned elsewhere.
        to: the model's directory, e.g. ``models/sentiment``, or ``gs://bucket/models/sentiment``; versions
            are the integers inside it.
        overrides: for a checkpoint, settings that its files do not hold, such as ``text.max_length=128``; for
            a run, those that training does not depend on.
        options: the fields of :class:`tfpipeline.export.options.ExportOptions`, such as ``weights="last"``.
    Returns:
        The version's directory; a str if it is remote. If the newest version already holds the same model,
        its directory is returned and nothing is written.
    Raises:
        UserError: there is no such run, it is not trained, an option has an invalid value, or ``to`` cannot
            be written.
        checks.ExportError: the exported model differs from the trained one.
    """
    return export_with(run, to, ExportOptions(**options), overrides)


def export_with(
    run: AnyPath | TrainedModel, to: AnyPath, options: ExportOptions, overrides: Sequence[str] = ()
) -> Path | str:
    """:func:`export_run` with its options as one object, which was checked at its creation."""
    directory = open_directory(to)
    run = run if isinstance(run, TrainedModel) else open_run(run, overrides)
    _check(run, options)
    directory.require_writable()
    labels.read(directory)  # which --keep needs: a broken file is named before the work
    passed = requirements.check_known(run, options)
    index = None if options.index is None else open_index(options.index)
    ready = prepare(run, options)
    if index is not None:
        require_same_model(index, run, ready.trained)
    passed.update(requirements.check_measured(options, ready))
    further = _further_signatures(run, ready, options, index)
    identity = identity_of(run, ready.trained, options, further)
    if (published := versions.published(directory, identity)) is not None:
        if isinstance(same := directory.path(published), Path):
            compatibility.check(same, options.target_serving)
        say(f"{directory.path(published)} already holds this model; nothing to do")
        _prune(directory, options)
        return directory.path(published)
    number = versions.next_version(directory)
    module = ServingModule(ready.served, further)
    with (
        progress(f"exporting {directory.path(number)}", 3, note="tracing and writing it") as bar,
        directory.staging(number) as folder,
    ):
        temporary = folder / "model"
        _save(module, temporary)
        compatibility.make_portable(temporary)
        warm = warmup_requests.write(temporary, module, run.text_inputs, options.warmup)
        facts = {**_facts(run, directory, identity, options), **ready.facts}
        if index is not None:
            facts["index"] = served.facts(index, options.max_k)
        model_card.write(temporary, {**facts, "require": passed, "warmup_requests": warm})
        bar.advance(1, "checking its operations")
        checks.check_operations(temporary)
        compatibility.check(temporary, options.target_serving)
        further_variables = [variable for made in module.resources for variable in made.variables]
        tables = [*module.tokenizer.variables, *further_variables]
        checks.check_size(temporary, _bytes(module.weights), _bytes(tables))
        bar.advance(1, "running in a fresh process")
        rows, difference = check_parity(run, module, ready.trained, options.precision, temporary)
        bar.advance(1, "checked")
        number = versions.publish_version(temporary, directory, identity)
    version = directory.path(number)
    what = "held-out rows" if run.has_split("validation") else "texts"
    answers = (
        "matches the trained model"
        if options.precision == "float32"
        else f"answers in {options.precision} as in the process that exported it"
    )
    say(
        f"{version}: {answers} on {rows} {what} (largest difference {difference:.1e}), in a process without "
        "this package"
    )
    _prune(directory, options)
    return version


def _check(run: TrainedModel, options: ExportOptions) -> None:
    """Refuse a run that cannot be exported, before the expensive work."""
    if not run.has_weights(options.weights):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    run.vocabulary  # noqa: B018 - the first access refuses files that were edited
    if options.explain:
        explanations.check(run.task, run.model_config)
    check_options(run, options)


def _further_signatures(
    run: TrainedModel, ready: ServableModel, options: ExportOptions, index: Index | None
) -> dict[str, Signature]:
    """The signatures beside those that every task has, by name."""
    further = dict(run.task.signatures())
    if options.explain:
        explained = explanations.Explanations(ready.trained, options.explain_steps, ready.served.model)
        further[explanations.SIGNATURE] = explained.signature()
    if index is not None:
        further[served.SIGNATURE] = served.search_signature(index, options.max_k)
    return further


def _facts(
    run: TrainedModel, directory: ModelDirectory, identity: str, options: ExportOptions
) -> dict[str, Any]:
    """The facts for the card."""
    name = directory.address.rpartition("/")[2]
    described = model_card.describe(
        run,
        name,
        options.weights,
        options.licence,
        calibrated=options.calibrate,
        report=None if options.report is None else paths.local(options.report),
    )
    facts = {"identity": identity, **described}
    if options.explain:
        facts["explanations"] = explanations.describe(options.explain_steps)
    return facts


def _prune(directory: ModelDirectory, options: ExportOptions) -> None:
    """Remove old versions according to ``keep``."""
    removed = versions.prune(directory, options.keep) if options.keep else []
    if removed:
        which = ", ".join(map(str, removed))
        say(f"removed from {directory.address} (--keep {options.keep}): version {which}")


def _save(module: ServingModule, path: Path) -> None:
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # it is not trained further
    try:
        tf.saved_model.save(module, str(path), signatures=module.functions, options=options)
    except tf.errors.OpError as error:  # TensorFlow's writer reports a full disk this way
        raise write_failure(path.parent, str(error.message)) from error


def _bytes(variables: Sequence[Any]) -> int:
    total = 0
    for variable in variables:
        count = int(np.prod(variable.shape))
        if variable.dtype == tf.string:  # each text with its length
            total += int(tf.reduce_sum(tf.cast(tf.strings.length(variable), tf.int64))) + count
        else:
            total += count * variable.dtype.size
    return total
