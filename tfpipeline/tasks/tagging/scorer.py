"""The scores of tags: for entities, counted as in conlleval, or for single words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfpipeline.console import plural
from tfpipeline.tasks.scorer import Arrays, Scorer
from tfpipeline.tasks.tagging.rows import Span, Words, entities_of

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.tasks.tagging.task import Tagging

_SHOWN = 8  # wrong tags shown per row


class TaggingScorer(Scorer):
    """Compares the tags of words."""

    task: Tagging
    lower_is_better = frozenset({"expected_calibration_error"})

    def __init__(self, task: Tagging) -> None:
        super().__init__(task)
        self.best_metric = "f1" if task.scheme.entities else "token_accuracy"

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        from tfpipeline.metrics import tagging

        truth, predicted = self._sequences(predictions, targets)
        scores = tagging.compute(truth, predicted, weights, entities=self.task.scheme.entities)
        error = self._calibration_error(predictions, targets, weights)
        if error is not None:
            scores["expected_calibration_error"] = error
        # Includes types that do not occur here, so that a run can use them to select its best weights.
        return {
            **scores,
            **{name: 0.0 for kind in self.task.scheme.types if (name := f"f1/{kind}") not in scores},
        }

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics import tagging

        truth, predicted = self._sequences(predictions, targets)
        return tagging.confidence_intervals(truth, predicted, weights, entities=self.task.scheme.entities)

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        from tfpipeline.metrics import tagging

        truth, predicted = self._sequences(predictions, targets)
        report = tagging.report(truth, predicted, weights, entities=self.task.scheme.entities)
        most = predictions["starts"].shape[1]
        cut = int(((predictions["count"] > most) & (weights > 0)).sum())
        if not cut:
            return report
        what = "entities" if self.task.scheme.entities else "words"
        rows = plural(cut, "row")
        return (
            f"{report}\nIn {cut} {rows} the {what} after the first {most} are not predicted "
            "(task.max_entities)\n"
        )

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        from tfpipeline.metrics.baseline import most_frequent_tags

        def rows(examples: Sequence[Example]) -> Iterator[tuple[Words, list[str], list[str]]]:
            for example in examples:  # not all at once: there may be more words than memory
                (tagged,) = self.task.targets([example])["words"]
                words = [example.text[start:end] for start, end, _ in tagged]
                yield [(start, end) for start, end, _ in tagged], words, [tag for _, _, tag in tagged]

        asked, spans = list(rows(test)), []
        known = ((words, tags) for _, words, tags in rows(train))
        for (row, _, _), tags in zip(asked, most_frequent_tags(known, (words for _, words, _ in asked))):
            if self.task.scheme.entities:
                spans.append(entities_of(row, tags)[0])
            else:
                spans.append([(*place, tag) for place, tag in zip(row, tags)])
        return "the most frequent tag of each word", _as_predictions(spans)

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        truth, predicted = self._sequences(predictions, targets)
        wrong = []
        for row, (want, got) in enumerate(zip(truth, predicted)):
            different = [index for index, (one, two) in enumerate(zip(want, got)) if one != two]
            if different:
                wrong.append((len(different), row, different[:_SHOWN]))
        wrong.sort(key=lambda row: -row[0])

        def listed(tags: Sequence[str], shown: Sequence[int]) -> str:
            return " ".join(f"{index + 1}:{tags[index]}" for index in shown)

        return [(row, listed(truth[row], shown), listed(predicted[row], shown)) for _, row, shown in wrong]

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        return np.asarray(predictions["margin"] <= tolerance)

    def _calibration_error(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> float | None:
        """The calibration error of the predicted entities' scores (in a plain scheme, the words' scores); 0
        if none is predicted, None for predictions without scores.
        """
        from tfpipeline.metrics._calibration import calibration_error

        if "scores" not in predictions:
            return None
        sure, right, counted = [], [], []
        for row, spans in enumerate(self._spans(predictions)):
            words = targets["words"][row]
            sure += predictions["scores"][row, : len(spans)].tolist()
            if self.task.scheme.entities:
                truth, _ = entities_of([(start, end) for start, end, _ in words], [tag for *_, tag in words])
                right += [span in truth for span in spans]
            else:  # a word has the type of the span in which it begins
                tags = {start: tag for start, _, tag in words}
                right += [tags.get(start) == tag for start, _, tag in spans]
            counted += [weights[row]] * len(spans)
        if not sum(counted) > 0:
            return 0.0
        return calibration_error(np.array(sure), np.array(right), np.array(counted, np.float64))

    def _spans(self, predictions: Arrays) -> Iterator[list[Span]]:
        """Each row's predicted entities: (start, end, type)."""
        most = predictions["starts"].shape[1]
        for row, counted in enumerate(predictions["count"]):
            count = min(int(counted), most)
            yield [
                (int(start), int(end), kind.decode() if isinstance(kind, bytes) else kind)
                for start, end, kind in zip(
                    predictions["starts"][row, :count],
                    predictions["ends"][row, :count],
                    predictions["types"][row, :count],
                )
            ]

    def _sequences(self, predictions: Arrays, targets: Arrays) -> tuple[list[list[str]], list[list[str]]]:
        """The right and the predicted tags of each row's words. A word has the type of the span in which it
        begins.
        """
        truth, predicted = [], []
        for words, spans in zip(targets["words"], self._spans(predictions)):
            truth.append([tag for _, _, tag in words])
            predicted.append(self.task.scheme.word_tags([(start, end) for start, end, _ in words], spans))
        return truth, predicted


def _as_predictions(rows: Sequence[Sequence[Span]]) -> dict[str, np.ndarray]:
    """Entities of rows in the form of :meth:`Tagging.predictions`, without scores."""
    most = max((len(row) for row in rows), default=0)
    predictions = {
        "types": np.full((len(rows), most), "", object),
        "starts": np.zeros((len(rows), most), np.int32),
        "ends": np.zeros((len(rows), most), np.int32),
    }
    for number, row in enumerate(rows):
        for place, (start, end, kind) in enumerate(row):
            for name, value in (("types", kind), ("starts", start), ("ends", end)):
                predictions[name][number, place] = value
    return {**predictions, "count": np.array([len(row) for row in rows], np.int32)}
