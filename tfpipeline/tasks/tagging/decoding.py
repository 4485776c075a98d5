"""Converts the tags of tokens to the entities of texts, in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

    from tfpipeline.tasks.tagging.scheme import Scheme


def is_text(tokens: Mapping[str, Any]) -> Any:
    """Whether each token belongs to the (first) text, bool [..., T]; for arrays or tensors."""
    offsets = tokens["offsets"]
    return (
        (offsets[..., 1] > offsets[..., 0]) & (tokens["attention_mask"] > 0) & (tokens["token_type_ids"] < 1)
    )


def entities(
    scheme: Scheme,
    most: int,
    tags: tf.Tensor,
    probability: tf.Tensor,
    real: tf.Tensor,
    begins: tf.Tensor,
    offsets: tf.Tensor,
    texts: Any,
) -> dict[str, tf.Tensor]:
    """The entities that words' tags describe, read as in conlleval.

    Args:
        scheme: the scheme of the tags.
        most: maximum number of entities per text.
        tags: int32 [B, T].
        probability: float32 [B, T], the probabilities of these tags.
        real: bool [B, T], the tokens of the text.
        begins: bool [B, T], those that begin a word.
        offsets: int32 [B, T, 2], the tokens' offsets in the text.
        texts: the code points of the texts.
    """
    import tensorflow as tf

    # The words of all texts in sequence: [W].
    where = tf.where(begins)
    row = tf.cast(where[:, 0], tf.int32)
    tag = tf.gather_nd(tags, where)
    kind = tf.gather(tf.constant(scheme.type_of, tf.int32), tag)
    prefix = tf.gather(tf.constant(["BIES".find(prefix) for prefix in scheme.prefixes]), tag)
    token = tf.where(real)
    word = tf.cast(
        tf.gather_nd(tf.cumsum(tf.reshape(tf.cast(begins, tf.int32), [-1])), _flat(token, tags)), tf.int32
    )
    count = tf.size(row)
    ends = tf.math.unsorted_segment_max(tf.gather_nd(offsets[:, :, 1], token), word - 1, count)
    piece = tf.gather_nd(texts.pieces(offsets), where)
    inside = kind >= 0

    def before(values: tf.Tensor, first: Any) -> tf.Tensor:
        return tf.concat([[first], values], axis=0)[:-1]

    begin = inside & (
        tf.not_equal(row, before(row, -1))
        | tf.not_equal(piece, before(piece, 0))
        | tf.not_equal(kind, before(kind, -1))
        | (prefix == 0)
        | (prefix == 3)
        | (before(prefix, 0) >= 2)
    )
    # Entities: [N].
    number = tf.cumsum(tf.cast(begin, tf.int32)) - 1
    number = tf.where(inside, number, -1)
    first = tf.where(begin)[:, 0]
    size = tf.size(first)
    owner = tf.gather(row, first)
    start = tf.gather(tf.gather_nd(offsets[:, :, 0], where), first)
    end = tf.math.unsorted_segment_max(ends, number, size)
    score = tf.math.unsorted_segment_mean(tf.gather_nd(probability, where), number, size)
    rows = tf.shape(tags)[0]
    counts = tf.math.unsorted_segment_sum(tf.ones_like(owner), owner, rows)
    place = tf.range(size) - tf.gather(tf.cumsum(counts, exclusive=True), owner)
    kept = tf.where(place < most)[:, 0]
    slots = tf.stack([tf.gather(owner, kept), tf.gather(place, kept)], axis=-1)

    def dense(values: tf.Tensor) -> tf.Tensor:
        return tf.scatter_nd(slots, tf.gather(values, kept), tf.stack([rows, most]))

    # No word begins within a character of the previous word, so whole characters do not overlap.
    starts, places = texts.first(dense(start)), texts.whole(dense(end))
    names = tf.constant(["", *scheme.types])
    return {
        "types": tf.gather(names, dense(tf.gather(kind, first) + 1)),
        "texts": texts.cut(starts, places),
        "starts": starts,
        "ends": places,
        "scores": dense(score),
        "count": counts,
    }


def _flat(where: Any, like: Any) -> Any:
    """Indices [N, 2] into a matrix as indices [N, 1] into its values in one row."""
    import tensorflow as tf

    width = tf.shape(like, out_type=tf.int64)[1]
    return (where[:, 0] * width + where[:, 1])[:, None]
