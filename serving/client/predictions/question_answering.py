"""The part of a text that answers a question, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

from tfpipeline.serving.client.predictions.base import (
    ABSTENTION,
    STRINGS,
    Output,
    Prediction,
    Span,
    abstentions,
    contradiction,
    read_slots,
    same_width,
    text_of,
)


@dataclass(frozen=True)
class QuestionAnswering(Prediction):
    """The part of a text that answers a question, or none.

    Attributes:
        answer: that part; None if the model predicts that the text has no answer. So are start and end.
        start, end: its offsets, as those of :class:`Span`.
        score: the probability of the prediction, whether it is a span or "no answer".
        no_answer: the probability of "no answer" against the best span.
        threshold: "no answer" is predicted if ``no_answer`` exceeds it, or if there is no span at all.
        best: the best spans by descending score, even if "no answer" is predicted.
        abstained: whether the answer is too unsure to be given; None if the model was exported without
            ``--abstain``.
    """

    answer: Optional[str]
    start: Optional[int]
    end: Optional[int]
    score: float
    no_answer: float
    threshold: float
    best: list[Span]
    abstained: Optional[bool] = None

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "answer": Output(1, STRINGS),
        "start": Output(1, "i"),
        "end": Output(1, "i"),
        "score": Output(1, "f"),
        "no_answer": Output(1, "f"),
        "threshold": Output(1, "f"),
        "answers": Output(2, STRINGS),
        "starts": Output(2, "i"),
        "ends": Output(2, "i"),
        "scores": Output(2, "f"),
    }
    optional_specs = ABSTENTION

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[QuestionAnswering]:
        slots = same_width(arrays, "answers", "starts", "ends", "scores")
        best = read_slots(slots, slots["starts"] != slots["ends"], Span)
        names = ("start", "end", "score", "no_answer", "threshold")
        columns = (text_of(arrays["answer"]), *(arrays[name].tolist() for name in names), best)
        abstained = abstentions(arrays, len(best))
        predictions = []
        for row, (answer, start, end, score, no_answer, threshold, spans) in enumerate(zip(*columns)):
            none = start == end == -1
            if answer if none else not 0 <= start <= end:
                raise contradiction(row, f"answer {answer!r}, start {start}, end {end}")
            if none:
                answer = start = end = None
            predictions.append(cls(answer, start, end, score, no_answer, threshold, spans, abstained[row]))
        return predictions
