"""Generates token by token: each step reads the new tokens only, and attends to the keys and values kept.

B rows, W candidates of each (1 greedily, otherwise beams or drawn texts), S positions of the longest source,
M target tokens read so far, L blocks, N heads, D = H / N, V tokens.

The cache holds the keys and values of a source once, not per candidate. Those of the candidates are appended
at each step, [B, N, M * W, D] per block, and stay where they are: when candidate 0 goes on from candidate 3,
only a table changes that says which of the M * W tokens each candidate sees. So choosing beams copies no keys
and values, and a step reads each of them once for all candidates of its row. All in all they take
``2 * L * B * (S + M * W) * H`` numbers.

The cache grows at each step. With one that is allocated at its final size, a step attends to empty places
too, and takes 1.15 to 1.3 times as long on a CPU (six blocks of MiniLM's size, 16 and 64 tokens, 1 and 4
beams).

In ``causal`` models the state of a token gives the next token. In ``masked`` models (UniLM, Dong et al. 2019,
arXiv:1905.03197, section 2.6) a step reads the token chosen before, which is kept, and a [MASK] behind it,
which gives the next token and is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfpipeline.errors import UserError
from tfpipeline.models.architectures import KeysAndValues
from tfpipeline.models.config import EncoderConfig

_MASKED = -1e9  # added to scores; exp() of it is 0
_TARGET = 1  # the token type of the target


class Cache(NamedTuple):
    """What a model has read: a nest of tensors that a ``tf.while_loop`` can carry.

    The sizes of some change from step to step, so the loop needs ``shape_invariants`` that leave all sizes
    open.

    Attributes:
        source: the keys and values of the sources, [B, N, S, D] in each block.
        source_bias: [B, 1, 1, S], 0 for tokens of the source and a large negative number for padding.
        lengths: int32 [B], the tokens of each source, special ones included.
        target: the keys and values of the target tokens, [B, N, M * W, D] in each block. Token m of candidate
            w is at m * W + w.
        seen: bool [B, W, M * W], which of them each candidate sees.
    """

    source: tuple[KeysAndValues, ...]
    source_bias: tf.Tensor
    lengths: tf.Tensor
    target: tuple[KeysAndValues, ...]
    seen: tf.Tensor


class CachedModel:
    """Generates with an encoder and a head; the base class of models that can.

    The head gives the logits of tokens (``token_logits``) and says whether a [MASK] is read (``mask_id``,
    None in causal models); see :class:`tfpipeline.models.generation_head.GenerationHead`.
    """

    def _parts(self) -> tuple[Any, Any]:
        """The encoder, or its serving form, and the head.

        Raises:
            UserError: one of them cannot generate.
        """
        raise NotImplementedError

    def start(self, inputs: Mapping[str, Any], width: Any = 1) -> tuple[tf.Tensor, Cache]:
        """Read the sources.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T]. Only the tokens of
                type 0 are read: a batch that is evaluated has those of its targets too.
            width: W, an int or int32 [].
        Returns:
            The logits of the first target token, [B, V], float32 at least; and the cache.
        """
        encoder, head = self._parts()
        source = _source(inputs)
        states, found = encoder.keys_and_values(source)
        wide = tf.float64 if states.dtype == tf.float64 else tf.float32
        mask = source["attention_mask"]
        lengths = tf.reduce_sum(mask, 1)
        cache = Cache(
            source=found,
            source_bias=tf.cast(1 - mask, wide)[:, None, None, :] * _MASKED,
            lengths=lengths,
            target=tuple(KeysAndValues(keys[:, :, :0], values[:, :, :0]) for keys, values in found),
            seen=tf.zeros([tf.shape(mask)[0], width, 0], tf.bool),
        )
        if head.mask_id is None:
            last = tf.gather(states, tf.maximum(lengths - 1, 0), batch_dims=1)
            return head.token_logits(last), cache
        read = _Reading(cache, tokens=None, masks=1)
        states = encoder.extend(
            {
                "input_ids": tf.fill([tf.shape(mask)[0], 1], head.mask_id),
                "token_type_ids": tf.fill([tf.shape(mask)[0], 1], _TARGET),
                "positions": lengths[:, None],
            },
            read.attend,
        )
        return head.token_logits(states[:, 0]), cache

    def step(self, cache: Cache, tokens: tf.Tensor) -> tuple[tf.Tensor, Cache]:
        """Read one more token of each candidate.

        Args:
            cache: of :meth:`start` or the step before.
            tokens: int32 [B, W], the tokens that were chosen.
        Returns:
            The logits of the tokens behind them, [B, W, V], float32 at least; and the cache.
        """
        encoder, head = self._parts()
        width = tf.shape(tokens)[1]
        done = tf.shape(cache.seen)[2] // tf.maximum(width, 1)  # M
        here = tf.broadcast_to((cache.lengths + done)[:, None], tf.shape(tokens))
        if head.mask_id is None:
            read = _Reading(cache, tokens, masks=0)
            ids, positions = tokens, here
        else:
            read = _Reading(cache, tokens, masks=width)
            ids = tf.concat([tokens, tf.fill(tf.shape(tokens), head.mask_id)], 1)
            positions = tf.concat([here, here + 1], 1)
        states = encoder.extend(
            {"input_ids": ids, "token_type_ids": tf.ones_like(ids) * _TARGET, "positions": positions},
            read.attend,
        )
        if head.mask_id is not None:
            states = states[:, width:]
        return head.token_logits(states), cache._replace(target=tuple(read.target), seen=read.seen)

    @staticmethod
    def reorder(cache: Cache, beams: tf.Tensor) -> Cache:
        """Let candidate w of each row go on from its candidate ``beams[b, w]``.

        Args:
            beams: int32 [B, W].
        """
        return cache._replace(seen=tf.gather(cache.seen, beams, batch_dims=1))

    @staticmethod
    def keep(cache: Cache, rows: tf.Tensor) -> Cache:
        """Keep these rows only, in this order: int32 [B']."""
        kept: Cache = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), cache)
        return kept


