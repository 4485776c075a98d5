"""The task of several heads: passes each head's rows to its own task, and combines the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.models.model_call import ModelCall
from tfpipeline.tasks import _explained
from tfpipeline.tasks._parts import errors_of_part
from tfpipeline.tasks.base import EXAMPLE_MASK, EXAMPLE_WEIGHTS, Task, relative_weights
from tfpipeline.tasks.multitask.rows import HeadRows, split_rows
from tfpipeline.tasks.multitask.scorer import SHARE, MultitaskScorer, labelled_rows, of_head, take
from tfpipeline.tasks.scorer import Arrays

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig
    from tfpipeline.tasks.multitask.options import MultitaskOptions
    from tfpipeline.text import TokenizerOptions

Answer = TypeVar("Answer")


def part_place(name: str) -> tuple[str, str]:
    """The section of a head's options in the run file, and the prefix of its errors."""
    return f"task.heads.{name}", f'head "{name}": '


class _HeadCall(ModelCall):
    """A call of a model with several heads, as one head's task sees it."""

    def __init__(self, call: ModelCall, head: str) -> None:
        super().__init__(call.model, call.inputs)
        self._call, self._head = call, head

    @property
    def outputs(self) -> dict[str, tf.Tensor]:
        """The head's outputs; the model is called once for all heads."""
        return of_head(self._head, self._call.outputs)


