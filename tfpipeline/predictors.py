"""Who answers: a server, a SavedModel directory, a run or a checkpoint. All give the same typed predictions."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.serving.client import PredictClient, Prediction, predictions, tensors


class Predictor(abc.ABC):
    """Answers batches of texts; a context manager."""

    @abc.abstractmethod
    def predict(self, texts: Sequence[str], text_pair: Optional[Sequence[str]] = None) -> list[Prediction]:
        """One prediction a text, in their order."""

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most predictors hold nothing
        """Give back what is held."""


class ServerPredictor(Predictor):
    """Asks a running server through the thin client; see :class:`PredictClient` for the options."""

    def __init__(self, target: str, model: str, **options: Any) -> None:
        self._client = PredictClient(target, model=model, **options)

    def predict(self, texts: Sequence[str], text_pair: Optional[Sequence[str]] = None) -> list[Prediction]:
        return self._client.predict(texts, text_pair)

    def close(self) -> None:
        self._client.close()


class SavedModelPredictor(Predictor):
    """Runs a SavedModel in this process.

    Args:
        path: a version's directory, or a model's directory (its newest version is taken).
        signature: a signature that takes strings.
    """

    def __init__(self, path: Path, signature: str = "serving_default") -> None:
        with explain_missing_extra():
            from tfpipeline.runtime import import_tensorflow

            tf = import_tensorflow()
        self._tensorflow = tf
        try:
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            first = str(error).splitlines()[0]
            raise UserError(f"cannot load the SavedModel in {path}: {first}; export it again") from error
        _check_signature(path, signature, self._model.signatures)
        self._function = self._model.signatures[signature]
        self._inputs = list(self._function.structured_input_signature[1])

    def predict(self, texts: Sequence[str], text_pair: Optional[Sequence[str]] = None) -> list[Prediction]:
        inputs = _utf8(texts, text_pair)
        _check_inputs("SavedModel", self._inputs, inputs)
        asked = {name: self._tensorflow.constant(value) for name, value in inputs.items()}
        answers = {name: tensor.numpy() for name, tensor in self._function(**asked).items()}
        return predictions.decode(answers)


class RunPredictor(Predictor):
    """Runs a trained run's model, or a fine-tuned checkpoint, in this process.

    Args:
        path: a run's directory, or a checkpoint in any form.
        weights: "best", "last" or "initial".
        signature: one of those that the exported model will have, of strings; it says how places in texts are counted.
    """

    def __init__(
        self, path: Union[str, Path], weights: str = "best", signature: str = "serving_default"
    ) -> None:
        with explain_missing_extra():
            from tfpipeline.runtime import import_tensorflow

            self._tensorflow = import_tensorflow()
            from tfpipeline.export import signatures
            from tfpipeline.training import open_run
        self._run = open_run(path)
        units = signatures.text_signatures(self._run.task)
        _check_signature(path, signature, units)
        self._in_unit = functools.partial(signatures.in_unit, self._run.task, units[signature])
        self._model = self._run.model(weights)

    def predict(self, texts: Sequence[str], text_pair: Optional[Sequence[str]] = None) -> list[Prediction]:
        wanted = ["text", *(["text_pair"] if self._run.has_pairs else [])]
        inputs = _utf8(texts, text_pair)
        _check_inputs("run", wanted, inputs)
        answers = self._run.answer(self._model, texts, text_pair)
        constant = self._tensorflow.constant
        strings = {name: constant(value) for name, value in inputs.items()}
        counted = self._in_unit({name: constant(array) for name, array in answers.items()}, strings)
        return predictions.decode({name: tensor.numpy() for name, tensor in counted.items()})


def _utf8(texts: Sequence[str], text_pair: Optional[Sequence[str]]) -> dict[str, list[bytes]]:
    """What is asked, as it would be sent to a server.

    Raises:
        InputError: a text is none that UTF-8 can carry, as the client has it.
    """
    inputs = {"text": texts, **({"text_pair": text_pair} if text_pair is not None else {})}
    return {name: tensors.utf8(value, name) for name, value in inputs.items()}


def _check_signature(path: Union[str, Path], signature: str, known: Iterable[str]) -> None:
    if signature not in known:
        raise UserError(f'{path} has no signature "{signature}"; it has: {", ".join(sorted(known))}')


def _check_inputs(what: str, wanted: Iterable[str], given: Iterable[str]) -> None:
    if sorted(wanted) == sorted(given):
        return
    pairs = "text_pair" in wanted
    advice = (
        "give the second text with --pair, or name its column with --pair-column"
        if pairs
        else "leave --pair-column out"
    )
    raise UserError(
        f"the {what} takes {', '.join(sorted(wanted))}, but was given {', '.join(given)}; {advice}"
    )


def open_local(source: Union[str, Path], signature: str = "serving_default") -> Predictor:
    """The predictor for a run directory, a SavedModel, a directory of versions, or a fine-tuned checkpoint.

    Raises:
        UserError: it is none of them.
    """
    path = Path(source)
    if (path / "saved_model.pb").is_file():
        return SavedModelPredictor(path, signature)
    versions = []
    if path.is_dir():
        versions = [int(child.name) for child in path.iterdir() if child.name.isdecimal() and child.is_dir()]
    elif not path.exists() and "://" not in str(source):
        raise UserError(
            f"{path}: no such directory; name a run, a SavedModel, a model's directory of versions, or a checkpoint"
        )
    if versions:
        return SavedModelPredictor(path / str(max(versions)), signature)
    if path.is_dir() and not (path / "config.yaml").is_file() and not _is_checkpoint(path):
        raise UserError(
            f"{path} is neither a run (config.yaml), nor a SavedModel (saved_model.pb), nor a directory of versions "
            "(1, 2, ...), nor a checkpoint"
        )
    return RunPredictor(source, signature=signature)


def _is_checkpoint(path: Path) -> bool:
    with explain_missing_extra():
        from tfpipeline.runtime import import_tensorflow

        import_tensorflow()
        from tfpipeline import checkpoints
    return bool(checkpoints.is_checkpoint(path))
