"""The fitted task ``similarity``: one vector per text, and losses that compare them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline import paths
from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.checkpoints.sentence_transformers import SentenceSettings
from tfpipeline.data.text_names import TEXT, TEXT_PAIR, key
from tfpipeline.errors import UserError
from tfpipeline.models.pooling import check_pooling
from tfpipeline.paths import AnyPath
from tfpipeline.tasks._mining import CorpusFile
from tfpipeline.tasks.base import EXAMPLE_MASK, EXAMPLE_WEIGHTS, Task
from tfpipeline.tasks.scorer import Arrays
from tfpipeline.tasks.signature import Signature
from tfpipeline.tasks.similarity import rows
from tfpipeline.tasks.similarity.corpus import Corpus, CorpusOptions
from tfpipeline.tasks.similarity.mining import PairsToMine
from tfpipeline.tasks.similarity.scorer import SimilarityScorer, of_size
from tfpipeline.tasks.similarity.signatures import declared

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.data import Example
    from tfpipeline.data.options import DataOptions
    from tfpipeline.models import EncoderConfig
    from tfpipeline.tasks.similarity.options import SimilarityOptions

SCORED = ("cosent", "cosine")  # the losses on scores
_LARGEST_SCALE = 100.0  # of a temperature that is learnt, as in CLIP (arXiv:2103.00020)
_SHORTEST = 1e-12  # the square of the length of a vector that is not made longer


class Similarity(Task):
    """Makes one vector per text; see the package.

    Args:
        options: the ``task`` section.
        fitted: ``loss``, its name; ``classes``, whether the rows are texts with a class; ``negatives``, the
            number of negatives of a row.
    """

    options: SimilarityOptions
    scorer_class = SimilarityScorer

    def __init__(self, options: SimilarityOptions, fitted: Mapping[str, Any]) -> None:
        super().__init__(options, dict(fitted))
        self.loss_name, self.has_classes = fitted["loss"], fitted["classes"]
        self.negatives: int = fitted["negatives"]
        self.batch_loss = self.loss_name in ("infonce", "cosent")
        self.further_texts = tuple(rows.negative_name(number) for number in range(1, self.negatives + 1))
        documents = dict.fromkeys((TEXT_PAIR, *self.further_texts), options.prompts.document)
        self.prompts = {TEXT: options.prompts.query, **documents}

    @functools.cached_property
    def corpus(self) -> Corpus | None:
        """The texts that an evaluation searches; None for the second texts of the rows."""
        return None if self.options.corpus is None else self.options.corpus.content

    def save(self, directory: Path) -> None:
        super().save(directory)
        if self.corpus is not None:
            self.corpus.save(directory)

    @property
    def has_scores(self) -> bool:
        """Whether rows are pairs with scores, which predictions are compared with."""
        return self.loss_name in SCORED

    @property
    def shorter_sizes(self) -> Sequence[int]:
        """The sizes that vectors may be cut to, besides their own."""
        return self.options.dimensions[1:]

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        if self.has_scores:
            limits = self.options.score_limits(self.loss_name)
            scores = [rows.score_of(example, limits) for example in examples]
            return {"score": np.array([self.options.as_cosine(score) for score in scores], np.float32)}
        if self.has_classes:
            return {"label_key": rows.group_keys(example.label for example in examples)}
        targets = rows.pair_targets(examples, self.negatives)
        if self.loss_name == "margin_mse":
            targets["margins"] = rows.margin_targets(examples, self.negatives)
        return targets

    def mining_rows(
        self, name: str, columns: DataOptions, path: AnyPath, corpus: CorpusFile | None = None
    ) -> PairsToMine:
        """Read pairs. Negatives in the file are not needed, and are replaced."""
        if self.has_classes or self.has_scores:
            why = "texts with a class" if self.has_classes else "pairs with scores"
            raise UserError(
                f"{name} was trained on {why}, but negatives are for pairs whose second text is right; use a "
                "run that was trained on such pairs"
            )
        if columns.text_pair is None:
            raise UserError(f"{name} names no column of second texts; name it: --set data.text_pair=COLUMN")
        options = self.options.model_copy(update={"negatives": None, "loss": "infonce"})
        further: Sequence[str] = ()
        if corpus is not None:
            named = {"path": str(corpus.path), "id": corpus.id, "text": corpus.text}
            further = CorpusOptions.model_validate(named).content.texts
        return PairsToMine(options.read(columns, paths.local(path)), columns, further)

    def partners(self, targets: Arrays) -> np.ndarray | None:
        """Rows of one class: without another in its batch, a row would have nothing to find."""
        return targets["label_key"] if self.has_classes else None

    def with_options(self, options: SimilarityOptions) -> Similarity:
        return Similarity(options, {**self.fitted, "loss": options.loss or self.loss_name})

    def head_variables(self, head: Any) -> dict[str, Any]:
        return {}  # a temperature is of use in training only

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        """Convert how a text becomes one vector."""
        options = self.options
        settings = SentenceSettings(
            options.pooling, options.normalize, options.prompts.model_dump(), max_length=0, size=head.size
        )
        return CheckpointHead(sentence=settings)

    def check_encoder(self, config: EncoderConfig) -> None:
        size = max(self.options.dimensions, default=0)
        if size > config.hidden_size:
            raise UserError(
                f"task.dimensions begins with {size}, but the encoder's vectors have {config.hidden_size} "
                "numbers; ask for that many or fewer"
            )
        check_pooling(self.options.pooling, config.outputs)

    def head(self, config: EncoderConfig, seed: int) -> keras.layers.Layer:
        from tfpipeline.models.embedding_head import EmbeddingHead

        options = self.options
        return EmbeddingHead(
            pooling=options.pooling,
            size=max(options.dimensions, default=None),
            normalize=options.normalize,
            prompts=options.prompts.model_dump(),
            temperature=options.initial_temperature if options.temperature == "learnt" else None,
        )

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The mean over the sizes of ``dimensions`` (Kusupati et al. 2022, arXiv:2205.13147)."""
        import tensorflow as tf

        sizes: Sequence[int | None] = self.options.dimensions or [None]
        found = [self._loss(self._vectors(outputs, size), outputs, targets) for size in sizes]
        return tf.add_n(found) / len(sizes)

    def _vectors(self, outputs: Mapping[str, tf.Tensor], size: int | None) -> dict[str, tf.Tensor]:
        """The first numbers of each text's vector, of length 1 if the loss compares cosines."""
        vectors = {}
        for text in (TEXT, TEXT_PAIR, *self.further_texts):
            if (name := key(text, "embedding")) in outputs:
                vector = outputs[name][:, :size]
                raw = self.loss_name == "margin_mse" and not self.options.normalize
                vectors[text] = vector if raw else unit(vector)
        return vectors

    def _loss(
        self,
        vectors: Mapping[str, tf.Tensor],
        outputs: Mapping[str, tf.Tensor],
        targets: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        import tensorflow as tf

        from tfpipeline.tasks.similarity import losses

        scale, first = self._scale(outputs), vectors[TEXT]
        if self.has_classes:
            return losses.class_infonce(
                first, targets["label_key"], counted=targets[EXAMPLE_MASK], scale=scale
            )
        second = vectors[TEXT_PAIR]
        if self.has_scores:
            cosines = tf.reduce_sum(first * second, axis=-1)
            if self.loss_name == "cosine":
                return losses.cosine_regression(cosines, targets["score"])
            weights = targets[EXAMPLE_WEIGHTS]
            return losses.cosent(cosines, targets["score"], weights=weights, scale=scale)
        negatives = None
        if self.negatives:
            negatives = tf.stack([vectors[name] for name in self.further_texts], axis=1)  # [B, K, D]
        if self.loss_name == "triplet":
            real = targets["has_negative"]
            return losses.triplet(first, second, negatives, real=real, margin=self.options.margin)
        if self.loss_name == "margin_mse":
            real = targets["has_negative"]
            return losses.margin_mse(first, second, negatives, targets["margins"], real=real)
        return losses.infonce(
            first,
            second,
            scale=scale,
            negatives=negatives,
            symmetric=self.options.symmetric,
            **negatives_in_batch(targets),
        )

    def _scale(self, outputs: Mapping[str, tf.Tensor]) -> Any:
        """1 / temperature: a number, or [B] if it is learnt."""
        import tensorflow as tf

        if self.options.temperature != "learnt":
            return 1.0 / self.options.temperature
        return tf.exp(tf.minimum(outputs["log_scale"], math.log(_LARGEST_SCALE)))

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """``embedding`` float32 [B, D] of one text; ``score`` float32 [B], the cosine, of two."""
        vectors = self._predicted(outputs)
        if TEXT_PAIR in vectors:
            return {"score": _cosines(vectors[TEXT], vectors[TEXT_PAIR])}
        return {"embedding": vectors[TEXT]}

    def signatures(self) -> Mapping[str, Signature]:
        return declared(self.prompts)

    def scored_predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """``score`` of pairs with scores, also of shorter vectors (``dim_SIZE/score``); otherwise
        ``embedding`` and, of pairs, ``text_pair/embedding``.
        """
        vectors = self._predicted(outputs)
        if not self.has_scores:
            return {key(text, "embedding"): vector for text, vector in vectors.items()}
        cut = {
            of_size(size, "score"): _cosines(vectors[TEXT][:, :size], vectors[TEXT_PAIR][:, :size])
            for size in self.shorter_sizes
        }
        return {**self.predictions(outputs, inputs), **cut}

    def _predicted(self, outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        given = {text: outputs.get(key(text, "embedding")) for text in (TEXT, TEXT_PAIR)}
        wide = {text: tf.cast(one, tf.float32) for text, one in given.items() if one is not None}
        return {text: unit(one) if self.options.normalize else one for text, one in wide.items()}


def _cosines(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The cosines of vectors [B, D], float [B]."""
    import tensorflow as tf

    return tf.reduce_sum(unit(one) * unit(other), axis=-1)


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Vectors [B, D] of length 1; a vector of zeros stays as it is."""
    import tensorflow as tf

    return tf.math.l2_normalize(vectors, axis=-1, epsilon=_SHORTEST)


def negatives_in_batch(targets: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Which texts of a batch are negatives of which rows; arguments of :func:`losses.infonce`.

    The second text of another row is none if that row has the same first text, the same second text or the
    same group. A given negative, of any row, is none if it is the row's second text.

    Args:
        targets: those of :func:`rows.pair_targets`, and ``example_mask``.
    """
    import tensorflow as tf

    def equal(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        return tf.equal(one[:, None], other[None])

    first, second, group = targets["text_key"], targets["text_pair_key"], targets["group_key"]
    counted = targets[EXAMPLE_MASK]
    same = equal(first, first) | equal(second, second) | (equal(group, group) & (group != 0)[None])
    found = {"is_negative": ~same & counted[:, None] & counted[None]}
    if "negative_keys" in targets:
        hit = tf.equal(second[:, None, None], targets["negative_keys"][None])  # [B, B, K]
        found["negative_is_negative"] = ~hit & (targets["has_negative"] & counted[:, None])[None]
    return found
