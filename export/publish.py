"""Publishes a trained run as the next version of a served model."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline import paths
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.export import checks
from tfpipeline.export.signatures import TOKENS, ServingModule, text_signatures
from tfpipeline.files import AppearedError, publish, temporary_folder, write_failure
from tfpipeline.models.inputs import of_second_text
from tfpipeline.paths import AnyPath
from tfpipeline.training.opening import open_run
from tfpipeline.training.run import environment
from tfpipeline.training.trained_model import TrainedModel

CARD = Path("assets.extra") / "tfpipeline.json"  # servers ignore it
_PARITY_ROWS = 256
# Beside the run's own held-out rows: what real traffic also holds.
_HOSTILE = (
    "",
    "   ",
    "a" * 5000,
    "a long text, " * 500,
    "😀 e\u0301 ﬁ 你好",
    "[MASK] [SEP] x",
    "\u0000\u200b\ufffd",
    # Whoever finds something in texts finds it here, behind characters of more than a byte, and of two UTF-16
    # units.
    "😀 Ángela Merkel met Barack Obama in Zürich on 3 May 2010, and in 北京.",
)


def export_run(
    run: AnyPath | TrainedModel, to: AnyPath, *, weights: str = "best", overrides: Sequence[str] = ()
) -> Path:
    """Write a run's model as the next version under ``to``, checked before anybody can load it.

    The SavedModel is written under a temporary name that no server picks up; a fresh process that imports
    none of our code answers held-out rows from it, which must equal the trained model's answers; then it is
    renamed. Computation is float32 whatever precision the run was trained in.

    Args:
        run: a run directory, or a checkpoint that someone else fine-tuned.
        to: the model's directory, e.g. ``models/sentiment``; versions are the integers inside it.
        weights: "best" or "last".
        overrides: for a checkpoint, settings that its files do not hold, such as ``text.max_length=128``.
    Returns:
        The version's directory. When the newest version holds this very model, that one, and nothing is
        written.
    Raises:
        UserError: no such run, it is not trained, or ``to`` can't be written.
        checks.ExportError: the exported model is not the trained one.
    """
    run = run if isinstance(run, TrainedModel) else open_run(run, overrides)
    to = paths.local(to)
    if not run.has_weights(weights):
        raise UserError(
            f"{run.path} has not finished an epoch yet; train it first: tfpipeline train RUN_FILE"
        )
    if to.exists() and not to.is_dir():
        raise UserError(f"{to} is a file; name a folder for the model's versions")
    model = run.model(weights, precision="float32")
    identity = _identity(run, model)
    if (published := _published(to, identity)) is not None:
        say(f"{published} already holds this model; nothing to do")
        return published
    version = _next(to)
    module = ServingModule(run.graph(model))
    with (
        progress(f"exporting {version}", 3, note="tracing and writing it") as bar,
        temporary_folder(version) as folder,
    ):
        temporary = folder / "model"
        _save(module, temporary)
        _write_card(temporary / CARD, run, identity, weights)
        bar.advance(1, "checking its operations")
        checks.check_operations(temporary)
        checks.check_size(temporary, _bytes(module.weights), _bytes(module.tokenizer.variables))
        bar.advance(1, "asking it in a fresh process")
        rows, difference = _check_parity(run, module, model, temporary, bar)
        version = _publish(temporary, to, identity)
    what = "held-out rows" if run.has_split("validation") else "texts"
    say(
        f"{version}: matches the trained model on {rows} {what} (largest difference {difference:.1e}), "
        "in a process without this package"
    )
    return version


def _publish(written: Path, to: Path, identity: str) -> Path:
    """Give what was written its version; the one after it if another export has taken that meanwhile."""
    while True:
        if (published := _published(to, identity)) is not None:
            return published  # another export of the same model was first
        version = _next(to)
        with contextlib.suppress(AppearedError):
            publish(written, version)
            return version


def _published(to: Path, identity: str) -> Path | None:
    """The newest version, if it is this very model."""
    newest = max(versions(to), default=0)
    same = newest and _card(to / str(newest)).get("identity") == identity
    return to / str(newest) if same else None


def _next(to: Path) -> Path:
    return to / str(max(versions(to), default=0) + 1)


def versions(model_directory: Path) -> list[int]:
    """The versions under a model's directory."""
    if not model_directory.is_dir():
        return []
    return sorted(
        int(path.name) for path in model_directory.iterdir() if path.is_dir() and path.name.isdecimal()
    )


