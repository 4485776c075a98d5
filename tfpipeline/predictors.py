"""Predictors: a server, a SavedModel, a run or a checkpoint, all with the same typed predictions."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from tfpipeline import paths
from tfpipeline.console import say
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.mistaken import check_run
from tfpipeline.paths import AnyPath
from tfpipeline.serving.client import (
    Explanation,
    Hit,
    PredictClient,
    Prediction,
    checks,
    hints,
    predictions,
)
from tfpipeline.serving.client import texts as columns

if TYPE_CHECKING:
    from tfpipeline.training.trained_model import TrainedModel

Texts = Iterable[Union[str, bytes]]
Labels = Union[Texts, str, bytes, None]
SIGNATURE, _EXPLAIN, _SEARCH = "serving_default", "explain", "search"
_SEARCHED = 32  # queries at a time


def open_any(
    model: Union[AnyPath, TrainedModel],
    target: Optional[str],
    signature: str = SIGNATURE,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Predictor:
    """The predictor for a model, or for a model on a server; see :func:`tfpipeline.predict`.

    Raises:
        UserError: there is no such model, or options are given that are for a server only.
    """
    if target is not None:
        return ServerPredictor(target, str(model), signature=signature, **options)
    if options:
        raise UserError(f"{', '.join(sorted(options))}: for a server only; give its target as well")
    return open_local(model, signature)


class Predictor(abc.ABC):
    """Predicts for batches of texts; a context manager."""

    @abc.abstractmethod
    def predict(self, texts: Texts, text_pair: Optional[Texts] = None) -> list[Prediction]:
        """One prediction per text, in their order.

        Args:
            texts: a list, an array or a column of str, or of bytes in UTF-8.
            text_pair: the second texts, for models of pairs.
        Raises:
            InputError: a single string instead of a list, a row that is not a text, or lists of different
                lengths.
        """

    def explain(
        self, texts: Texts, text_pair: Optional[Texts] = None, labels: Labels = None
    ) -> list[Explanation]:
        """One explanation per text, in their order.

        Args:
            texts, text_pair: as of :meth:`predict`.
            labels: the answer to explain, of each text or one for all; by default the predicted one.
        Raises:
            InputError: as of :meth:`predict`.
            UserError: the model cannot be explained, or does not know a label.
        """
        raise UserError(f"{type(self).__name__} cannot explain predictions")

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        """Search for each query in the model's index; see :meth:`PredictClient.search`.

        Raises:
            InputError: as of :meth:`predict`.
            UserError: the model has no index, or k is out of range.
        """
        raise UserError(f"{type(self).__name__} cannot search")

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most predictors hold nothing
        """Release all resources."""


class ServerPredictor(Predictor):
    """Queries a running server with the thin client; see :class:`PredictClient` for the options."""

    def __init__(self, target: str, model: str, **options: Any) -> None:
        self._client = PredictClient(target, model=model, **options)

    def predict(self, texts: Texts, text_pair: Optional[Texts] = None) -> list[Prediction]:
        return self._client.predict(texts, text_pair)

    def explain(
        self, texts: Texts, text_pair: Optional[Texts] = None, labels: Labels = None
    ) -> list[Explanation]:
        return self._client.explain(texts, text_pair, labels=labels)

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        return self._client.search(queries, k)

    def close(self) -> None:
        self._client.close()


class SavedModelPredictor(Predictor):
    """Runs a SavedModel in this process.

    Args:
        path: a version's directory, or a model's directory (its newest version is taken).
        signature: a signature that takes strings.
    """

    def __init__(self, path: AnyPath, signature: str = SIGNATURE) -> None:
        path = paths.expand(path).removeprefix("file://")
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
        self._path = path
        self._function = self._model.signatures[signature]
        self._inputs = list(self._function.structured_input_signature[1])

    def predict(self, texts: Texts, text_pair: Optional[Texts] = None) -> list[Prediction]:
        inputs = utf8_inputs(texts, text_pair)
        _check_inputs("SavedModel", self._inputs, inputs)
        asked = {name: self._tensorflow.constant(value) for name, value in inputs.items()}
        answers = {name: tensor.numpy() for name, tensor in self._function(**asked).items()}
        return predictions.decode(answers)

    def explain(
        self, texts: Texts, text_pair: Optional[Texts] = None, labels: Labels = None
    ) -> list[Explanation]:
        if _EXPLAIN not in self._model.signatures:
            raise UserError(f'{self._path} has no signature "{_EXPLAIN}"; export it again with --explain')
        inputs = columns.explain_inputs(texts, text_pair, labels)
        function = self._model.signatures[_EXPLAIN]
        _check_inputs("SavedModel", function.structured_input_signature[1], inputs)
        return _explanations(self._tensorflow, lambda asked: function(**asked), inputs)

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        if _SEARCH not in self._model.signatures:
            raise UserError(f'{self._path} has no signature "{_SEARCH}"; export it again with --index')
        checks.whole("k", k, 1)
        texts = utf8_inputs(queries, None)["text"]
        found: list[list[Hit]] = []
        for start in range(0, len(texts), _SEARCHED):
            part = texts[start : start + _SEARCHED]
            inputs = {"text": part, "k": [k] * len(part)}
            answers = _asked(self._tensorflow, self._model.signatures[_SEARCH], inputs, "search for this")
            found += [one.hits for one in answers if isinstance(one, predictions.SearchResult)]
        return found


class RunPredictor(Predictor):
    """Runs a trained run's model, or a fine-tuned checkpoint, in this process.

    Args:
        run: a run directory, a checkpoint in any form, or an open run.
        weights: "best", "last" or "initial".
        signature: a signature of the exported model that takes strings; it determines the unit of offsets.
    """

    def __init__(
        self, run: Union[AnyPath, TrainedModel], weights: str = "best", signature: str = SIGNATURE
    ) -> None:
        with explain_missing_extra():
            from tfpipeline.runtime import import_tensorflow

            import_tensorflow()
            from tfpipeline.export import signatures
            from tfpipeline.training import TrainedModel, open_run
        self._run = run if isinstance(run, TrainedModel) else open_run(run)
        units = signatures.text_signatures(self._run.task)
        further = {
            name: declared
            for name, declared in self._run.task.signatures().items()
            if declared.inputs.keys() <= {"text", "text_pair"}
        }
        _check_signature(self._run.name, signature, {**units, **further})
        self._unit = units.get(signature, "code_points")
        self._declared = further.get(signature)
        self._weights = weights
        self._explanations: Optional[Callable[[dict[str, Any]], Any]] = None
        self._model = self._run.model(weights)
        self._asked = False

    def predict(self, texts: Texts, text_pair: Optional[Texts] = None) -> list[Prediction]:
        inputs = utf8_inputs(texts, text_pair)
        _check_inputs("run", self._wanted(inputs), inputs)
        self._say_what_is_unknown(inputs["text"], inputs.get("text_pair"))
        if self._declared is not None:
            graph = self._run.graph(self._model)
            answers = self._declared.function(graph, inputs)
            return predictions.decode({name: tensor.numpy() for name, tensor in answers.items()})
        arrays = self._run.predict(self._model, inputs["text"], inputs.get("text_pair"), unit=self._unit)
        return predictions.decode(arrays)

    def explain(
        self, texts: Texts, text_pair: Optional[Texts] = None, labels: Labels = None
    ) -> list[Explanation]:
        from tfpipeline.export import explanations
        from tfpipeline.runtime import import_tensorflow

        tf = import_tensorflow()
        inputs = columns.explain_inputs(texts, text_pair, labels)
        _check_inputs("run", [*self._run.text_inputs.names, explanations.LABEL], inputs)
        if self._explanations is None:
            explanations.check(self._run.task, self._run.model_config)
            # As it is exported, whatever precision it was trained in.
            graph = self._run.graph(self._run.model(self._weights, precision="float32"))
            text = {name: tf.TensorSpec([None], tf.string) for name in inputs}
            self._explanations = tf.function(
                explanations.Explanations(graph).__call__, input_signature=[text], autograph=False
            )
        second = list(inputs["text_pair"]) if self._run.has_pairs else None
        self._say_what_is_unknown(list(inputs["text"]), second)
        return _explanations(tf, self._explanations, inputs)

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        name = self._run.name
        raise UserError(
            f"{name} is a model without an index; make one (tfpipeline index {name} --data FILE --to INDEX) "
            "and name it"
        )

    def _wanted(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """The inputs of a prediction: a task that does not ask for pairs may be given one."""
        if self._declared is not None:
            return tuple(self._declared.inputs)
        names = self._run.text_inputs.names
        options = self._run.config.task
        may_have_pair = options.encoding == "separate" and not options.asks_for_pairs
        return (*names, "text_pair") if may_have_pair and "text_pair" in given else names

    def _say_what_is_unknown(self, texts: list[bytes], text_pair: Optional[list[bytes]]) -> None:
        """Warn once, because the first texts show whether they are in the vocabulary's language."""
        if self._asked or not texts:
            return
        self._asked = True
        note = self._run.note_on_texts(texts, text_pair)
        if note is not None:
            say(note)


