"""Which variables are trained: freezing, and gradual unfreezing.

The optimizer never receives frozen variables: they have no gradient, no decay and no slots. Nothing is marked
on the model itself, so the trained variables can change from one epoch to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import keras

from tfpipeline.errors import UserError
from tfpipeline.models import TextModel
from tfpipeline.models.architectures import Part
from tfpipeline.training.options import TrainingOptions

Variables = list[keras.Variable]


def layer_groups(model: TextModel) -> list[Variables]:
    """The trainable variables by height: L + 2 groups for an encoder of L blocks.

    First the head with the encoder's top (such as a pooler that the head uses), then the blocks from the last
    to the first, then the embeddings.
    """
    top, blocks, embeddings = (_parts(model, role) for role in ("top", "block", "embeddings"))
    return [
        [*_trainable(top), *model.head.trainable_variables],
        *(_trainable([block]) for block in reversed(blocks)),
        _trainable(embeddings),
    ]


def select(model: TextModel, freeze: Sequence[str]) -> Variables:
    """The variables to train, in the model's order.

    Args:
        model: built.
        freeze: ``training.freeze``: ``all`` (the whole encoder, pooler included), ``embeddings``, ``first:N``
            (the embeddings and the first N layers), ``re:PATTERN`` (variables with a path that matches the
            pattern).
    Raises:
        UserError: there are fewer layers, a pattern matches nothing, or nothing is left to train.
    """
    frozen: set[str] = set()
    for word in freeze:
        named = {variable.path for variable in _named(model, word)}
        _check_adaptation(model, word, named)
        frozen.update(named)
    if model.adaptation is not None:
        kept = {variable.path for variable in [*model.adaptation.trained, *model.head.weights]}
        frozen.update(variable.path for variable in model.encoder.weights if variable.path not in kept)
    chosen = [variable for variable in model.trainable_variables if variable.path not in frozen]
    if not chosen:
        advice = "take out what freezes the head"
        if not model.head.trainable_variables:
            advice = "the head of this task has no weights, so leave some layers out"
        raise UserError(f"training.freeze: {', '.join(freeze)} leaves nothing to train; {advice}")
    return chosen


def phases(model: TextModel, options: TrainingOptions, epochs: int | None = None) -> list[Variables]:
    """The variables to train in each epoch; later epochs are like the last entry.

    One entry without ``training.gradual_unfreezing``. With it (Howard and Ruder 2018, arXiv:1801.06146,
    section 3.3) the first epoch trains the head (and the pooler, if the head uses it), each further one an
    encoder layer more, from the top, and the embeddings come one epoch after the first layer; what
    ``training.freeze`` names stays out.

    Args:
        model: built.
        options: of the run.
        epochs: the number of epochs, so that no phase is listed that is never reached.
    Raises:
        UserError: as :func:`select`; or the head, with which unfreezing begins, is frozen.
    """
    chosen = select(model, options.freeze)
    if not options.gradual_unfreezing:
        return [chosen]
    if model.adaptation is not None:
        raise UserError(
            f"training.gradual_unfreezing unfreezes the encoder, which peft.method "
            f"{model.adaptation.options.method} keeps frozen; give up one of the two"
        )
    variables_by_epoch: list[Variables] = []
    thawed: set[str] = set()
    for group in layer_groups(model)[:epochs]:
        thawed.update(variable.path for variable in group)
        phase = [variable for variable in chosen if variable.path in thawed]
        if not phase and not model.head.trainable_variables:
            raise UserError(
                "training.gradual_unfreezing begins with the head, but the head of this task has no weights; "
                "leave it out"
            )
        if not phase:
            raise UserError(
                "training.gradual_unfreezing begins with the head, but training.freeze freezes it; give up "
                "one of the two"
            )
        # Kept where freezing leaves nothing new: epochs are counted.
        variables_by_epoch.append(phase)
    return variables_by_epoch


def union(phases: Iterable[Variables]) -> Variables:
    """All variables that any phase trains, each once: what the optimizer is built on."""
    return list({variable.path: variable for phase in phases for variable in phase}.values())


def never_trained(model: TextModel, phases: Iterable[Variables]) -> Variables:
    """The variables of the encoder that no phase trains.

    None in a run that freezes nothing: its encoder may have a pooler that the head does not use.
    """
    changing = {variable.path for variable in union(phases)}
    if all(variable.path in changing for variable in model.encoder.trainable_variables):
        return []
    if model.adaptation is not None:
        changing.update(variable.path for variable in model.adaptation.variables)
    return [variable for variable in model.encoder.weights if variable.path not in changing]


def count(variables: Iterable[keras.Variable]) -> int:
    """The number of values in some variables."""
    return sum(variable.value.shape.num_elements() for variable in variables)


def _named(model: TextModel, word: str) -> Variables:
    """The variables that one word of ``training.freeze`` means."""
    encoder = model.encoder
    variables: Variables
    if word == "all":
        added = set() if model.adaptation is None else {variable.path for variable in model.adaptation.added}
        variables = [variable for variable in encoder.weights if variable.path not in added]
    elif word == "embeddings":
        variables = _weights(_parts(model, "embeddings"))
    elif word.startswith("first:"):
        layers = int(word.removeprefix("first:"))
        blocks = _parts(model, "block")
        if layers > len(blocks):
            raise UserError(
                f"training.freeze: {word} asks for more layers than the encoder has, which is {len(blocks)}"
            )
        variables = _weights([*_parts(model, "embeddings"), *blocks[:layers]])
    else:
        pattern = re.compile(word.removeprefix("re:"))
        known = [*encoder.weights, *model.head.weights]
        variables = [variable for variable in known if pattern.search(variable.path)]
        if not variables:
            raise UserError(
                f"training.freeze: {word} finds no variable; they are called, for example, "
                f"{known[0].path}, {_weights(_parts(model, 'block'))[0].path} and {known[-1].path}"
            )
    return variables


def _check_adaptation(model: TextModel, word: str, named: set[str]) -> None:
    """Refuse to freeze what a method of parameter-efficient fine-tuning trains."""
    if model.adaptation is None:
        return
    both = [variable.path for variable in model.adaptation.trained if variable.path in named]
    if both:
        raise UserError(
            f"training.freeze: {word} freezes {both[0]}, which peft.method {model.adaptation.options.method} "
            "trains; give up one of the two"
        )


def _parts(model: TextModel, role: str) -> list[Part]:
    return [part for part in model.encoder.parts() if part.role == role]


def _weights(parts: Iterable[Part]) -> Variables:
    return [weight for part in parts for weight in part.layer.weights]


def _trainable(parts: Iterable[Part]) -> Variables:
    return [variable for part in parts for variable in part.layer.trainable_variables]