def _save(module: ServingModule, path: Path) -> None:
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # nobody trains it further
    try:
        tf.saved_model.save(module, str(path), signatures=module.functions, options=options)
    except tf.errors.OpError as error:  # how TensorFlow's own writer reports a full disk
        raise write_failure(path.parent, str(error.message)) from error


def _check_parity(
    run: TrainedModel, module: ServingModule, model: Any, saved_model: Path, bar: Any
) -> tuple[int, float]:
    """Compare all signatures' answers in a fresh process with those of the training path.

    Returns:
        How many texts were compared, and the largest difference.
    """
    examples = [
        example
        for split in ("test", "validation")
        if run.has_split(split)
        for example in run.examples(split)[:_PARITY_ROWS]
    ][:_PARITY_ROWS]
    texts = [*_HOSTILE, *(example.text for example in examples)]
    pairs: Sequence[str] | None = None
    if run.has_pairs:
        pairs = [*reversed(_HOSTILE), *(example.text_pair or "" for example in examples)]
    asked = {"text": texts, **({"text_pair": pairs} if pairs is not None else {})}
    graph = run.graph(model)
    inputs = graph.text_inputs(asked)
    predictions = graph(inputs)
    arrays = {name: tensor.numpy() for name, tensor in predictions.items()}
    near_ties = run.task.scorer.near_ties(arrays, 2 * checks.TOLERANCE)
    units, differences = text_signatures(run.task), []
    answered = checks.answers_of_fresh_process(saved_model, _requests(module, asked, inputs))
    for signature, got in answered.items():
        counted = graph.in_unit(predictions, inputs, units.get(signature, "code_points"))
        expected = {name: _plain(tensor.numpy()) for name, tensor in counted.items()}
        differences.append(checks.largest_difference(expected, got, near_ties))
    bar.advance(1, "checked")
    return len(texts), max(differences)


def _requests(
    module: ServingModule, texts: Mapping[str, Sequence[str]], inputs: Mapping[str, tf.Tensor]
) -> dict[str, Any]:
    """What each signature is asked: the texts, or their tokens."""
    requests: dict[str, Any] = dict.fromkeys(module.functions, texts)
    if TOKENS in requests:
        requests[TOKENS] = _ids(inputs)
        second = of_second_text(inputs)
        if second:
            requests[TOKENS].update({f"text_pair_{name}": array for name, array in _ids(second).items()})
        elif "text_pair" in texts:
            requests[TOKENS]["token_type_ids"] = inputs["token_type_ids"].numpy()
    return requests


def _ids(inputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    lengths = tf.reduce_sum(inputs["attention_mask"], axis=-1)
    return {"input_ids": inputs["input_ids"].numpy(), "lengths": lengths.numpy()}


def _plain(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    texts = [text.decode("utf-8") for text in array.flat]
    return np.array(texts, object).reshape(array.shape)


def _identity(run: TrainedModel, model: Any) -> str:
    """A hash of the weights and of all that decides the answers.

    Not of the files: the bytes of ``saved_model.pb`` differ from one export to the next.
    """
    digest = hashlib.sha256()
    for variable in sorted(model.weights, key=lambda variable: variable.path):
        digest.update(f"{variable.path} {variable.shape} {variable.dtype}\n".encode())
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    options = run.config.task.model_dump(mode="json")
    digest.update(
        json.dumps(
            [run.text_identity, run.truncation.identity(), options, run.task.fitted], sort_keys=True
        ).encode()
    )
    return digest.hexdigest()


def _write_card(path: Path, run: TrainedModel, identity: str, weights: str) -> None:
    path.parent.mkdir(exist_ok=True)
    card = {"identity": identity, "run": run.name, "weights": weights, "environment": environment()}
    path.write_text(json.dumps(card, indent=1), "utf-8")


def _card(version: Path) -> dict[str, Any]:
    """What an earlier export noted; nothing for a SavedModel that is not ours."""
    path = version / CARD
    if not path.exists():
        return {}
    card: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return card


def _bytes(variables: Sequence[Any]) -> int:
    return sum(int(np.prod(variable.shape)) * variable.dtype.size for variable in variables)