class Multitask(Task):
    """Several tasks on one text; see the package.

    Args:
        options: the run file's ``task`` section.
        parts: head -> its task.
    """

    options: MultitaskOptions
    scorer_class = MultitaskScorer

    def __init__(self, options: MultitaskOptions, parts: Mapping[str, Task]) -> None:
        super().__init__(options, {name: part.fitted for name, part in parts.items()})
        self.parts = dict(parts)
        self.has_token_targets = any(part.has_token_targets for part in self.parts.values())
        self.explains = all(part.explains for part in self.parts.values())
        self.batch_loss = any(part.batch_loss for part in self.parts.values())
        self.offsets = {
            f"{name}/{answer}": text
            for name, part in self.parts.items()
            for answer, text in part.offsets.items()
        }

    def save(self, directory: Path) -> None:
        for name, part in self.parts.items():
            folder = directory / "heads" / name
            folder.mkdir(parents=True)
            part.save(folder)

    def limit_length(self, tokens: int) -> Multitask:
        return type(self)(
            self.options, {name: part.limit_length(tokens) for name, part in self.parts.items()}
        )

    def with_tokenizer(self, vocabulary: Sequence[str], options: TokenizerOptions) -> Multitask:
        return type(self)(
            self.options,
            {name: part.with_tokenizer(vocabulary, options) for name, part in self.parts.items()},
        )

    def _split(self, examples: Sequence[Example]) -> Mapping[str, HeadRows]:
        return split_rows(self.options.head_columns, examples)

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """The heads' targets, and each head's ``share``: 1 for rows with a label for the head, else 0."""
        targets: dict[str, np.ndarray] = {}
        for name, rows in self._split(examples).items():
            share = np.zeros(len(examples))
            share[rows.numbers] = 1.0
            targets[f"{name}/{SHARE}"] = share
            with errors_of_part(*part_place(name)):
                own = self.parts[name].targets(rows.examples, training=training)
            for target, values in own.items():
                targets[f"{name}/{target}"] = rows.spread(values, len(examples))
        return targets

    def token_targets(self, examples: Sequence[Example], tokens: Arrays) -> Arrays:
        targets: dict[str, np.ndarray] = {}
        for name, rows in self._split(examples).items():
            own = self.parts[name].token_targets(rows.examples, take(tokens, rows.numbers))
            for target, values in own.items():
                targets[f"{name}/{target}"] = rows.spread(values, len(examples))
        return targets

    def weights(self, targets: Arrays, weights: np.ndarray) -> np.ndarray:
        return weights * np.any([targets[f"{name}/{SHARE}"] > 0 for name in self.parts], axis=0)

    def for_training(self, targets: Arrays, weights: np.ndarray) -> tuple[Arrays, np.ndarray]:
        """A head's ``share`` becomes the weight that its task gives a row (balanced classes), divided by the
        row's weight.
        """
        changed = dict(targets)
        for name, part in self.parts.items():
            rows = labelled_rows(name, targets)
            before = weights[rows]
            own, after = part.for_training(take(of_head(name, targets), rows), before)
            for target, values in own.items():
                array = np.array(targets[f"{name}/{target}"])
                array[rows] = values
                changed[f"{name}/{target}"] = array
            changed[f"{name}/{SHARE}"] = np.zeros(len(weights))
            changed[f"{name}/{SHARE}"][rows] = np.divide(
                after, before, out=np.zeros_like(before), where=before > 0
            )
        return changed, weights

    def check_encoder(self, config: EncoderConfig) -> None:
        for part in self.parts.values():
            part.check_encoder(config)

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import HeadGroup

        return HeadGroup(
            {name: part.head(config, seed + index) for index, (name, part) in enumerate(self.parts.items())}
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        total: Any = 0.0
        tokens = {name: tensor for name, tensor in targets.items() if "/" not in name}
        for name, part in self.parts.items():
            filled = targets[f"{name}/{SHARE}"] > 0
            own = {**tokens, **of_head(name, targets)}
            if part.batch_loss:  # rows without a label for this head are not negatives of other rows
                weights = targets[EXAMPLE_WEIGHTS]
                own[EXAMPLE_MASK] = targets[EXAMPLE_MASK] & filled
                own[EXAMPLE_WEIGHTS] = relative_weights(
                    weights * tf.cast(targets[f"{name}/{SHARE}"], weights.dtype)
                )
            losses = part.loss(of_head(name, outputs), own)
            share = tf.cast(targets[f"{name}/{SHARE}"], losses.dtype)
            # The target of a missing label is a filler. tf.where is needed, because 0 times a non-finite loss
            # is not 0.
            counted = tf.where(filled, losses, 0.0) * share
            total += self.options.weights.get(name, 1.0) * counted
        return total

    def decode(self, call: ModelCall) -> dict[str, tf.Tensor]:
        return self._of_all_heads(lambda name, part: part.decode(_HeadCall(call, name)))

    def likelihood_losses(
        self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """The sum over the heads that support calibration."""
        import tensorflow as tf

        tokens = {name: tensor for name, tensor in targets.items() if "/" not in name}
        total: Any = 0.0
        for name in self._of_able_heads(lambda part: part.temperatures()):
            own = {**tokens, **of_head(name, targets)}
            losses = self.parts[name].likelihood_losses(of_head(name, outputs), own)
            total += tf.where(targets[f"{name}/{SHARE}"] > 0, losses, tf.zeros_like(losses))
        return total

    def temperatures(self) -> Mapping[str, tuple[int, ...]]:
        """The temperatures of the heads that support calibration, called ``HEAD/NAME``."""
        by_head = self._of_able_heads(lambda part: part.temperatures())
        return {f"{name}/{key}": shape for name, own in by_head.items() for key, shape in own.items()}

    def at_temperatures(
        self, outputs: Mapping[str, tf.Tensor], temperatures: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        changed = dict(outputs)
        for name, part in self.parts.items():
            if own := of_head(name, temperatures):
                scaled = part.at_temperatures(of_head(name, outputs), own)
                changed.update({f"{name}/{key}": tensor for key, tensor in scaled.items()})
        return changed

    def abstains(self) -> Sequence[str]:
        """The abstention outputs of the heads that can abstain, called ``HEAD/NAME``."""
        by_head = self._of_able_heads(lambda part: part.abstains())
        return [f"{name}/{key}" for name, own in by_head.items() for key in own]

    def confidences(self, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            f"{name}/{key}": tensor
            for name in self._of_able_heads(lambda part: part.abstains())
            for key, tensor in self.parts[name].confidences(of_head(name, predictions)).items()
        }

    def _of_able_heads(self, ask: Callable[[Task], Answer]) -> dict[str, Answer]:
        """The answers of the heads that support what is asked.

        Raises:
            UserError: no head supports it; gives the reason for each.
        """
        answers: dict[str, Answer] = {}
        refused = []
        for name, part in self.parts.items():
            try:
                answers[name] = ask(part)
            except UserError as error:
                refused.append(f'head "{name}": {error}')
        if not answers:
            raise UserError("; ".join(refused))
        return answers

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        return self._of_all_heads(lambda name, part: part.predictions(of_head(name, outputs), inputs))

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        return self._of_all_heads(lambda name, part: part.scored_predictions(of_head(name, outputs), inputs))

    def explanation_target(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor], wanted: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The prediction of one head: ``HEAD`` or ``HEAD/LABEL``; by default that of the first head."""
        import tensorflow as tf

        names = list(self.parts)
        asked = tf.strings.regex_replace(wanted, r"/\C*", "")
        own = tf.strings.regex_replace(wanted, r"^[^/]*/?", "")
        shown = ", ".join(names)
        number = _explained.label_indices(
            names, asked, tf.zeros_like(asked, tf.int32), f"HEAD or HEAD/LABEL, the heads being {shown}"
        )
        target: dict[str, tf.Tensor] = {"head": number}
        label = tf.zeros_like(wanted)
        for index, (name, part) in enumerate(self.parts.items()):
            here = tf.equal(number, index)
            chosen = part.explanation_target(of_head(name, outputs), inputs, tf.where(here, own, ""))
            named = chosen.pop("label")
            named = tf.where(tf.equal(named, ""), "", tf.strings.join([tf.constant(f"{name}/"), named]))
            label = tf.where(here, named, label)
            target.update({f"{name}/{key}": tensor for key, tensor in chosen.items()})
        return {**target, "label": label}

    def explained(self, outputs: Mapping[str, tf.Tensor], target: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The number that the head's task explains."""
        import tensorflow as tf

        total: Any = 0.0
        for index, (name, part) in enumerate(self.parts.items()):
            value = part.explained(of_head(name, outputs), of_head(name, target))
            total += tf.where(tf.equal(target["head"], index), value, tf.zeros_like(value))
        return total

    def _of_all_heads(
        self, tensors_of: Callable[[str, Task], Mapping[str, tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        """The results of each head's task, called ``HEAD/NAME``."""
        return {
            f"{name}/{key}": tensor
            for name, part in self.parts.items()
            for key, tensor in tensors_of(name, part).items()
        }
