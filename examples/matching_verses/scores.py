"""Pairs of verses with scores, made of the pairs that belong together: scores_train.csv and scores_test.csv.

No packaged set has similarities that people have judged. Here a verse of the King James Version has the score
1 with the same verse in Basic English, 0.5 with another verse of its chapter, and 0 with a verse of another
book. So the order of the scores is known, and the losses on scores (``cosent``, ``cosine``) have something to
learn.

    python -m examples.matching_verses.scores FOLDER
    tfpipeline train examples/matching_verses/scores.yaml
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from examples.matching_verses.prepare import Verse, prepare, write
from examples.preparing import command
from examples.splits import digest

SAME, NEAR, FAR = "1", "0.5", "0"


def scored(verses: Sequence[Verse]) -> Iterator[tuple[str, str, str]]:
    """(old, basic, score): three for each verse whose chapter has another one here. Which ones they are
    depends on nothing but the verses.
    """
    chapters: defaultdict[str, list[Verse]] = defaultdict(list)
    for verse in verses:
        chapters[verse.id[:-3]].append(verse)
    for verse in verses:
        near = [other for other in chapters[verse.id[:-3]] if other.id != verse.id]
        number = int(digest(verse.id)[:8], 16)
        far = next(
            other
            for step in range(len(verses))
            if (other := verses[(number + step) % len(verses)]).book != verse.book
        )
        if near:
            yield verse.old, verse.basic, SAME
            yield verse.old, near[number % len(near)].basic, NEAR
            yield verse.old, far.basic, FAR


def prepare_scores(folder: str | Path) -> tuple[Path, Path]:
    """Write ``scores_train.csv`` and ``scores_test.csv`` (columns old, basic, score), made of train.csv and
    test.csv, which are made first if they are not there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    made = []
    for source in prepare(folder):
        with source.open(encoding="utf-8", newline="") as file:
            verses = [Verse(row["id"], row["old"], row["basic"]) for row in csv.DictReader(file)]
        made.append(source.with_name(f"scores_{source.name}"))
        write(made[-1], ("old", "basic", "score"), scored(verses))
    return made[0], made[1]


if __name__ == "__main__":
    command("examples.matching_verses.scores", prepare_scores)
