"""Questions about personal finance, each with an answer, as train.csv and test.csv; and corpus.csv, all
answers, in which the right one is to be found.

Questions that people asked in a forum and in blogs (FiQA, Maia et al. 2018). 648 of them are packaged: a
fifth, by hash of the question, is the test; the corpus has the answers of all.

    python -m examples.matching_answers.prepare FOLDER
"""

from __future__ import annotations

import json
from pathlib import Path

from examples.matching_verses.prepare import write
from examples.packaged import finance_answers
from examples.preparing import command
from examples.splits import Row, split


def rows() -> list[Row]:
    """All questions, each with its answer as the second text; white space is folded.

    Raises:
        UserError: the texts cannot be fetched.
    """
    lines = finance_answers().read_text("utf-8").split("\n")
    found = (json.loads(line) for line in lines if line.strip())
    return [Row(" ".join(one["question"].split()), "", " ".join(one["answer"].split())) for one in found]


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.csv`` and ``test.csv`` (columns question, answer), ``all.csv``, both together, and
    ``corpus.csv`` (columns id, text) into ``folder`` unless they are all there.

    Returns:
        The paths of train.csv and test.csv.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    paths = [Path(folder, f"{name}.csv") for name in ("train", "test", "all", "corpus")]
    if not all(path.is_file() for path in paths):
        every = rows()
        for path, part in zip(paths, (*split(every), every)):
            write(path, ("question", "answer"), ((row.text, row.text_pair or "") for row in part))
        answers = dict.fromkeys(row.text_pair or "" for row in every)
        write(paths[-1], ("id", "text"), ((str(number), text) for number, text in enumerate(answers, 1)))
    return paths[0], paths[1]


if __name__ == "__main__":
    command("examples.matching_answers.prepare", prepare)
