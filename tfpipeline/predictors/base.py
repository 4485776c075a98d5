"""What all predictors share: their methods, and checks of what they are asked."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable, Optional, Union

from tfpipeline.errors import UserError
from tfpipeline.serving.client import Explanation, Generation, Hit, Prediction, generation, hints, predictions
from tfpipeline.serving.client import texts as columns

Texts = Iterable[Union[str, bytes]]
Labels = Union[Texts, str, bytes, None]
SIGNATURE, EXPLAIN, SEARCH, GENERATE = "serving_default", "explain", "search", generation.GENERATE


class Predictor(abc.ABC):
    """Predicts for batches of texts; a context manager."""

    @abc.abstractmethod
    def predict(
        self, texts: Texts, text_pair: Optional[Texts] = None, adapter: Labels = None
    ) -> list[Prediction]:
        """One prediction per text, in their order.

        Args:
            texts: a list, an array or a column of str, or of bytes in UTF-8.
            text_pair: the second texts, for models of pairs.
            adapter: the adapter of each text or one for all, for models of several.
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

    def generate(self, texts: generation.Sources, **choices: Any) -> list[Generation]:
        """Write texts with the signature ``generate``; see :meth:`PredictClient.generate`. With this
        signature, :meth:`predict` does so too, and leaves all choices to the model.

        Raises:
            InputError: as of :meth:`predict`.
            UserError: the model writes no texts, or a choice is out of range.
        """
        raise UserError(f"{type(self).__name__} cannot write texts")

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most predictors hold nothing
        """Release all resources."""


def utf8_inputs(texts: Texts, text_pair: Optional[Texts], adapter: Labels = None) -> dict[str, list[bytes]]:
    """The inputs as they would be sent to a server, with the same checks as in the client."""
    return {name: list(column) for name, column in columns.text_inputs(texts, text_pair, adapter).items()}


def explanations_of(tf: Any, function: Callable[[dict[str, Any]], Any], inputs: Any) -> list[Explanation]:
    """What a function of tensors says of texts.

    Raises:
        UserError: the model refuses them, such as a label that it does not know.
    """
    answers = asked(tf, lambda **given: function(given), inputs, "explain this")
    return [answer for answer in answers if isinstance(answer, Explanation)]


def written(
    tf: Any, function: Callable[..., Any], texts: generation.Sources, choices: Mapping[str, Any]
) -> list[Generation]:
    """What a signature ``generate`` writes."""
    inputs = generation.inputs_of(texts, choices, generation.SEPARATOR)
    answers = asked(tf, function, inputs, "write this")
    return [answer for answer in answers if isinstance(answer, Generation)]


def asked(tf: Any, function: Callable[..., Any], inputs: Any, what: str) -> list[Prediction]:
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


def check_signature(path: Union[str, Path], signature: str, known: Iterable[str]) -> None:
    if signature not in known:
        raise UserError(f'{path} has no signature "{signature}"; it has: {", ".join(sorted(known))}')


def check_inputs(what: str, wanted: Iterable[str], given: Iterable[str]) -> None:
    if sorted(wanted) == sorted(given):
        return
    others = {*wanted} ^ {*given}
    if others - {"text_pair", columns.ADAPTER}:
        advice = "choose a signature that takes texts alone"
    elif columns.ADAPTER in others:
        advice = "leave out the adapter (adapter; --adapter or --adapter-column)"
        if columns.ADAPTER in wanted:
            advice = "name the adapter of the texts with --adapter, or its column with --adapter-column"
    elif "text_pair" in wanted:
        advice = "give the second text with --pair, or name its column with --pair-column"
    else:
        advice = "leave out the second text (text_pair; --pair or --pair-column)"
    raise UserError(
        f"the {what} takes {', '.join(sorted(wanted))}, but was given {', '.join(given)}; {advice}"
    )
