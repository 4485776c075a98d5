"""Scores similarities of texts: their correlation with scores in the data, or the ranks of the right texts.

Letters in shapes: N rows, D vector size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfpipeline.tasks.scorer import Arrays, Embed, Mistake, Scorer

if TYPE_CHECKING:
    from tfpipeline.data import Example

PAIR = "text_pair/"  # the prefix of the second text's predictions


class SimilarityScorer(Scorer):
    """Scores the predictions of the task ``similarity``, as its data allows.

    - Pairs with scores: Spearman's and Pearson's correlation of predictions and scores.
    - Pairs and triples: each first text is a query. The second texts of all rows are searched for it, or, in
      an evaluation of a task with a corpus, the texts of the corpus. The second texts of all rows with this
      first text are right. Left out of a search, as in training, are texts that are not right but equal the
      query or are in its group.
    - Texts with a class: each text is a query, and the other rows are searched for texts of the same class.

    Texts that differ only in case or white space are one text. A query that occurs in several rows counts
    once, with the weight of its first row. :mod:`tfpipeline.metrics.retrieval` says what the scores of a
    search are, and how ties are resolved.

    ``predictions`` hold ``score`` [N] for pairs with scores, otherwise ``embedding`` [N, D] and, for pairs,
    ``text_pair/embedding`` [N, D]. ``targets`` hold ``score`` [N]; or ``text_key``, ``text_pair_key`` and
    ``group_key``, int64 [N]; or ``label_key``, int64 [N]. Equal keys mean equal texts, groups and classes. A
    group of 0 is none. :meth:`complete` replaces vectors by ranks (:meth:`Search.rank`).

    A model with several sizes of vectors has all scores of each. Those of shorter vectors are called
    ``dim_SIZE/NAME``; for pairs with scores, ``predictions`` hold ``dim_SIZE/score`` for them.
    """

    @property
    def best_metric(self) -> str:  # type: ignore[override]
        """Spearman's correlation, or the mean reciprocal rank."""
        return "spearman" if self.task.has_scores else "mrr@10"

    def check(self, examples: Sequence[Example]) -> None:
        if self.task.corpus is not None:
            self.task.corpus.require(examples)

    def complete(self, predictions: Arrays, targets: Arrays, embed: Embed | None = None) -> Arrays:
        from tfpipeline.tasks.similarity.search import RANK, VALUE, Search, values_of

        if self.task.has_scores or RANK in predictions:
            return predictions
        search = Search.of(targets, None if embed is None else self.task.corpus)
        queries = unit(predictions["embedding"][search.queries])
        if search.corpus is not None and embed is not None:
            documents = unit(embed(search.corpus.texts))
        else:
            documents = predictions["embedding" if search.classes else PAIR + "embedding"]
            documents = unit(documents[search.document_rows])
        complete = search.rank(lambda rows: queries[rows] @ documents.T)
        for size in self.task.shorter_sizes:
            ranked = search.rank(_cosines_of(queries, documents, size))
            complete.update({VALUE + of_size(size, name): each for name, each in values_of(ranked).items()})
        return complete

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        from tfpipeline.metrics import retrieval, similarity

        if self.task.has_scores:
            return {
                prefix + name: value
                for prefix, scores in _scores_by_size(predictions)
                for name, value in similarity.compute(targets["score"], scores, weights).items()
            }
        return retrieval.average(self._values(predictions, targets), weights)

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics import retrieval, similarity

        if self.task.has_scores:
            return {
                prefix + name: ends
                for prefix, scores in _scores_by_size(predictions)
                for name, ends in similarity.confidence_intervals(targets["score"], scores, weights).items()
            }
        return retrieval.confidence_intervals(self._values(predictions, targets), weights)

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        if self.task.has_scores:
            return super().report(predictions, targets, weights)
        from tfpipeline.metrics import retrieval
        from tfpipeline.tasks.similarity.search import DOCUMENTS

        complete = self.complete(predictions, targets)
        return retrieval.report(self._values(complete, targets), weights, int(complete[DOCUMENTS][0]))

    def baselines(
        self, train: Sequence[Example] | None, test: Sequence[Example]
    ) -> Iterator[tuple[str, Arrays]]:
        """TF-IDF and BM25 on the same queries and documents. They need no training rows."""
        from tfpipeline.metrics.lexical import Lexical, available
        from tfpipeline.tasks.similarity.search import Search

        if self.task.has_scores:
            texts = [example.text for example in test]
            seconds = [example.text_pair or "" for example in test]
            for name in available():
                yield name, {"score": Lexical(name, seconds, texts).of_pairs(name)}
            return
        search = Search.of(self.task.targets(test), self.task.corpus)
        queries = [test[row].text for row in search.queries.tolist()]
        documents = search.texts(test)
        for name in available():
            yield name, search.rank(Lexical(name, documents, queries).scores, name)

    def shown_mistakes(
        self, predictions: Arrays, targets: Arrays, examples: Sequence[Example], most: int
    ) -> list[Mistake]:
        """The queries whose right document ranks lowest, with this document and the first wrong one. Of pairs
        with scores: those whose place by similarity is farthest from their place by score.
        """
        if self.task.has_scores:
            return _farthest(predictions["score"], targets["score"], examples, most)
        from tfpipeline.tasks.similarity.search import RANK, WRONG, Search

        complete = self.complete(predictions, targets)
        search = Search.of(targets, self.task.corpus)
        ranks, wrong = complete[RANK], complete[WRONG]
        rows = np.argsort(-ranks, kind="stable")[:most]
        return [
            Mistake(
                examples[row].text,
                f"rank {ranks[row]}: {search.right(row, examples)}",
                search.shown(int(wrong[row]), examples),
                examples[row].source,
            )
            for row in rows[ranks[rows] > 1].tolist()
        ]

    def _values(self, predictions: Arrays, targets: Arrays) -> dict[str, np.ndarray]:
        """The scores of each query, by name, float64 [N]."""
        from tfpipeline.tasks.similarity.search import values_of

        return values_of(self.complete(predictions, targets))


def of_size(size: int, name: str) -> str:
    """The name of a prediction or of a score of vectors that are cut to a size."""
    return f"dim_{size}/{name}"


def _scores_by_size(predictions: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """The prefix of the names, and the scores of pairs, of each size of the vectors."""
    return (
        (name.removesuffix("score"), array)
        for name, array in predictions.items()
        if name.rpartition("/")[2] == "score"
    )


def _cosines_of(queries: np.ndarray, documents: np.ndarray, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Scores the documents for some queries, with vectors that are cut to a size."""
    queries, documents = unit(queries[:, :size]), unit(documents[:, :size])
    return lambda rows: queries[rows] @ documents.T


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float32 [N, D]; a vector of zeros stays as it is.

    Raises:
        UserError: a vector contains NaN or an infinity.
    """
    from tfpipeline.metrics._rows import require_finite

    vectors = np.asarray(vectors, np.float32)
    require_finite(vectors)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def _farthest(
    scores: np.ndarray, targets: np.ndarray, examples: Sequence[Example], most: int
) -> list[Mistake]:
    """The pairs with the greatest difference between their places by similarity and by score."""
    places = [np.argsort(np.argsort(each, kind="stable")) for each in (targets, scores)]
    worst_first = np.argsort(-np.abs(places[0] - places[1]), kind="stable")[:most]
    return [
        Mistake(
            f"{examples[row].text} | {examples[row].text_pair}",
            f"{targets[row]:g}",
            f"{scores[row]:.3f}",
            examples[row].source,
        )
        for row in worst_first.tolist()
        if places[0][row] != places[1][row]
    ]
