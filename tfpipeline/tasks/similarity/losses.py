"""Losses on vectors of texts, in the graph. Each returns one number per row.

Letters in shapes: B rows, D vector size, K negatives per row. "Unit vectors" have length 1, so that their
inner product is their cosine. The numbers have the dtype of the vectors.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def infonce(
    queries: tf.Tensor,
    documents: tf.Tensor,
    *,
    is_negative: tf.Tensor,
    scale: Any,
    negatives: tf.Tensor | None = None,
    negative_is_negative: tf.Tensor | None = None,
    symmetric: bool = False,
) -> tf.Tensor:
    """Cross-entropy of telling a row's document from those of the other rows, and from given negatives.

    Args:
        queries, documents: unit vectors [B, D].
        is_negative: bool [B, B], whether document j is a negative of query i.
        scale: 1 / temperature, a number or [B].
        negatives: unit vectors [B, K, D] of given negatives, which all rows use.
        negative_is_negative: bool [B, B, K], whether negative k of row j is one of query i.
        symmetric: take the mean of this and of telling a row's query from those of the other rows.
    Source: van den Oord et al. 2018, arXiv:1807.03748; with given negatives: Karpukhin et al. 2020,
        arXiv:2004.04906; symmetric: Radford et al. 2021, arXiv:2103.00020.
    """
    rows = tf.shape(queries)[0]
    scale = tf.reshape(_like(scale, queries), [-1, 1])
    logits = scale * tf.matmul(queries, documents, transpose_b=True)
    right = tf.linalg.diag_part(logits)
    own = tf.eye(rows, dtype=tf.bool)
    candidates = _without(logits, is_negative | own)
    if negatives is not None and negative_is_negative is not None:
        flat = tf.reshape(negatives, [-1, negatives.shape[-1]])
        more = scale * tf.matmul(queries, flat, transpose_b=True)  # [B, B * K]
        more = _without(more, tf.reshape(negative_is_negative, tf.shape(more)))
        candidates = tf.concat([candidates, more], axis=1)
    losses = tf.reduce_logsumexp(candidates, axis=1) - right
    if not symmetric:
        return losses
    # Row j: query i among all queries, for document j.
    other = scale * tf.matmul(documents, queries, transpose_b=True)
    other = _without(other, tf.transpose(is_negative) | own)
    return 0.5 * (losses + tf.reduce_logsumexp(other, axis=1) - right)


def class_infonce(vectors: tf.Tensor, labels: tf.Tensor, *, counted: tf.Tensor, scale: Any) -> tf.Tensor:
    """The mean of :func:`infonce` over all other rows of the same class as the row's document; rows of other
    classes are its negatives. 0 for a row that is alone in its class.

    Args:
        vectors: unit vectors [B, D].
        labels: integer [B].
        counted: bool [B]; other rows are neither documents nor negatives.
        scale: 1 / temperature, a number or [B].
    Source: Khosla et al. 2020, arXiv:2004.11362, the mean outside of the logarithm; but rows of the same
        class are no negatives of each other.
    """
    scale = tf.reshape(_like(scale, vectors), [-1, 1])
    logits = scale * tf.matmul(vectors, vectors, transpose_b=True)
    same = tf.equal(labels[:, None], labels[None])
    others = ~tf.eye(tf.shape(vectors)[0], dtype=tf.bool) & counted[None]
    negatives = tf.reduce_logsumexp(_without(logits, others & ~same), axis=1, keepdims=True)
    pairs = tf.cast(others & same, vectors.dtype)
    losses = tf.nn.softplus(negatives - logits)  # of each document: log(e^right + sum of e^negative) - right
    # Chosen before the product: a row without negatives has a loss of 0, but one without numbers has NaN.
    losses = tf.where(others & same, losses, tf.zeros([], losses.dtype))
    return tf.math.divide_no_nan(tf.reduce_sum(losses, axis=1), tf.reduce_sum(pairs, axis=1))


def cosent(cosines: tf.Tensor, scores: tf.Tensor, *, weights: tf.Tensor, scale: Any) -> tf.Tensor:
    """The logarithm of 1 + the sum of ``exp(scale * (cosine j - cosine i))`` over all rows i and j of which i
    has the higher score. It is a loss of the whole batch, which is returned for each of its rows.

    A term of the sum is multiplied by the weights of both of its rows.

    Args:
        cosines: [B].
        scores: [B], only their order counts.
        weights: [B], 1 on average; rows of weight 0 are left out.
        scale: 1 / temperature.
    Source: Su 2022, https://kexue.fm/archives/8847 (CoSENT), which has no weights.
    """
    counted = weights > 0
    logs = tf.math.log(tf.where(counted, tf.cast(weights, cosines.dtype), 1.0))
    wrong = _like(scale, cosines) * (cosines[None] - cosines[:, None]) + logs[:, None] + logs[None]  # [i, j]
    ordered = (scores[:, None] > scores[None]) & counted[:, None] & counted[None]
    terms = tf.reshape(_without(wrong, ordered), [-1])
    loss = tf.reduce_logsumexp(tf.concat([tf.zeros([1], cosines.dtype), terms], axis=0))
    return tf.fill(tf.shape(cosines), loss)


def cosine_regression(cosines: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """The squared difference of cosine and score; both [B].

    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3.
    """
    return tf.square(cosines - tf.cast(scores, cosines.dtype))


def triplet(
    queries: tf.Tensor, documents: tf.Tensor, negatives: tf.Tensor, *, real: tf.Tensor, margin: float
) -> tf.Tensor:
    """The mean over a row's negatives of what the cosine to the document lacks to be ``margin`` above the
    cosine to the negative.

    Args:
        queries, documents: unit vectors [B, D].
        negatives: unit vectors [B, K, D].
        real: bool [B, K], which negatives the rows have.
        margin: a difference of cosines.
    Source: Schroff et al. 2015, arXiv:1503.03832, with cosines.
    """
    lacks = tf.nn.relu(margin - _margins(queries, documents, negatives))
    return _mean(lacks, real)


def margin_mse(
    queries: tf.Tensor, documents: tf.Tensor, negatives: tf.Tensor, margins: tf.Tensor, *, real: tf.Tensor
) -> tf.Tensor:
    """The mean over a row's negatives of the squared difference between the model's margin and the teacher's.

    A margin is the inner product (or the teacher's score) of query and document less that of query and
    negative.

    Args:
        queries, documents: vectors [B, D].
        negatives: vectors [B, K, D].
        margins: the teacher's margins, [B, K].
        real: bool [B, K], which negatives the rows have.
    Source: Hofstätter et al. 2020, arXiv:2010.02666.
    """
    found = _margins(queries, documents, negatives)
    return _mean(tf.square(found - tf.cast(margins, found.dtype)), real)


def _like(scale: Any, vectors: tf.Tensor) -> tf.Tensor:
    """A number or a tensor in the dtype of vectors; ``tf.cast`` would round a number to 32 bits."""
    return tf.cast(scale, vectors.dtype) if tf.is_tensor(scale) else tf.constant(scale, vectors.dtype)


def _margins(queries: tf.Tensor, documents: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
    """[B, K]."""
    right = tf.reduce_sum(queries * documents, axis=-1, keepdims=True)
    return right - tf.reduce_sum(queries[:, None] * negatives, axis=-1)


def _mean(values: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """The mean of the real values of each row; 0 without any."""
    real = tf.cast(real, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * real, axis=1), tf.reduce_sum(real, axis=1))


def _without(logits: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Logits with the lowest number where they do not count. Its exponential is 0, and so is its gradient."""
    return tf.where(kept, logits, logits.dtype.min)