def utf8_inputs(texts: Texts, text_pair: Optional[Texts]) -> dict[str, list[bytes]]:
    """The inputs as they would be sent to a server, with the same checks as in the client."""
    return {name: list(column) for name, column in columns.text_inputs(texts, text_pair).items()}


def _explanations(tf: Any, function: Callable[[dict[str, Any]], Any], inputs: Any) -> list[Explanation]:
    """What a function of tensors says of texts.

    Raises:
        UserError: the model refuses them, such as a label that it does not know.
    """
    answers = _asked(tf, lambda **given: function(given), inputs, "explain this")
    return [answer for answer in answers if isinstance(answer, Explanation)]


def _asked(tf: Any, function: Callable[..., Any], inputs: Any, what: str) -> list[Prediction]:
    """The predictions of a function of tensors, for columns of inputs.

    Raises:
        UserError: the model refuses them; says what it cannot do.
    """
    count = len(inputs["text"])
    if not count:
        return []
    try:
        answers = function(**{name: tf.constant(list(column)) for name, column in inputs.items()})
    except tf.errors.InvalidArgumentError as error:
        reason = " ".join(hints.reason(str(error.message)).split())
        raise UserError(f"the model cannot {what}: {reason}") from error
    return predictions.decode({name: tensor.numpy() for name, tensor in answers.items()}, count)


