"""The task of generation: a prefix language model that writes a text for a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.errors import UserError
from tfpipeline.models.inputs import CAUSAL_MASK, INPUTS, PREDICTED_IDS, PREDICTED_POSITIONS
from tfpipeline.tasks._token_head import HEAD, head_variables
from tfpipeline.tasks.base import Task
from tfpipeline.tasks.generation import rows
from tfpipeline.tasks.generation.scorer import GenerationScorer
from tfpipeline.text.vocabulary import ordinary_token_ids, token_ids

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig
    from tfpipeline.models.model_call import ModelCall
    from tfpipeline.models.row_noise import RowNoise
    from tfpipeline.tasks._dividing import RowTokens
    from tfpipeline.tasks.generation.decoder import Decoder
    from tfpipeline.tasks.generation.options import GenerationOptions
    from tfpipeline.tasks.signature import Signature
    from tfpipeline.text import Tokenizer, TokenizerOptions


@dataclass(frozen=True)
class _Tokens:
    """What the task knows of the tokenizer.

    Attributes:
        vocabulary: the tokens in the order of their ids.
        options: the tokenizer's.
        decoder: writes texts.
    """

    vocabulary: tuple[str, ...]
    options: TokenizerOptions
    decoder: Decoder


class Generation(Task):
    """Writes texts; see the package.

    Args:
        options: the run file's ``task`` section.
        fitted: ``dialogues``, whether the rows of data files are dialogues.
    """

    options: GenerationOptions
    scorer_class = GenerationScorer
    augments = True
    continues = (HEAD,)

    def __init__(
        self,
        options: GenerationOptions,
        fitted: Mapping[str, Any] | None = None,
        tokens: _Tokens | None = None,
    ) -> None:
        super().__init__(options, dict(fitted or {}))
        self._known_tokens = tokens
        self.divides = bool(self.fitted.get("dialogues"))
        self.decoded_in_validation = options.decode_validation_rows
        self.decoding_interval = options.decode_every

    def check_encoder(self, config: EncoderConfig) -> None:
        from tfpipeline.models.key_value_cache import require_cache

        require_cache(config)

    def with_tokenizer(self, vocabulary: Sequence[str], options: TokenizerOptions) -> Generation:
        from tfpipeline.tasks.generation.decoder import Decoder

        template = options.template
        if template.between != template.after or len(template.after) != 1:
            raise UserError(
                "generation needs rows like BERT's, with the same special token behind the source and the "
                f"target; the checkpoint's tokenizer has {list(template.between)} and {list(template.after)}"
            )
        masks = self.options.objective == "masked"
        if masks and (options.mask_token is None or options.mask_token not in vocabulary):
            raise UserError(
                "the checkpoint's vocabulary has no [MASK] token, which task.objective masked needs; set it "
                "to causal, or name the token as mask_token in tokenizer_config.json"
            )
        decoder = Decoder(self.options.decoding, self.options.max_target_length, vocabulary, options)
        made = type(self)(self.options, self.fitted, _Tokens(tuple(vocabulary), options, decoder))
        made.cost = decoder.cost
        return made

    def with_options(self, options: GenerationOptions) -> Generation:
        made = type(self)(options, self.fitted)
        known = self._known_tokens
        return made if known is None else made.with_tokenizer(known.vocabulary, known.options)

    @property
    def _tokens(self) -> _Tokens:
        if self._known_tokens is None:
            raise ValueError("the task has no tokenizer yet; call with_tokenizer first")
        return self._known_tokens

    @property
    def uncased(self) -> bool:
        """Whether the model writes no capital letters."""
        return self._tokens.options.lowercase

    @property
    def mask_id(self) -> int | None:
        """The id of the [MASK] that is read where a token is predicted; None without one."""
        if self.options.objective == "causal":
            return None
        return token_ids(self._tokens.vocabulary)[str(self._tokens.options.mask_token)]

    # Checkpoints.

    def head_variables(self, head: Any) -> dict[str, Any]:
        return head_variables(head)

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        note = "the head is written as that for masked tokens; the run's task and its options are omitted"
        return CheckpointHead(self.head_tensors(head), notes=[note])

    # Input.

    def divide(self, examples: Iterable[Example], tokens: RowTokens) -> Iterator[Example]:
        """A row for each reply of a dialogue; see :func:`rows.divide`."""
        return rows.divide(
            examples,
            tokens,
            speaker=self.options.speaker,
            separator=self.options.token_separator,
            most=tokens.room(pair=True) - self.options.max_target_length,
        )

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """``references``: objects [N], the right texts of each row, a tuple of str."""
        if training:
            return {}
        references = np.empty(len(examples), object)
        references[:] = [rows.references_of(example) for example in examples]
        return {"references": references}

    def augment(
        self,
        inputs: Mapping[str, tf.Tensor],
        targets: Mapping[str, tf.Tensor],
        noise: RowNoise,
        tokenizer: Tokenizer,
    ) -> tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]]:
        """Say what is predicted where, and mask tokens for the objective ``masked``.

        Further inputs: ``causal_mask``, int32 [B, T], 1 for the target; ``predicted_positions`` and
        ``predicted_ids``, int32 [B, P] with P at most one more than ``max_target_length``, for [SEP].
        """
        import tensorflow as tf

        from tfpipeline.tasks.generation import prediction

        ids = inputs["input_ids"]
        target = (inputs["attention_mask"] > 0) & (inputs["token_type_ids"] == 1)
        most = self.options.max_target_length + 1
        if self.options.objective == "causal":
            positions, wanted = prediction.following(ids, target, most)
        else:
            mask: Any = self.mask_id
            ids, positions, wanted = prediction.masked(
                ids,
                target,
                most,
                share=self.options.mask_share,
                mask_id=mask,
                candidates=ordinary_token_ids(self._tokens.vocabulary, self._tokens.options),
                noise=noise,
            )
        return {
            **{name: inputs[name] for name in INPUTS},
            "input_ids": ids,
            CAUSAL_MASK: tf.cast(target, tf.int32),
            PREDICTED_POSITIONS: positions,
            PREDICTED_IDS: wanted,
        }, targets

    # The model.

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import GenerationHead

        return GenerationHead(
            config.vocab_size,
            tokens=len(self._tokens.vocabulary),
            mask_id=self.mask_id,
            most_tokens=self.options.max_target_length,
            hidden_act=config.hidden_act,
            layer_norm_eps=config.layer_norm_eps,
            stddev=config.initializer_range,
            seed=seed,
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        smoothing = self.options.label_smoothing
        wanted, all_tokens = outputs["log_probabilities"], outputs["mean_log_probabilities"]
        return self._mean_loss((1 - smoothing) * wanted + smoothing * all_tokens, targets)

    def likelihood_losses(
        self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        return self._mean_loss(outputs["log_probabilities"], targets)

    def _mean_loss(self, log_probabilities: tf.Tensor, targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The mean over each row's predicted tokens, [B], of [B, P]; 0 without any."""
        import tensorflow as tf

        total = tf.reduce_sum(log_probabilities, axis=1)
        return -total / tf.maximum(tf.cast(self.loss_terms(targets), total.dtype), 1)

    def loss_terms(self, targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The predicted tokens of each row, so that the loss of a batch is the mean over its tokens."""
        import tensorflow as tf

        return tf.reduce_sum(tf.cast(targets[PREDICTED_POSITIONS] >= 0, tf.int32), axis=1)

    # Output.

    def decode(self, call: ModelCall) -> Mapping[str, tf.Tensor]:
        """The written tokens, and what the loss is made of if the targets are known."""
        scored = call.outputs if PREDICTED_IDS in call.inputs else {}
        return {**scored, **self._tokens.decoder.generate(call, tolerance=call.tolerance)}

    def card(self) -> Mapping[str, Any]:
        return self._tokens.decoder.card()

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        return self._tokens.decoder.predictions(outputs)

    def signatures(self) -> Mapping[str, Signature]:
        return self._tokens.decoder.signatures()

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """``text`` string [B], empty for rows that are not decoded, for which ``decoded`` is False; ``loss``
        float32 [B], the negative log-likelihood of the predicted tokens, and ``tokens`` int32 [B], their
        number.
        """
        import tensorflow as tf

        loss = -tf.reduce_sum(tf.cast(outputs["log_probabilities"], tf.float32), axis=1)
        decoded = "tokens" in outputs
        text = self.predictions(outputs, inputs)["text"] if decoded else tf.fill(tf.shape(loss), "")
        return {
            "text": text,
            "decoded": tf.fill(tf.shape(loss), decoded),
            "loss": loss,
            "tokens": self.loss_terms(inputs),
        }
