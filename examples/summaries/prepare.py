"""Texts with summaries (columns source, target): train.csv and test.csv, papers/train.csv and
papers/test.csv.

- train.csv, test.csv: articles of the BBC with their first sentence (XSum). A thousand are packaged, test
  rows of XSum; a fifth of them, by hash, is the test here.
- papers: the abstract of a paper, then an aspect in a line of its own (challenge, approach or outcome),
  and the sentence that sums it up. The test is that of ACLSum; its validation rows are trained on.

    python -m examples.summaries.prepare FOLDER
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from examples.packaged import paper_summaries, xsum
from examples.preparing import command, write_splits
from examples.splits import Row, split

_AROUND_MARK = re.compile(r" (?=[.,;:!?)\]%’'])|(?<=[(\[]) ")


def news() -> tuple[list[Row], list[Row]]:
    """(train, test) of XSum's rows.

    Raises:
        UserError: the texts cannot be fetched.
    """
    found = (json.loads(line) for line in xsum().read_text("utf-8").split("\n") if line.strip())
    rows = (Row(" ".join(one["document"].split()), " ".join(one["summary"].split())) for one in found)
    return split(row for row in rows if row.text)  # of one, nothing is left but its summary


def papers() -> tuple[list[Row], list[Row]]:
    """(train, test) of ACLSum's rows, three a paper.

    Raises:
        UserError: the texts cannot be fetched.
    """
    folder = paper_summaries()
    parts = ([folder / "train.jsonl", folder / "val.jsonl"], [folder / "test.jsonl"])
    train, test = (list(_aspects(files)) for files in parts)
    return train, test


def _aspects(files: Iterable[Path]) -> Iterator[Row]:
    for path in files:
        for line in path.read_text("utf-8").split("\n"):
            if line.strip():
                paper = json.loads(line)
                abstract = _AROUND_MARK.sub("", " ".join(paper["sentences"]["abstract"]))
                for aspect, summary in paper["summary"].items():
                    yield Row(f"{abstract}\n{aspect}", summary)


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write the files into ``folder`` unless they are there.

    Returns:
        The paths of train.csv and test.csv.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    columns = {"source": "text", "target": "label"}
    write_splits(Path(folder, "papers"), columns, papers)
    return write_splits(folder, columns, news)


if __name__ == "__main__":
    command("examples.summaries.prepare", prepare)