def _check_signature(path: Union[str, Path], signature: str, known: Iterable[str]) -> None:
    if signature not in known:
        raise UserError(f'{path} has no signature "{signature}"; it has: {", ".join(sorted(known))}')


def _check_inputs(what: str, wanted: Iterable[str], given: Iterable[str]) -> None:
    if sorted(wanted) == sorted(given):
        return
    others = {*wanted} ^ {*given}
    if others != {"text_pair"}:
        advice = "choose a signature that takes texts alone"
    elif "text_pair" in wanted:
        advice = "give the second text with --pair, or name its column with --pair-column"
    else:
        advice = "leave out the second text (text_pair; --pair or --pair-column)"
    raise UserError(
        f"the {what} takes {', '.join(sorted(wanted))}, but was given {', '.join(given)}; {advice}"
    )


def open_local(source: Union[AnyPath, TrainedModel], signature: str = SIGNATURE) -> Predictor:
    """The predictor for a run directory, a SavedModel, a directory of versions, or a fine-tuned checkpoint.

    Raises:
        UserError: the path is none of these.
    """
    if not isinstance(source, (str, os.PathLike)):
        return RunPredictor(source, signature=signature)
    if paths.is_far(source):
        return _open_far(paths.expand(source).rstrip("/"), signature)
    path = paths.local(source)
    if (path / "saved_model.pb").is_file():
        return SavedModelPredictor(path, signature)
    if not path.exists():
        check_run(path)
        raise UserError(
            f"{path}: no such directory; name a run, a SavedModel, a model's directory of versions, "
            "or a checkpoint"
        )
    if path.is_dir() and (version := _newest(str(path))):
        return SavedModelPredictor(version, signature)
    check_run(source)
    if path.is_dir() and not (path / "config.yaml").is_file() and not _is_checkpoint(path):
        check_run(source, unread=True)
        raise UserError(
            f"{path} is neither a run (config.yaml), nor a SavedModel (saved_model.pb), nor a directory of "
            "versions (1, 2, ...), nor a checkpoint"
        )
    return RunPredictor(source, signature=signature)


def _open_far(address: str, signature: str) -> Predictor:
    """What lies on a far file system: a SavedModel, versions, or else a run or a checkpoint."""
    with explain_missing_extra():
        from tfpipeline.runtime import import_tensorflow

        tf = import_tensorflow()
        from tfpipeline.export.model_directory import MARKER

    if paths.scheme(address) in tf.io.gfile.get_registered_schemes():
        if _there(tf, f"{address}/{MARKER}"):
            return SavedModelPredictor(address, signature)
        if "/" in address.partition("://")[2] and (version := _newest(address)):
            return SavedModelPredictor(version, signature)
    return RunPredictor(address, signature=signature)


def _newest(model: str) -> Optional[str]:
    """The directory of a model's newest version; None if it has none."""
    from tfpipeline.export.model_directory import open_directory

    versions = open_directory(model).versions()
    return f"{model}/{versions[max(versions)]}" if versions else None


def _there(tf: Any, path: str) -> bool:
    try:
        return bool(tf.io.gfile.exists(path))
    except tf.errors.OpError as error:
        reason = (str(error.message).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"cannot read {path}: {reason}; check the address and your rights to it") from error


def _is_checkpoint(path: Path) -> bool:
    with explain_missing_extra():
        from tfpipeline.runtime import import_tensorflow

        import_tensorflow()
        from tfpipeline import checkpoints
    return bool(checkpoints.is_checkpoint(path))
