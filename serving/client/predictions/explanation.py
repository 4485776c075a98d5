"""What each word of a text contributes to a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfpipeline.serving.client.predictions.base import (
    STRINGS,
    Output,
    Prediction,
    contradiction,
    read_slots,
    same_width,
    text_of,
)

_TEXTS = ("text", "text_pair")


@dataclass(frozen=True)
class WordScore:
    """A word of a text with its share of a prediction.

    Attributes:
        word: the word as it stands in the text.
        start, end: its code points in the caller's string: ``text[start:end]``.
        source: the text that it stands in, ``text`` or ``text_pair``.
        score: what it adds to the explained number; negative if it speaks against the label.
    """

    word: str
    start: int
    end: int
    source: str
    score: float


@dataclass(frozen=True)
class Explanation(Prediction):
    """What each word of a text contributes to a prediction; see docs/explanations.md.

    Attributes:
        label: what is explained: the label; of entities ``TYPE: text``; of a question the answer; "" if the
            text has nothing of what was asked for.
        value: the explained number (a label's logit, a regression's value) for the whole text.
        baseline: the same for the text with all its words blanked.
        gap: the sum of the scores less ``value - baseline``: the error of the explanation.
        words: in text order, those of ``text`` first; words that the model does not read are left out.
    """

    label: str
    value: float
    baseline: float
    gap: float
    words: list[WordScore]

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "label": Output(1, STRINGS),
        "value": Output(1, "f"),
        "baseline": Output(1, "f"),
        "words": Output(2, STRINGS),
        "starts": Output(2, "i"),
        "ends": Output(2, "i"),
        "text_numbers": Output(2, "i"),
        "scores": Output(2, "f"),
        "count": Output(1, "i"),
    }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[Explanation]:
        slots = same_width(arrays, "words", "starts", "ends", "text_numbers", "scores")
        width, counts = slots["words"].shape[1], arrays["count"]
        for row in np.flatnonzero((counts < 0) | (counts > width)).tolist():
            raise contradiction(row, f"count {counts[row]}, room for {width} words")
        filled = np.arange(width) < counts[:, np.newaxis]
        for row, slot in np.argwhere(filled & ~np.isin(slots["text_numbers"], (0, 1))).tolist():
            raise contradiction(row, f"word {slot} is of text {slots['text_numbers'][row, slot]}")
        words = read_slots(slots, filled, _word)
        labels = text_of(arrays["label"])
        explanations = []
        for row, label in enumerate(labels):
            value, baseline = float(arrays["value"][row]), float(arrays["baseline"][row])
            gap = sum(word.score for word in words[row]) - (value - baseline)
            explanations.append(cls(label, value, baseline, gap, words[row]))
        return explanations


def _word(word: str, start: int, end: int, text_number: int, score: float) -> WordScore:
    return WordScore(word, start, end, _TEXTS[text_number], score)