class _Reading:
    """The attention of one step, block by block.

    Args:
        cache: before the step.
        tokens: int32 [B, W], new tokens, which are kept; None for none.
        masks: the number of [MASK] tokens behind them, each of which sees itself, an int or int32 [].

    Attributes:
        seen: :attr:`Cache.seen` after the step.
        target: :attr:`Cache.target` after the step, for the blocks that have attended.
    """

    def __init__(self, cache: Cache, tokens: tf.Tensor | None, masks: Any) -> None:
        self._cache, self._masks = cache, masks
        self._tokens = 0 if tokens is None else tf.shape(tokens)[1]
        self.seen, self.target = cache.seen, list[KeysAndValues]()
        wide = cache.source_bias.dtype
        if tokens is not None:
            rows = tf.shape(tokens)[0]
            own = tf.tile(tf.eye(self._tokens, dtype=tf.bool)[None], [rows, 1, 1])
            self.seen = tf.concat([cache.seen, own], 2)
        bias = tf.where(self.seen, tf.zeros([], wide), tf.constant(_MASKED, wide))[:, None]
        self._has_masks = not isinstance(masks, int) or masks > 0
        if not self._has_masks:
            self._target_bias = bias
            return
        # A [MASK] sees what the token before it sees, and itself; no token sees a [MASK].
        self._target_bias = bias if tokens is None else tf.concat([bias, bias], 2)
        if tokens is None:
            self._target_bias = bias[:, :, :masks]
        itself = (1 - tf.eye(masks, dtype=wide)) * _MASKED
        nothing = tf.fill([self._tokens, masks], tf.constant(_MASKED, wide))
        self._mask_bias = tf.concat([nothing, itself], 0)[None, None]

    def attend(self, block: int, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """What new tokens and [MASK] tokens attend to; see :meth:`Encoder.extend`. Called once per block, in
        order.
        """
        kept = self._cache.target[block]
        count = self._tokens
        if self._has_masks:
            new, masks = (
                KeysAndValues(key[:, :, part], value[:, :, part])
                for part in (slice(None, count), slice(count, None))
            )
        else:
            new, masks = KeysAndValues(key, value), None
        target = KeysAndValues(tf.concat([kept.keys, new.keys], 2), tf.concat([kept.values, new.values], 2))
        self.target.append(target)
        read = [(self._cache.source[block], self._cache.source_bias), (target, self._target_bias)]
        if masks is not None:
            read.append((masks, self._mask_bias))
        return _attention(query, read)


def _attention(query: tf.Tensor, read: list[tuple[KeysAndValues, tf.Tensor]]) -> tf.Tensor:
    """Attention to several groups of tokens: one softmax over all of them.

    Args:
        query: [B, N, Q, D].
        read: keys and values, [B, N, C, D], with the bias of their scores, [B, 1, Q, C].
    Returns:
        [B, N, Q, D].
    """
    scores = [
        tf.cast(tf.matmul(query, group.keys, transpose_b=True), bias.dtype) + bias for group, bias in read
    ]
    sizes = tf.stack([tf.shape(group.keys)[2] for group, _ in read])
    weights = tf.cast(tf.nn.softmax(tf.concat(scores, -1)), query.dtype)
    shares = tf.split(weights, sizes, axis=-1, num=len(read))
    return tf.add_n([tf.matmul(share, group.values) for share, (group, _) in zip(shares, read)])


def _source(inputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """The sources of a batch, without targets and without columns that no source has."""
    types = inputs["token_type_ids"]
    mask = tf.where(types == 0, inputs["attention_mask"], 0)
    longest = tf.maximum(tf.reduce_max(tf.concat([tf.reduce_sum(mask, 1), [1]], 0)), 1)
    return {
        "input_ids": inputs["input_ids"][:, :longest],
        "token_type_ids": types[:, :longest] * 0,
        "attention_mask": mask[:, :longest],
    }


def generating(model: Any, encoder: Any) -> tuple[Any, Any]:
    """The encoder, or its serving form, and the head of a model that generates.

    Raises:
        UserError: its encoder or its head cannot generate.
    """
    require_cache(model.encoder.config)
    if not hasattr(model.head, "mask_id") or not hasattr(model.head, "token_logits"):
        what = "no head" if model.head is None else f"the head {type(model.head).__name__}"
        raise UserError(f"the model has {what}, which cannot write texts; use a GenerationHead")
    return encoder, model.head


def require_cache(config: EncoderConfig) -> None:
    """Check that an encoder can generate.

    Raises:
        UserError: it cannot.
    """
    if not config.generates:
        raise UserError(
            f"the architecture {config.architecture} cannot write texts: its encoder has no key-value cache "
            "(generates in its configuration, keys_and_values and extend in its encoder)"
        )
