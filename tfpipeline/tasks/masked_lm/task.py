"""The task of predicting masked tokens: rows, masks, loss and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.errors import UserError
from tfpipeline.models.inputs import INPUTS, PREDICTED_POSITIONS
from tfpipeline.tasks._dividing import RowTokens
from tfpipeline.tasks._token_head import HEAD, head_variables
from tfpipeline.tasks.base import Task
from tfpipeline.tasks.masked_lm import rows
from tfpipeline.tasks.masked_lm.scorer import MaskedLMScorer
from tfpipeline.tasks.masked_lm.words import jieba_segmenter, word_numbers
from tfpipeline.tasks.scorer import Arrays
from tfpipeline.text.vocabulary import ordinary_token_ids, special_token_ids, token_ids

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.models import EncoderConfig
    from tfpipeline.models.row_noise import RowNoise
    from tfpipeline.tasks.masked_lm.options import MaskedLMOptions
    from tfpipeline.text import Tokenizer, TokenizerOptions

RELATION = "nsp"  # the name of the head on the pooler in checkpoints
MASKED_IDS = "masked_ids"  # the original ids at the predicted positions, -1 for unused ones
_RELATIONS = {rows.NEXT: 0, rows.OTHER: 1, rows.ORDERED: 0, rows.SWAPPED: 1}


@dataclass(frozen=True)
class _Tokens:
    """What the task knows of the tokenizer.

    Attributes:
        vocabulary: the tokens in the order of their ids.
        options: the tokenizer's.
        around: the number of special tokens of a row.
    """

    vocabulary: tuple[str, ...]
    options: TokenizerOptions
    around: int


class MaskedLM(Task):
    """Predicts masked tokens; see the package.

    Args:
        options: the run file's ``task`` section.
        fitted: ``tokens``, the most tokens of a row's texts; known once a run exists.
    """

    options: MaskedLMOptions
    scorer_class = MaskedLMScorer
    offsets: Mapping[str, str] = dict.fromkeys(("starts", "ends"), "text")
    has_token_targets = True
    augments = True
    divides = True
    continues = (HEAD, RELATION)

    def __init__(
        self,
        options: MaskedLMOptions,
        fitted: Mapping[str, Any] | None = None,
        tokens: _Tokens | None = None,
    ) -> None:
        super().__init__(options, dict(fitted or {}))
        self._known_tokens = tokens

    def limit_length(self, tokens: int) -> MaskedLM:
        return type(self)(self.options, {"tokens": tokens}, self._known_tokens)

    def with_tokenizer(self, vocabulary: Sequence[str], options: TokenizerOptions) -> MaskedLM:
        if options.mask_token is None or options.mask_token not in vocabulary:
            raise UserError(
                "the checkpoint's vocabulary has no [MASK] token, which masked_lm needs; start from a "
                "checkpoint that has one, or name it as mask_token in tokenizer_config.json"
            )
        around = options.template.count(self.options.makes_pairs)
        known = _Tokens(tuple(vocabulary), options, around)
        return type(self)(self.options, self.fitted, known)

    def with_options(self, options: MaskedLMOptions) -> MaskedLM:
        return type(self)(options, self.fitted, self._known_tokens)

    @property
    def _tokens(self) -> _Tokens:
        if self._known_tokens is None:
            raise ValueError("the task has no tokenizer yet; call with_tokenizer first")
        return self._known_tokens

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens; embeddings may have more rows."""
        return len(self._tokens.vocabulary)

    @property
    def special_ids(self) -> list[int]:
        """The ids of special tokens, which are never masked."""
        return special_token_ids(self._tokens.vocabulary, self._tokens.options)

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return token_ids(self._tokens.vocabulary)[str(self._tokens.options.mask_token)]

    # Checkpoints.

    def head_variables(self, head: Any) -> dict[str, Any]:
        variables = head_variables(head)
        if head.relation is None:
            return variables
        return {
            **variables,
            f"{RELATION}/kernel": head.relation.kernel,
            f"{RELATION}/bias": head.relation.bias,
        }

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        defaults = type(self.options)()
        settings = {
            f"task.{name}": str(getattr(self.options, name))
            for name in ("best", "max_masks")
            if getattr(self.options, name) != getattr(defaults, name)
        }
        return CheckpointHead(self.head_tensors(head), settings=settings)

    # Input.

    def divide(self, examples: Iterable[Example], tokens: RowTokens) -> Iterator[Example]:
        """Rows that fill the model; see :mod:`tfpipeline.tasks.masked_lm.rows`."""
        special = set(self._tokens.options.all_special_tokens)
        if not self.options.makes_pairs:
            return rows.cut(examples, tokens, special)
        ordered = self.options.objective == "sentence_order"
        return rows.cut_pairs(examples, tokens, special, ordered=ordered)

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        """``relation``, int32, with an objective: 0 if the second text follows the first, else 1.

        Rows of data files, which are not divided yet, have no second text.
        """
        if not self.options.makes_pairs:
            return {}
        relations = [_RELATIONS.get(example.label or "", 0) for example in examples]
        return {"relation": np.array(relations, np.int32)}

    def token_targets(self, examples: Sequence[Example], tokens: Arrays) -> Arrays:
        """``word``: the number of each token's word in its row, from 1; 0 for special tokens and padding."""
        by_list = self.options.words == "jieba"
        return {
            "word": word_numbers(
                tokens["offsets"],
                tokens["word_starts"],
                tokens["token_type_ids"],
                whole_words=self.options.whole_words,
                texts=[(example.text, example.text_pair or "") for example in examples] if by_list else (),
                segmenter=jieba_segmenter() if by_list else None,
            )
        }

    def augment(
        self,
        inputs: Mapping[str, tf.Tensor],
        targets: Mapping[str, tf.Tensor],
        noise: RowNoise,
        tokenizer: Tokenizer,
    ) -> tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]]:
        """Mask tokens. ``predicted_positions`` and ``masked_ids``, int32 [B, P], are further inputs."""
        import tensorflow as tf

        from tfpipeline.tasks.masked_lm import masking

        ids, share = inputs["input_ids"], self.options.mask_share
        chosen = masking.choose(
            targets["word"],
            tf.logical_not(inputs["special_tokens_mask"]),
            tf.reduce_sum(inputs["attention_mask"], axis=1),
            share,
            noise,
        )
        positions = masking.positions_of(chosen, share)
        originals = tf.gather(ids, tf.maximum(positions, 0), batch_dims=1)
        ordinary = ordinary_token_ids(self._tokens.vocabulary, self._tokens.options)
        return {
            **{name: inputs[name] for name in INPUTS},
            "input_ids": masking.replace(ids, chosen, self.mask_id, ordinary, noise),
            PREDICTED_POSITIONS: positions,
            MASKED_IDS: tf.where(positions < 0, -1, originals),
            **({"relation": targets["relation"]} if self.options.makes_pairs else {}),
        }, targets

    # The model.

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models import MaskedLMHead

        return MaskedLMHead(
            config.vocab_size,
            mask_id=self.mask_id,
            masks=self.options.max_masks,
            hidden_act=config.hidden_act,
            layer_norm_eps=config.layer_norm_eps,
            stddev=config.initializer_range,
            reads_pairs=self.options.makes_pairs,
            seed=seed,
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        losses = _cross_entropies(outputs["logits"], targets[MASKED_IDS])
        terms = tf.cast(self.loss_terms(targets), losses.dtype)
        loss = tf.reduce_sum(losses, axis=1) / tf.maximum(terms, 1.0)
        if self.options.makes_pairs:
            loss += tf.nn.sparse_softmax_cross_entropy_with_logits(targets["relation"], outputs["relation"])
        return loss

    def loss_terms(self, targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The masked tokens of each row. So the loss of a batch is the mean over its masked tokens; the loss
        of the relation of two texts is weighted alike.
        """
        import tensorflow as tf

        return tf.reduce_sum(tf.cast(targets[MASKED_IDS] >= 0, tf.int32), axis=1)

    # Output.

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        count = self.vocabulary_size
        logits, positions = tf.cast(outputs["logits"], tf.float32), outputs["positions"]
        there = positions >= 0
        # The embeddings may be padded: rows behind the vocabulary stand for no token.
        probabilities = tf.nn.softmax(logits)[:, :, :count]
        scores, best = tf.math.top_k(probabilities, min(self.options.best, count))
        offsets = tf.gather(inputs["offsets"], tf.maximum(positions, 0), batch_dims=1)
        is_mask = tf.equal(inputs["input_ids"], self.mask_id) & (inputs["attention_mask"] > 0)
        return {
            "tokens": tf.where(there[:, :, None], tf.gather(tf.constant(self._tokens.vocabulary), best), ""),
            "scores": tf.where(there[:, :, None], scores, 0.0),
            "starts": tf.where(there, offsets[:, :, 0], -1),
            "ends": tf.where(there, offsets[:, :, 1], -1),
            "count": tf.reduce_sum(tf.cast(is_mask, tf.int32), axis=1),
        }

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Of each row, [B]: ``loss``, the sum of its masked tokens' cross-entropies, and the numbers of its
        tokens that are ``masked`` and ``right``; with an objective whether the ``relation`` is right. Also
        ``masked_ids``, int32 [B, P] with P that of the longest row, padded with -1.
        """
        import tensorflow as tf

        from tfpipeline.tasks.masked_lm.masking import most_masked

        logits, ids = tf.cast(outputs["logits"], tf.float32), inputs[MASKED_IDS]
        masked = ids >= 0
        right = masked & tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), ids)
        most = most_masked(self.fitted["tokens"] + self._tokens.around, self.options.mask_share)
        padded = tf.pad(ids, [[0, 0], [0, most - tf.shape(ids)[1]]], constant_values=-1)
        scored = {
            "loss": tf.reduce_sum(_cross_entropies(logits, ids), axis=1),
            "masked": tf.reduce_sum(tf.cast(masked, tf.int32), axis=1),
            "right": tf.reduce_sum(tf.cast(right, tf.int32), axis=1),
            MASKED_IDS: tf.ensure_shape(padded, [None, most]),
        }
        if self.options.makes_pairs:
            found = tf.argmax(outputs["relation"], axis=-1, output_type=tf.int32)
            scored["relation"] = tf.cast(tf.equal(found, inputs["relation"]), tf.int32)
        return scored


def _cross_entropies(logits: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """The cross-entropy of each predicted token, [B, P]; 0 where the id is -1."""
    import tensorflow as tf

    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(ids, 0), logits)
    return tf.where(ids >= 0, losses, 0.0)
