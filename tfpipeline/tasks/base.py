"""Interfaces of a fitted task: everything that differs between tasks.

Training, evaluation, export and serving know these interfaces and no task by name. A task has three parts:
its options (:class:`~tfpipeline.tasks.options.TaskOptions`), the :class:`Task` itself, and its
:class:`~tfpipeline.tasks.scorer.Scorer`. At import they need no TensorFlow, so that a run file is checked
before TensorFlow is loaded.
"""

from __future__ import annotations

import abc
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.files import write_text
from tfpipeline.tasks._abilities import ByRow, Calibrated, Explained, Mined
from tfpipeline.tasks.scorer import Arrays, Scorer
from tfpipeline.tasks.signature import Signature

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig
    from tfpipeline.models.model_call import ModelCall
    from tfpipeline.models.row_noise import RowNoise
    from tfpipeline.tasks._dividing import RowTokens
    from tfpipeline.text import Tokenizer, TokenizerOptions

FITTED_FILE = "task.json"
ABSTAINED = "abstained"  # the output that marks predictions with too low a confidence
# Targets of tasks with a batch_loss: whether each row counts, and its weight.
EXAMPLE_MASK, EXAMPLE_WEIGHTS = "example_mask", "example_weights"


class Task(ByRow, Calibrated, Explained, Mined):
    """A task, fitted to its training rows.

    Letters in shapes: B texts in a batch, T positions, C classes, N rows of a data set.

    Args:
        options: the run file's ``task`` section.
        fitted: values fitted to the training rows, such as the label names, as JSON values.

    Attributes:
        options: the argument.
        fitted: the argument; tasks with equal ``options`` and ``fitted`` predict the same.
        scorer_class: the class of its scorer.
        offsets: name of a prediction that is an offset in a text, in code points -> that text, ``text`` or
            ``text_pair``. A task with offsets also receives the texts and the offsets of their tokens.
        further_texts: names of the texts that a row may have besides ``text`` and ``text_pair``
            (``Example.further_texts``). They are encoded separately; a row without one of them has an empty
            text there. The options' ``preprocess`` gives them to rows.
        prompts: what is put before texts, in training and in predictions: the name of the text -> its prompt.
            Only for tasks that encode texts separately and have no offsets.
        has_token_targets: whether single tokens have targets, see :meth:`token_targets`.
        batch_loss: whether a row's loss depends on the other rows of its batch (in-batch negatives). ``loss``
            then receives the outputs and targets of the whole global batch, for any number of replicas and
            parts. Training uses batches of ``training.batch_size`` rows, evaluation batches of 64 rows. They
            are drawn without regard to the rows' lengths.
        augments: whether :meth:`augment` changes the inputs, for example by masking tokens. Such a task
            cannot be part of another.
        explains: whether predictions can be explained: :meth:`explanation_target` and :meth:`explained`.
        divides: whether :meth:`divide` makes the rows that the model reads from the rows of data files.
        decoded_in_validation: the most rows that a validation during training calls :meth:`decode` for, if
            that is expensive; None: all. The input of :meth:`scored_predictions` is then, for the other rows,
            the outputs of one call of the model; it returns the same names for both.
        decoding_interval: the n of the validations during training that call :meth:`decode` at all: the
            first, every n-th after it, and the last.
        cost: of a prediction, relative to a call of the model. Expensive predictions get few and small
            requests when an export is compared with its run, and when a server is warmed up.
        continues: the heads of a checkpoint (names in ``models.neutral.HEADS``) that training continues from,
            if the checkpoint has them; by default every training starts with a new head.
    """

    scorer_class: ClassVar[type[Scorer]]
    offsets: Mapping[str, str] = {}
    further_texts: Sequence[str] = ()
    prompts: Mapping[str, str] = {}
    has_token_targets: bool = False
    batch_loss: bool = False
    augments: bool = False
    explains: bool = False
    divides: bool = False
    decoded_in_validation: int | None = None
    decoding_interval: int = 1
    cost: int = 1
    continues: tuple[str, ...] = ()

    def __init__(self, options: Any, fitted: Any = None) -> None:
        self.options, self.fitted = options, fitted

    @functools.cached_property
    def scorer(self) -> Scorer:
        """The scorer of this task's predictions."""
        return self.scorer_class(self)

    def save(self, directory: Path) -> None:
        """Write ``fitted`` into a run directory; the options' ``load`` reads it."""
        write_text(directory / FITTED_FILE, json.dumps(self.fitted, indent=1) + "\n")

    def limit_length(self, tokens: int) -> Task:
        """The same task for a model that reads at most this many tokens of a row's texts.

        Special tokens are not counted. Called when a run is created, and when a checkpoint is opened.
        """
        return self

    def check_encoder(self, config: EncoderConfig) -> None:
        """Check that the task can use an encoder; called before anything of a run is written.

        Raises:
            UserError: it cannot.
        """
        return None

    def with_tokenizer(self, vocabulary: Sequence[str], options: TokenizerOptions) -> Task:
        """The same task for a tokenizer. Called before :meth:`head`, and whenever a run or a checkpoint is
        opened.

        Args:
            vocabulary: the tokens in the order of their ids.
            options: the tokenizer's options, such as its ``mask_token``.
        Raises:
            UserError: the vocabulary lacks something that the task needs.
        """
        return self

    # Fine-tuned checkpoints of other programs, which the options ``serve``.

    def with_options(self, options: Any) -> Task:
        """The same task with other options."""
        return type(self)(options, self.fitted)

    def head_variables(self, head: Any) -> dict[str, Any]:
        """Neutral name (``models.neutral.HEADS``) -> the variable of the head that it is assigned to."""
        raise NotImplementedError

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        """A trained head in the form of a checkpoint, the inverse of ``TaskOptions.from_checkpoint``.

        By default no format has a place for the head, and only the encoder is written.
        """
        note = f"the head of the task {self.options.name} is omitted: no format supports it"
        return CheckpointHead(notes=[note])

    def head_tensors(self, head: Any) -> dict[str, np.ndarray]:
        """Neutral name -> weights of a trained head; the inverse of assigning to :meth:`head_variables`."""
        return {name: variable.numpy() for name, variable in self.head_variables(head).items()}

    # Input: these methods receive rows in chunks, because they may not all fit into memory.

    def divide(self, examples: Iterable[Example], tokens: RowTokens) -> Iterator[Example]:
        """Make the rows that the model reads from rows of a data file, whose texts may be of any length.

        Called for each split and for each data file that is scored, if ``divides`` is set, after the rows
        were split and before anything else is done with them. A row may become several or none, and several
        may become one. The rows made must fit into the model: see :meth:`RowTokens.room`.

        Args:
            examples: the rows, in order; there may be more than fit into memory.
            tokens: tokenizes texts, and counts what is left out.
        """
        return iter(examples)

    @abc.abstractmethod
    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """The targets of loss and metrics: named arrays, each [N, ...].

        Arrays of objects are for metrics only; the loss does not receive them.

        Args:
            examples: the rows.
            training: whether the rows are for training, not for scoring.
        Raises:
            UserError: a row's target is invalid; names its file and line.
        """

    def token_targets(self, examples: Sequence[Example], tokens: Arrays) -> Arrays:
        """The targets of single tokens: named arrays, int32 [B, T, ...], computed once and cached on disk.

        Called if ``has_token_targets`` is set.

        Args:
            examples: some rows.
            tokens: the tokenizer's output for them: ``input_ids``, ``token_type_ids``, ``attention_mask``,
                int32 [B, T], and for a task with ``offsets`` also ``offsets`` [B, T, 2] and ``word_starts``
                [B, T].
        """
        return {}

    def count_kept_targets(self, targets: Arrays, tokens: Arrays) -> np.ndarray | None:
        """The number of targets of each row, and the number of those left after truncation: integers, [B, 2].

        Called on the training rows if ``has_token_targets`` is set, before the first step. Truncated targets
        lead to a warning; if none is left, there is nothing to train on. None means that no target can be
        lost.

        Args:
            targets: the training targets of some rows, from :meth:`targets`.
            tokens: the tokens of these rows, with the targets from :meth:`token_targets`.
        """
        return None

    # These methods receive all rows of a data set, once their targets are known.

    def weights(self, targets: Arrays, weights: np.ndarray) -> np.ndarray:
        """The weight of each row, float64 [N]; by default the weight in the data.

        Args:
            targets: the targets of all rows.
            weights: the weights in the data, float64 [N].
        """
        return weights

    def for_training(self, targets: Arrays, weights: np.ndarray) -> tuple[Arrays, np.ndarray]:
        """Targets and weights for the training loss; scores use those from :meth:`weights`.

        Class weights are applied here. The arguments are those of :meth:`weights`, which is applied first.
        """
        return targets, weights

    def partners(self, targets: Arrays) -> np.ndarray | None:
        """The rows that need each other in a training batch: integer [N]; rows of equal numbers are drawn in
        twos. By default None: rows are drawn one by one.

        Args:
            targets: the training targets of all rows.
        """
        return None

    def augment(
        self,
        inputs: Mapping[str, tf.Tensor],
        targets: Mapping[str, tf.Tensor],
        noise: RowNoise,
        tokenizer: Tokenizer,
    ) -> tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]]:
        """Change the inputs at random, in the graph. Called in training and evaluation if ``augments`` is
        set.

        Each row has random numbers of its own, regardless of its batch, replica or part. Evaluation draws the
        same numbers each time, so scores are reproducible and comparable.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T], and
                ``special_tokens_mask``, bool [B, T]: True for special tokens such as [CLS], [UNK] and
                padding, which must not change. If texts are encoded separately, the inputs of all but the
                first are called ``TEXT/NAME``, such as ``text_pair/input_ids``; use separate draws for each.
            targets: the output of ``targets`` and ``token_targets``, [B, ...] each.
            noise: the only source of random numbers.
            tokenizer: its ``vocabulary`` and ``options.mask_token``.
        Returns:
            The changed inputs and targets. The loss receives both, ``scored_predictions`` only the inputs. So
            put what the model must predict into the targets, or, if it is to be scored, into further inputs,
            [B, ...] each.
        """
        return inputs, targets

    # The model.

    @abc.abstractmethod
    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        """Make the layer on top of the encoder; its outputs are a dict of tensors, each [B, ...].

        ``seed`` determines its initial weights.
        """

    @abc.abstractmethod
    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The loss of each example, [B], neither reduced nor weighted, in the dtype of the outputs.

        ``targets`` has the output of ``targets`` and ``token_targets``, and the tokens: ``attention_mask``
        and so on.

        With ``batch_loss`` B is the whole global batch, and ``targets`` also holds ``example_mask``, bool
        [B]: False for rows of weight 0, including the copies of the first row that pad a batch. They must not
        count as negatives of other rows, nor in a mean over the batch. Their loss is ignored, but must not
        make a gradient infinite. ``example_weights``, [B], are the weights of the rows, divided by their mean
        over the rows that count. The training loop weights each row's loss by them, so only a loss that is
        not a mean over rows needs to read them.
        """

    def loss_terms(self, targets: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
        """The number of terms that each row's loss is the mean of, [B]; None if every row counts alike.

        A row's loss is weighted by its weight times this number, in training and in scores. So the loss of a
        batch is the mean over all its terms (such as masked tokens), however these are distributed among
        rows, replicas and parts. The arguments are those of :meth:`loss`.
        """
        return None

    # Output: predictions.

    def decode(self, call: ModelCall) -> Mapping[str, tf.Tensor]:
        """The input of :meth:`predictions`, computed in the graph; by default the outputs of one call of the
        model.

        A task that generates token by token calls the model more than once here; see :class:`ModelCall`. The
        method runs on the model's device, on each replica for its own rows, so it handles numbers only, no
        strings. Within ``multitask``, the call gives the outputs of the task's own head. If the call has a
        ``tolerance``, the export asks in which rows rounding may change what is chosen here.

        Args:
            call: the model and the batch.
        Returns:
            Named tensors, [B, ...].
        """
        return call.outputs

    @abc.abstractmethod
    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """The final predictions, computed in the graph: named tensors, batch first, string or 32-bit.

        The served model returns them, so no client needs a label file. Every dimension except the first is
        static, because servers batch the requests of several callers.

        Args:
            outputs: the output of :meth:`decode`.
            inputs: ``input_ids``, ``token_type_ids``,
                ``attention_mask``, int32 [B, T]; for a task with ``offsets`` also ``offsets`` [B, T, 2],
                ``word_starts`` [B, T], and the texts themselves, ``text`` string [B] and perhaps
                ``text_pair``.
        """

    def signatures(self) -> Mapping[str, Signature]:
        """Further signatures of the exported model, by name, beside ``serving_default``.

        ``serving_default`` is the task's predictions for texts. A further signature takes other inputs, such
        as a number of tokens to generate, or gives other outputs. See
        :class:`~tfpipeline.tasks.signature.Signature`.
        """
        return {}

    def card(self) -> Mapping[str, Any]:
        """What a model's card says about its predictions beside the labels: titles -> values in JSON form."""
        return {}

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """The input of the scorer; by default :meth:`predictions`.

        A task leaves out what its scorer does not read (the names of a thousand classes for each row), and
        adds values that distinguish rows with equal 32-bit probabilities. The arguments are those of
        :meth:`predictions`; this method also runs in the graph.
        """
        return self.predictions(outputs, inputs)


def relative_weights(weights: tf.Tensor) -> tf.Tensor:
    """The weights of a batch's rows, [B], divided by the mean of those above 0; 0 if there is none."""
    import tensorflow as tf

    rows = tf.reduce_sum(tf.cast(weights > 0, weights.dtype))
    return tf.math.divide_no_nan(weights * rows, tf.reduce_sum(weights))
