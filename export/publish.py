"""Publishes a trained run as the next version of a served model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.console import progress, say
from tfpipeline.export import checks, compatibility, labels, model_card, versions
from tfpipeline.export import warmup as warmup_requests
from tfpipeline.export.adapter_source import AdapterSource
from tfpipeline.export.model_directory import ModelDirectory, open_directory
from tfpipeline.export.options import ExportOptions
from tfpipeline.export.parity import check_parity
from tfpipeline.export.signatures import ServingModule
from tfpipeline.export.source import RunSource, Source
from tfpipeline.files import write_failure
from tfpipeline.paths import AnyPath
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
    opened = run if isinstance(run, TrainedModel) else open_run(run, overrides)
    return _publish(RunSource(opened, options), directory, options)


def export_adapters(
    runs: Sequence[AnyPath] | Mapping[str, AnyPath], to: AnyPath, **options: Any
) -> Path | str:
    """Write one model of the adapters of several runs as the next version under ``to``; see
    docs/many-adapters.md.

        tfpipeline.export_adapters(["runs/tweets", "runs/movie"], "models/desk")

    The adapters share the base, which is stored and computed once. A request names the adapter of each row
    in the input ``adapter``. The version is checked as :func:`export_run` checks it, with rows of each run.

    Args:
        runs: run directories that were trained with a ``peft`` section from one checkpoint; an adapter has
            the name of its directory. Or name -> run directory.
        to: as of :func:`export_run`.
        options: the fields of :class:`tfpipeline.export.options.ExportOptions` that concern the files, such
            as ``warmup`` and ``keep``.
    Returns:
        As :func:`export_run`.
    Raises:
        UserError: two adapters have one name, a run has no adapter or does not fit the first one, or an
            option cannot be used with adapters.
        checks.ExportError: the exported model differs from a trained one.
    """
    return export_adapters_with(runs, to, ExportOptions(**options))


def export_adapters_with(
    runs: Sequence[AnyPath] | Mapping[str, AnyPath], to: AnyPath, options: ExportOptions
) -> Path | str:
    """:func:`export_adapters` with its options as one object."""
    directory = open_directory(to)
    return _publish(AdapterSource(runs, directory, options), directory, options)


def _publish(source: Source, directory: ModelDirectory, options: ExportOptions) -> Path | str:
    """Publish what a source prepares as the next version."""
    source.check()
    directory.require_writable()
    labels.read(directory)  # which --keep needs: a broken file is named before the work
    ready = source.prepare()
    identity = source.identity
    if (published := versions.published(directory, identity)) is not None:
        if isinstance(same := directory.path(published), Path):
            compatibility.check(same, options.target_serving)
        say(f"{directory.path(published)} already holds this model; nothing to do")
        _prune(directory, options)
        return directory.path(published)
    number = versions.next_version(directory)
    module = ServingModule(ready.served, source.further)
    with (
        progress(f"exporting {directory.path(number)}", 3, note="tracing and writing it") as bar,
        directory.staging(number) as folder,
    ):
        temporary = folder / "model"
        _save(module, temporary)
        compatibility.make_portable(temporary)
        warm = warmup_requests.write(temporary, module, ready.served.text_inputs, options.warmup)
        name = directory.address.rpartition("/")[2]
        facts = {"identity": identity, **source.facts(name), "warmup_requests": warm}
        model_card.write(temporary, facts)
        bar.advance(1, "checking its operations")
        checks.check_operations(temporary)
        compatibility.check(temporary, options.target_serving)
        further_variables = [variable for made in module.resources for variable in made.variables]
        tables = [*module.tokenizer.variables, *further_variables]
        checks.check_size(temporary, _bytes(module.weights), _bytes(tables))
        bar.advance(1, "running in a fresh process")
        rows, difference = check_parity(ready.references, module, options.precision, temporary)
        bar.advance(1, "checked")
        number = versions.publish_version(temporary, directory, identity)
    version = directory.path(number)
    what = "held-out rows" if ready.references[0].run.has_split("validation") else "texts"
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
