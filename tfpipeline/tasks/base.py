"""A task, fitted: everything that differs between one kind of question to a text and another.

Training, evaluation, export and serving know these interfaces and no task by name. A task has three parts:
its options (:class:`~tfpipeline.tasks.options.TaskOptions`), the :class:`Task` itself, and its
:class:`Scorer`. At import they need no TensorFlow, so that a run file is checked before TensorFlow is loaded.
"""

from __future__ import annotations

import abc
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.files import write_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig
    from tfpipeline.models.model_call import ModelCall
    from tfpipeline.models.row_noise import RowNoise
    from tfpipeline.text import Tokenizer

Arrays = Mapping[str, np.ndarray]
FITTED_FILE = "task.json"
EXAMPLE_MASK = "example_mask"  # the rows of a batch that count, for tasks with a batch_loss


class Scorer(abc.ABC):
    """What a task's predictions are worth: metrics, and what a report shows.

    ``predictions`` are what :meth:`Task.scored_predictions` gives, ``targets`` what :meth:`Task.targets`
    gives, and ``weights`` say how much each row counts; all are arrays over the N rows of a data set, each
    [N, ...].

    Args:
        task: the one that is scored.

    Attributes:
        best_metric: the metric that picks the best checkpoint unless the run file names another.
        lower_is_better: names of metrics for which less is better (``loss`` always is).
    """

    best_metric: str
    lower_is_better: frozenset[str] = frozenset()

    def __init__(self, task: Any) -> None:
        self.task = task

    @abc.abstractmethod
    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        """Named scores over the data set."""

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        """The same for a reader: a table as text; by default a line a metric."""
        scores = self.metrics(predictions, targets, weights)
        width = max(map(len, scores))
        return "".join(f"{name:<{width}}  {value:10.4f}\n" for name, value in scores.items())

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        """A cheap model's name and its predictions for ``test``, to compare with; None where there is
        none.
        """
        return None

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        """Rows with a wrong prediction, the worst first: (row, expected, predicted); by default none."""
        return []

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        """Rows, bool [N], whose strings and integers a rounding may change: two numbers that decide are that
        near.
        """
        return np.zeros(len(next(iter(predictions.values()))), bool)

    def figures(self, predictions: Arrays, targets: Arrays) -> dict[str, Any]:
        """Plots for the report: name -> ``matplotlib.figure.Figure``.

        A figure's own label (``set_label``), if it has one, is printed below it. Plots are drawn after the
        scores are saved; one that fails costs a warning.
        """
        return {}

    def tune(self, head: Any, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> Arrays:
        """Choose on validation rows what is not trained (thresholds), before they are scored.

        What is chosen is assigned to variables of ``head`` that are not trainable, so that it is saved,
        resumed and exported with the weights that it belongs to.

        Returns:
            The predictions as they are with it.
        """
        return predictions


class Task(abc.ABC):
    """One kind of question to a text, fitted to its training rows.

    Letters in shapes: B texts in a batch, T positions, C classes, N rows of a data set.

    Args:
        options: of the run file's ``task`` section.
        fitted: what was learnt from the training rows (the labels' names, say), as JSON has it.

    Attributes:
        options: as given.
        fitted: as given; two tasks with equal options and an equal ``fitted`` answer alike.
        scorer_class: its scorer.
        offsets: the predictions that are places in a text, counted in code points -> the text, ``text`` or
            ``text_pair``. A task with some is given the texts, and where each token stands in them.
        has_token_targets: whether single tokens have targets: :meth:`token_targets`.
        batch_loss: whether a row's loss depends on the other rows of its batch (in-batch negatives). ``loss``
            is then given the outputs and targets of the whole global batch, on any number of replicas and
            parts. Training takes the batches of ``training.batch_size``, evaluation batches of 64 rows in the
            order of their lengths.
        augments: whether :meth:`augment` changes the inputs (masked tokens, say). Such a task cannot be a
            part of another.
    """

    scorer_class: ClassVar[type[Scorer]]
    offsets: Mapping[str, str] = {}
    has_token_targets: bool = False
    batch_loss: bool = False
    augments: bool = False

    def __init__(self, options: Any, fitted: Any = None) -> None:
        self.options, self.fitted = options, fitted

    @functools.cached_property
    def scorer(self) -> Scorer:
        """What this task's predictions are scored by."""
        return self.scorer_class(self)

    def save(self, directory: Path) -> None:
        """Write ``fitted`` into a run directory; the options' ``load`` reads it."""
        write_text(directory / FITTED_FILE, json.dumps(self.fitted, indent=1) + "\n")

    def limit_length(self, tokens: int) -> Task:
        """The same task for a model that reads at most so many tokens of a row's texts.

        Special tokens are not counted. It is called when a run is laid out, and when a checkpoint is opened.
        """
        return self

    # Fine-tuned checkpoints of other programs, which the options ``serve``.

    def with_options(self, options: Any) -> Task:
        """The same task with other options."""
        return type(self)(options, self.fitted)

    def head_variables(self, head: Any) -> dict[str, Any]:
        """Neutral name (``models.neutral.HEADS``) -> the head's variable that it is read into."""
        raise NotImplementedError

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        """A trained head as a checkpoint holds it, the way back from ``TaskOptions.from_checkpoint``.

        By default no format has a place for the head: the encoder alone becomes a checkpoint.
        """
        note = f"the head of the task {self.options.name} is left out: no format has a place for it"
        return CheckpointHead(notes=[note])

    def head_tensors(self, head: Any) -> dict[str, np.ndarray]:
        """Neutral name -> a trained head's weights: :meth:`head_variables`, read instead of written."""
        return {name: variable.numpy() for name, variable in self.head_variables(head).items()}

    # Rows in. These are given rows piece by piece, as there may be more than memory holds.

    @abc.abstractmethod
    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """What loss and metrics compare with: named arrays, each [N, ...].

        Arrays of objects are for the metrics alone: the loss does not see them.

        Args:
            examples: the rows.
            training: whether they are trained on, or scored.
        Raises:
            UserError: a row's target can't be used; names its file and line.
        """

    def token_targets(self, examples: Sequence[Example], tokens: Arrays) -> Arrays:
        """What the loss compares single tokens with: named arrays, int32 [B, T, ...]; made once, and kept on
        disk.

        Asked of a task that says ``has_token_targets``.

        Args:
            examples: some rows.
            tokens: theirs, as the tokenizer gives them: ``input_ids``, ``token_type_ids``,
                ``attention_mask``, int32 [B, T], and of a task with ``offsets`` also ``offsets`` [B, T, 2]
                and ``word_starts`` [B, T].
        """
        return {}

    def count_kept_targets(self, targets: Arrays, tokens: Arrays) -> np.ndarray | None:
        """How many targets each row has, and how many of them are still among its tokens: integers, [B, 2].

        Asked of the training rows of a task that says ``has_token_targets``, before the first step: targets
        that were cut off are warned about, and if none is left, there is nothing to train on. None: none can
        be missed.

        Args:
            targets: of some rows, as :meth:`targets` gave them for training.
            tokens: theirs, with what :meth:`token_targets` gave for them.
        """
        return None

    # All rows of a data set, once their targets are known.

    def weights(self, targets: Arrays, weights: np.ndarray) -> np.ndarray:
        """How much each row counts, float64 [N]; by default the weight that the data gives it.

        Args:
            targets: of all rows.
            weights: what the data gives them, float64 [N].
        """
        return weights

    def for_training(self, targets: Arrays, weights: np.ndarray) -> tuple[Arrays, np.ndarray]:
        """Targets and weights as the training loss takes them, where a score has to count rows as they are.

        Class weights are applied here. Arguments as of :meth:`weights`, which was applied before.
        """
        return targets, weights

    def augment(
        self,
        inputs: Mapping[str, tf.Tensor],
        targets: Mapping[str, tf.Tensor],
        noise: RowNoise,
        tokenizer: Tokenizer,
    ) -> tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]]:
        """Change the inputs at random, in the graph; called if ``augments`` is set, in training and
        evaluation only.

        All rows have numbers of their own, whatever batch, replica or part they are in. Evaluation draws the
        same numbers each time, so scores can be repeated and compared.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T], and
                ``special_tokens_mask``, bool [B, T]: True for [CLS] and the like, [UNK] and padding, which
                are to be left alone. Of texts that are encoded separately, the second one's are called
                ``text_pair/NAME``; give it draws of its own.
            targets: what ``targets`` and ``token_targets`` gave, [B, ...] each.
            noise: the only source of random numbers.
            tokenizer: its ``vocabulary`` and ``options.mask_token``.
        Returns:
            The same, changed. The loss is given all of both; ``scored_predictions`` all of the inputs. So
            what is to be predicted goes into the targets, or, if it is to be scored, into further inputs, [B,
            ...] each.
        """
        return inputs, targets

    # The model.

    @abc.abstractmethod
    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        """The layer on top of the encoder; its outputs are a dict of tensors, each [B, ...].

        ``seed`` decides its first weights.
        """

    @abc.abstractmethod
    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The loss of each example, [B], not reduced and not weighted, in the dtype of the outputs.

        ``targets`` holds what ``targets`` and ``token_targets`` gave, and the tokens: ``attention_mask`` and
        so on.

        With ``batch_loss`` B is the whole global batch, and ``targets`` also holds ``example_mask``, bool
        [B]: False for rows of weight 0, which include the copies of the first row that fill a batch up. They
        must not count as negatives of other rows, nor in a mean over the batch; what is returned for them is
        ignored, but must not make a gradient infinite.
        """

    # Predictions out.

    def decode(self, call: ModelCall) -> Mapping[str, tf.Tensor]:
        """What :meth:`predictions` are made of, in the graph; by default the model's outputs, of one call.

        A task that generates its answer token by token calls the model more than once here; see
        :class:`ModelCall`. It runs on the device that the model is on, and on each replica for its own rows:
        numbers only, no strings. Within ``multitask`` the call gives the outputs of the task's own head.

        Args:
            call: the model and the batch that it is called on.
        Returns:
            Named tensors, [B, ...].
        """
        return call.outputs

    @abc.abstractmethod
    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """The finished answer, in the graph: named tensors, batch first, string or 32-bit.

        This is what the served model returns, so that no client needs a label file. Every dimension but the
        first is
        static: servers put the answers to several callers together.

        Args:
            outputs: what :meth:`decode` returned.
            inputs: what was asked: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T]; for a
                task with ``offsets`` also ``offsets`` [B, T, 2], ``word_starts`` [B, T], and the texts
                themselves, ``text`` string [B] and perhaps ``text_pair``.
        """

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """What the scorer is given; by default :meth:`predictions`.

        A task leaves out what its scorer does not read (the names of a thousand classes beside each row), and
        adds what tells rows apart whose probabilities of 32 bits are alike. Arguments as of
        :meth:`predictions`; in the graph, too.
        """
        return self.predictions(outputs, inputs)
