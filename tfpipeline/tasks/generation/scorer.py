"""Scores written texts beside their references, with cheap texts to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.tasks.generation import baselines
from tfpipeline.tasks.scorer import Arrays, Embed, Mistake, Scorer

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.tasks.generation.task import Generation

REFERENCES, TEXT, DECODED, LOSS, TOKENS = "references", "text", "decoded", "loss", "tokens"


class GenerationScorer(Scorer):
    """Scores the predictions of the task ``generation``; :mod:`tfpipeline.metrics.generation` says how.

    ``predictions`` hold ``text`` [N], strings; ``decoded`` bool [N], the rows that have a written text; and,
    except those of baselines, ``loss`` and ``tokens`` [N], the negative log-likelihood of the target and its
    number of tokens. Perplexity is over all rows, the other metrics over the decoded rows; without any, only
    the perplexity exists. ``targets`` hold ``references``, objects [N]: the right texts of each row.
    :meth:`complete` adds what each row adds to the scores.
    """

    task: Generation
    best_metric = "perplexity"
    lower_is_better = frozenset({"perplexity"})

    def check(self, examples: Sequence[Example]) -> None:
        from tfpipeline.metrics.generation import require_libraries

        require_libraries()

    def complete(self, predictions: Arrays, targets: Arrays, embed: Embed | None = None) -> Arrays:
        from tfpipeline.metrics import generation

        if generation.EXACT in predictions:
            return predictions
        rows = np.flatnonzero(predictions[DECODED])
        texts, references = _texts(predictions[TEXT][rows]), targets[REFERENCES][rows].tolist()
        complete = dict(predictions)
        for name, values in generation.score(texts, references, ignore_case=self.task.uncased).items():
            complete[name] = np.zeros((len(predictions[TEXT]), *values.shape[1:]))
            complete[name][rows] = values
        return complete

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        from tfpipeline.metrics import generation

        scores = {}
        if LOSS in predictions:
            value = generation.perplexity(predictions[LOSS], predictions[TOKENS], weights)
            scores[generation.PERPLEXITY] = value
        rows = self._scored(predictions, targets, weights)
        return {**scores, **(generation.compute(*rows) if rows else {})}

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics import generation

        found = generation.perplexity_interval(predictions[LOSS], predictions[TOKENS], weights)
        rows = self._scored(predictions, targets, weights)
        return {**found, **(generation.confidence_intervals(*rows) if rows else {})}

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        notes = []
        if self.task.uncased:
            notes.append("The vocabulary has no capital letters: case is ignored.\n")
        decoded = int(predictions[DECODED].sum())
        if decoded < len(weights):
            notes.append(f"Texts of {decoded} of {len(weights)} rows were written and scored.\n")
        return "".join([super().report(predictions, targets, weights), *notes])

    def baselines(
        self, train: Sequence[Example] | None, test: Sequence[Example]
    ) -> Iterator[tuple[str, Arrays]]:
        """The source copied; its first sentences, if a source has more than these; and the target of the most
        similar training row.
        """
        targets = self.task.targets(test)
        sources, count = [example.text for example in test], self.task.options.lead_sentences
        if any(baselines.has_more_sentences(source, count) for source in sources):
            texts = [baselines.first_sentences(source, count) for source in sources]
            yield baselines.lead(count), self._written(texts, targets)
        yield baselines.COPY, self._written(sources, targets)
        nearest = None if train is None else baselines.nearest_answers(train, sources)
        if nearest is not None:
            yield baselines.NEAREST, self._written(nearest, targets)

    def shown_mistakes(
        self, predictions: Arrays, targets: Arrays, examples: Sequence[Example], most: int
    ) -> list[Mistake]:
        """The written texts that equal no reference, those with the lowest chrF first."""
        from tfpipeline.metrics import generation

        complete = self.complete(predictions, targets)
        wrong = np.flatnonzero(complete[DECODED].astype(bool) & (complete[generation.EXACT] == 0))
        scores = generation.row_scores(complete[generation.CHRF_COUNTS])[wrong]
        rows = wrong[np.argsort(scores, kind="stable")][:most].tolist()
        written = _texts(predictions[TEXT][rows])
        return [
            Mistake(examples[row].text, " / ".join(targets[REFERENCES][row]), text, examples[row].source)
            for row, text in zip(rows, written)
        ]

    def figures(self, predictions: Arrays, targets: Arrays) -> dict[str, Any]:
        """How well single rows are written, and how long their texts are."""
        from tfpipeline.metrics import generation

        complete = self.complete(predictions, targets)
        rows = complete[DECODED].astype(bool)
        if not rows.any():
            return {}
        scores = generation.row_scores(complete[generation.CHRF_COUNTS][rows])
        written, wanted = complete[generation.BLEU_COUNTS][rows, :2].T
        return {"texts": _figure(scores, written, wanted)}

    def _scored(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
        """What the decoded rows add to the scores, and their weights; None if there are no such rows."""
        from tfpipeline.metrics import generation

        complete = self.complete(predictions, targets)
        rows = complete[DECODED].astype(bool) & (weights > 0)
        if not rows.any():
            return None
        return {name: complete[name][rows] for name in generation.COLUMNS}, weights[rows]

    def _written(self, texts: Sequence[str], targets: Arrays) -> Arrays:
        predictions = {TEXT: np.array(texts, object), DECODED: np.ones(len(texts), bool)}
        return self.complete(predictions, targets)


def _texts(strings: np.ndarray) -> list[str]:
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in strings]


def _figure(scores: np.ndarray, written: np.ndarray, wanted: np.ndarray) -> Any:
    """A histogram of the rows' chrF [N], and their lengths in tokens, written [N] and wanted [N]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(scores, bins=np.linspace(0, 100, 21))
    left.set(xlabel="chrF of a row", ylabel="rows")
    longest = max(written.max(), wanted.max(), 1)
    right.plot([0, longest], [0, longest], color="grey", linewidth=1)
    right.scatter(wanted, written, s=8, alpha=0.5)
    right.set(xlabel="words and marks in the nearest reference", ylabel="written")
    return figure
