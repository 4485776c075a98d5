"""Questions about passages: splits that no passage is on both sides of, and files in SQuAD's format (version
2.0).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from examples.preparing import write_parts as write_rows
from examples.splits import TEST_SHARE, digest, fold, unique

Answer = tuple[int, int]  # first code point in the passage, one past the last


@dataclass(frozen=True)
class Question:
    """A question about a passage.

    Attributes:
        question: the question.
        context: the passage.
        answers: each place in the passage that answers it; none where it doesn't.
    """

    question: str
    context: str
    answers: tuple[Answer, ...]

    @property
    def key(self) -> str:
        """What makes two rows the same."""
        return fold(f"{self.question} {self.context}")

    @property
    def label(self) -> str:
        """What two copies must agree on."""
        return str(self.answers)

    @property
    def order(self) -> tuple[str, str]:
        """As good as random, with the questions about one passage side by side."""
        return digest(fold(self.context)), digest(self.key)


def split_by_passage(questions: Iterable[Question]) -> tuple[list[Question], list[Question]]:
    """(train, test): copies and contradictions removed, then by hash of the passage; sorted by it."""
    train: list[Question] = []
    test: list[Question] = []
    for one in sorted(unique(questions), key=lambda one: one.order):
        (test if int(one.order[0][:8], 16) % TEST_SHARE == 0 else train).append(one)
    return train, test


def write_parts(
    folder: str | Path, rows: Callable[[], tuple[list[Question], list[Question]]]
) -> tuple[Path, Path]:
    """Write ``train.json`` and ``test.json`` into ``folder`` unless both are there; see
    :mod:`examples.preparing`.
    """
    return write_rows(folder, ".json", rows, write)


def write(file: IO[str], questions: Iterable[Question]) -> None:
    """One article of all passages; neighbours about one passage share it, and a question's id is its hash."""
    paragraphs = []
    for context, about in itertools.groupby(questions, lambda one: one.context):
        asked = []
        for one in about:
            answers = [{"text": context[start:end], "answer_start": start} for start, end in one.answers]
            asked.append(
                {
                    "id": digest(one.key)[:16],
                    "question": one.question,
                    "answers": answers,
                    "is_impossible": not answers,
                }
            )
        paragraphs.append({"context": context, "qas": asked})
    document = {"version": "v2.0", "data": [{"title": "", "paragraphs": paragraphs}]}
    json.dump(document, file, ensure_ascii=False, indent=1)
    file.write("\n")
