"""What each word contributes to a prediction: asked of whatever answers `predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union, overload

from tfpipeline.paths import AnyPath
from tfpipeline.prediction import asked
from tfpipeline.predictors import Labels, Texts, open_any
from tfpipeline.serving.client import Explanation
from tfpipeline.serving.client import texts as text_columns

if TYPE_CHECKING:
    from tfpipeline.training.trained_model import TrainedModel

BATCH = 8


@overload
def explain(
    model: Union[AnyPath, TrainedModel],
    texts: Union[str, bytes],
    text_pair: Union[str, bytes, None] = None,
    *,
    labels: Labels = None,
    target: Optional[str] = None,
    batch_size: int = BATCH,
    **options: Any,
) -> Explanation: ...


@overload
def explain(
    model: Union[AnyPath, TrainedModel],
    texts: Texts,
    text_pair: Union[Texts, str, bytes, None] = None,
    *,
    labels: Labels = None,
    target: Optional[str] = None,
    batch_size: int = BATCH,
    **options: Any,
) -> list[Explanation]: ...


def explain(
    model: Union[AnyPath, TrainedModel],
    texts: Union[Texts, str, bytes],
    text_pair: Union[Texts, str, bytes, None] = None,
    *,
    labels: Labels = None,
    target: Optional[str] = None,
    batch_size: int = BATCH,
    **options: Any,
) -> Union[Explanation, list[Explanation]]:
    """What each word of one text or many contributes to the prediction.

        for word in tfpipeline.explain("runs/tweets", "what a day").words:
            print(word.word, word.score)

    A run and a checkpoint can be explained as they are; a SavedModel must have been exported with
    ``explain=True``. An explanation costs about a hundred predictions of its text.

    Args:
        model: a run directory, a SavedModel, a model's directory of versions, or a fine-tuned checkpoint;
            with ``target`` the model's name on that server.
        texts: one text, or a list, an array or a column of them; str, or bytes in UTF-8.
        text_pair: the second text of each, for models of pairs; one text is taken for all of ``texts``.
        labels: the answer to explain: of each text one, or one for all; by default the predicted one. See
            docs/explanations.md.
        target: a server, ``HOST:PORT``.
        batch_size: texts that are explained at once.
        options: with ``target``, those of :class:`PredictClient`: ``version``, ``timeout``, ``credentials``,
            ...
    Returns:
        One explanation per text, in their order; of one text, its explanation.
    Raises:
        UserError: there is no such model, it cannot be explained, or it does not know a label.
        ClientError: the server does not answer, or the texts can't be sent (``InputError``).
    """
    one, texts_asked = asked(texts, text_pair, batch_size)
    inputs = text_columns.explain_inputs(texts_asked["text"], texts_asked.get("text_pair"), labels)
    found: list[Explanation] = []
    with open_any(model, target, options=options) as predictor:
        for start in range(0, len(inputs["text"]), batch_size):
            batch = {name: list(column[start : start + batch_size]) for name, column in inputs.items()}
            found += predictor.explain(batch["text"], batch.get("text_pair"), batch["label"])
    return found[0] if one else found
