"""Abilities that not every task has: calibrated probabilities, abstentions, explanations, and what the
mining of hard negatives needs.

:class:`~tfpipeline.tasks.base.Task` inherits them; a task overrides those that it has.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfpipeline.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from tfpipeline.data.options import DataOptions
    from tfpipeline.paths import AnyPath
    from tfpipeline.tasks._mining import CorpusFile, MiningRows


class Calibrated(abc.ABC):
    """A task whose probabilities can be calibrated, and which can abstain from unsure predictions."""

    options: Any

    def temperatures(self) -> Mapping[str, tuple[int, ...]]:
        """The temperatures that calibrate this task's probabilities: name -> shape, () or [labels].

        Logits are divided by them (Guo et al. 2017, arXiv:1706.04599). They are fitted on validation rows by
        minimizing :meth:`likelihood_losses`. Each temperature must have its own minimum, independent of the
        others. A task with temperatures implements :meth:`at_temperatures`.

        Raises:
            UserError: the task does not support calibration; says why. This is the default.
        """
        raise UserError(f"the task {self.options.name} does not support calibration")

    def at_temperatures(
        self, outputs: Mapping[str, tf.Tensor], temperatures: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Apply temperatures to the result of :meth:`decode` or to a model's outputs, in the graph.

        The resulting predictions differ only in their probabilities: no label, tag or answer changes.

        Args:
            outputs: the outputs for a batch.
            temperatures: values for the names from :meth:`temperatures`, all above 0.
        """
        raise NotImplementedError

    def likelihood_losses(
        self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """The negative log-likelihood of each example, [B]: the loss without parts that only training needs,
        such as label smoothing. By default this is :meth:`loss`, which has the same arguments.
        """
        return self.loss(outputs, targets)

    def abstains(self) -> Sequence[str]:
        """The names of the outputs that mark abstentions: ``abstained``; for a task with parts, one name for
        each part that can abstain.

        A task with such outputs implements :meth:`confidences`, and its scorer :meth:`Scorer.right`.

        Raises:
            UserError: the task cannot abstain; says why. This is the default.
        """
        raise UserError(
            f"the task {self.options.name} gives no confidence in its predictions, so it cannot abstain"
        )

    def confidences(self, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The probability that a prediction is entirely right, in the graph.

        Args:
            predictions: the result of :meth:`predictions` or of :meth:`scored_predictions`.
        Returns:
            For each name from ``abstains``, float32 [B], 0 to 1.
        """
        raise NotImplementedError

    @abc.abstractmethod
    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The loss of each example; see ``Task.loss``."""


class Explained:
    """A task whose predictions can be explained. The methods are called only if ``explains`` is set."""

    def explanation_target(
        self,
        outputs: Mapping[str, tf.Tensor],
        inputs: Mapping[str, tf.Tensor],
        wanted: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Choose the prediction to explain for each text, in the graph.

        It is chosen once, from the outputs for the whole text, and stays the same while words are removed.

        Args:
            outputs: the model's outputs.
            inputs: the inputs of :meth:`predictions`, always with offsets and texts.
            wanted: string [B], the label to explain (or another name of a prediction of this task); "" for
                the predicted one. An unknown name must raise an ``InvalidArgumentError``; see
                ``tasks._explained``.
        Returns:
            Named tensors, [B, ...]. ``label``, string [B], names what is explained; "" if there is nothing to
            explain. The others are numbers for :meth:`explained`.
        """
        raise NotImplementedError

    def explained(self, outputs: Mapping[str, tf.Tensor], target: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The number that an explanation divides among the words: float [B], differentiable in the graph.

        Use a logit rather than a probability, which hardly changes when the model is confident.

        Args:
            outputs: the model's outputs for some rows, possibly of texts with words removed.
            target: the result of :meth:`explanation_target` for these rows.
        """
        raise NotImplementedError


class Mined(abc.ABC):
    """A task that is trained with hard negatives, or that scores pairs of texts as a teacher."""

    options: Any

    def mining_rows(
        self, name: str, columns: DataOptions, path: AnyPath, corpus: CorpusFile | None = None
    ) -> MiningRows:
        """Read the rows that hard negatives are found for.

        Args:
            name: the run's name, for messages.
            columns: the columns of the file, and how it is read.
            path: a data file.
            corpus: a file of further texts that may become negatives.
        Raises:
            UserError: a row cannot be used, or the task has no negatives. The latter is the default.
        """
        raise UserError(
            f"{name} does not compare vectors of texts; negatives are found with a run of the task similarity"
        )

    def pair_score_labels(self) -> Sequence[str]:
        """The labels whose log-odds :meth:`pair_score` can be; empty for a task that predicts a number.

        Raises:
            UserError: the task cannot score pairs. This is the default.
        """
        raise UserError(f"the task {self.options.name} does not score pairs of texts")

    def pair_score(self, outputs: Mapping[str, tf.Tensor], label: str | None) -> tf.Tensor:
        """How well the two texts of each row fit together, float32 [B], in the graph.

        Args:
            outputs: the result of :meth:`decode` for pairs.
            label: one of :meth:`pair_score_labels`; None for a task that predicts a number.
        """
        raise NotImplementedError


class ByRow:
    """A task whose predictions may be those of several tasks of its kind, from row to row."""

    options: Any

    def by_row(self, tasks: Sequence[Any]) -> Any:
        """A task that predicts for each row what the row's own task predicts.

        Its :meth:`predictions` receives the input ``adapters``, int32 [B]: the numbers of the rows' tasks.
        Where widths differ, predictions are padded: strings with "", probabilities with 0.

        Args:
            tasks: of this class, with heads of one kind.
        Raises:
            UserError: the task cannot do this. This is the default.
        """
        raise UserError(f"the task {self.options.name} cannot be served with --adapters yet")
