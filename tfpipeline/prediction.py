"""`tfpipeline.predict`: predictions of any model, from one call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, overload

from tfpipeline.errors import UserError
from tfpipeline.paths import AnyPath
from tfpipeline.predictors import GENERATE, SIGNATURE, Labels, Texts, open_any, utf8_inputs
from tfpipeline.serving.client import Prediction
from tfpipeline.serving.client.conversations import check_kind, of_kind

if TYPE_CHECKING:
    from tfpipeline.training.trained_model import TrainedModel

_BATCH = 32
_Kind = TypeVar("_Kind", bound=Prediction)


@overload
def predict(
    model: Union[AnyPath, TrainedModel],
    texts: Union[str, bytes],
    text_pair: Union[str, bytes, None] = None,
    *,
    expect: type[_Kind],
    target: Optional[str] = None,
    signature: str = SIGNATURE,
    choices: Optional[Mapping[str, Any]] = None,
    batch_size: int = _BATCH,
    **options: Any,
) -> _Kind: ...


@overload
def predict(
    model: Union[AnyPath, TrainedModel],
    texts: Union[str, bytes],
    text_pair: Union[str, bytes, None] = None,
    *,
    target: Optional[str] = None,
    signature: str = SIGNATURE,
    choices: Optional[Mapping[str, Any]] = None,
    batch_size: int = _BATCH,
    **options: Any,
) -> Prediction: ...


@overload
def predict(
    model: Union[AnyPath, TrainedModel],
    texts: Texts,
    text_pair: Union[Texts, str, bytes, None] = None,
    *,
    expect: type[_Kind],
    adapter: Labels = None,
    target: Optional[str] = None,
    signature: str = SIGNATURE,
    choices: Optional[Mapping[str, Any]] = None,
    batch_size: int = _BATCH,
    **options: Any,
) -> list[_Kind]: ...


@overload
def predict(
    model: Union[AnyPath, TrainedModel],
    texts: Texts,
    text_pair: Union[Texts, str, bytes, None] = None,
    *,
    adapter: Labels = None,
    target: Optional[str] = None,
    signature: str = SIGNATURE,
    choices: Optional[Mapping[str, Any]] = None,
    batch_size: int = _BATCH,
    **options: Any,
) -> list[Prediction]: ...


def predict(
    model: Union[AnyPath, TrainedModel],
    texts: Union[Texts, str, bytes],
    text_pair: Union[Texts, str, bytes, None] = None,
    *,
    expect: type[Any] = Prediction,
    adapter: Labels = None,
    target: Optional[str] = None,
    signature: str = SIGNATURE,
    choices: Optional[Mapping[str, Any]] = None,
    batch_size: int = _BATCH,
    **options: Any,
) -> Any:
    """Predict for one text or many.

        tfpipeline.predict("runs/tweets", "what a day", expect=Classification).label
        tfpipeline.predict("tweets", ["what a day", "they lost my luggage"], target="localhost:8500")

    The model is loaded on each call. For many calls, open a predictor once (``with open_local(...) as
    predictor``), or query a server.

    Args:
        model: a run directory, a SavedModel, a model's directory of versions, or a fine-tuned checkpoint;
            with ``target``, the model's name on that server.
        texts: one text, or a list, an array or a column of them; str, or bytes in UTF-8.
        text_pair: the second texts, for models of pairs; a single text is used for all ``texts``.
        expect: the type of the predictions, such as :class:`Classification`, for type checkers and to be
            sure; by default any.
        adapter: the adapter of each text or one for all, for models of several (``export_adapters``).
        target: a server, ``HOST:PORT``.
        signature: the signature to call; it determines the unit of offsets.
        choices: how texts are written, such as ``{"num_beams": 4}``; see :meth:`PredictClient.generate`. They
            call the signature ``generate``.
        batch_size: number of texts per batch.
        options: with ``target``, those of :class:`PredictClient`: ``version``, ``timeout``, ``credentials``,
            ...
    Returns:
        One prediction per text, in order; for a single text, its prediction.
    Raises:
        UserError: there is no such model, or it takes different inputs.
        ClientError: the server does not respond, the texts cannot be sent (``InputError``), or the
            predictions are of another type than ``expect`` (``AnswerError``).
    """
    check_kind(expect)
    one, inputs = asked(texts, text_pair, batch_size, adapter)
    predictions: list[Prediction] = []
    signature = signature_of(signature, choices)
    with open_any(model, target, signature, options) as predictor:
        for start in range(0, len(inputs["text"]), batch_size):
            batch = {name: column[start : start + batch_size] for name, column in inputs.items()}
            if choices:
                predictions += predictor.generate(batch["text"], **choices)
            else:
                predictions += predictor.predict(batch["text"], batch.get("text_pair"), batch.get("adapter"))
    who = model if isinstance(model, (str, os.PathLike)) else "the model"
    fitting = of_kind(predictions, expect, f'{who}, signature "{signature}",')
    return fitting[0] if one else fitting


def signature_of(signature: str, choices: Optional[Mapping[str, Any]]) -> str:
    """The signature to call: ``generate`` if there are choices.

    Raises:
        UserError: another one was named.
    """
    if not choices:
        return signature
    if signature not in (SIGNATURE, GENERATE):
        raise UserError(
            f'{next(iter(choices))} is a choice of the signature "{GENERATE}", not of "{signature}"'
        )
    return GENERATE


def asked(
    texts: Union[Texts, str, bytes],
    text_pair: Union[Texts, str, bytes, None],
    batch_size: int,
    adapter: Labels = None,
) -> tuple[bool, dict[str, list[bytes]]]:
    """Whether one text is asked for, and what is asked, checked; arguments as of :func:`predict`."""
    one = isinstance(texts, (str, bytes))
    rows: Any = [texts] if isinstance(texts, (str, bytes)) else texts
    if isinstance(text_pair, (str, bytes)):
        rows = list(rows) if isinstance(rows, Iterable) else rows
        text_pair = [text_pair] * len(rows)
    inputs = utf8_inputs(rows, text_pair, adapter)
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; give 1 or more")
    return one, inputs
