"""Four made-up tasks of writing, each as train.csv and test.csv, and a small BERT of random weights.

    copy      r t a k t           ->  r t a k t
    reverse   r t a k t           ->  t k a t r
    dates     the 3rd of May 1987 ->  1987-05-03
    sums      47 + 385            ->  432

The rows of a task are drawn at random, always the same ones. No source of a test row is trained on: of
``dates`` no date, of ``sums`` no pair of numbers, in whatever order.

    python -m examples.made_up_tasks.prepare FOLDER
"""

from __future__ import annotations

import datetime
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from examples.preparing import command, write_splits
from examples.random_bert import random_checkpoint
from examples.splits import TEST_SHARE, digest
from tfpipeline.checkpoints import write as write_checkpoint
from tfpipeline.text import TokenizerOptions

TRAINING_ROWS, TEST_ROWS = 20_000, 1_000
SEED = 0
SYMBOLS = 3, 10  # the least and the most letters of a source of copy and reverse
FIRST_DAY, LAST_DAY = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
DIGITS = 3  # the most digits of a number to add

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_ENDINGS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


@dataclass(frozen=True)
class Row:
    """A source and what is to be written.

    Attributes:
        source: the source.
        target: the target.
        key: rows of equal keys are the same question.
        testable: whether it may be a test row.
    """

    source: str
    target: str
    key: object
    testable: bool = True


def copied(chance: random.Random) -> Row:
    """Letters, to be written once more."""
    letters = " ".join(chance.choices(string.ascii_lowercase, k=chance.randint(*SYMBOLS)))
    return Row(letters, letters, letters)


def reversed_(chance: random.Random) -> Row:
    """Letters, to be written from the last to the first."""
    letters = " ".join(chance.choices(string.ascii_lowercase, k=chance.randint(*SYMBOLS)))
    return Row(letters, letters[::-1], letters)


def date(chance: random.Random) -> Row:
    """A date in one of six styles, to be written as ISO 8601 does."""
    day = FIRST_DAY + datetime.timedelta(chance.randint(0, (LAST_DAY - FIRST_DAY).days))
    month, ending = _MONTHS[day.month - 1], _ENDINGS.get(day.day, "th")
    styles = [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"the {day.day}{ending} of {month} {day.year}",
        f"{day.day} {month[:3]} {day.year}",
        f"{day.day}.{day.month}.{day.year}",
        f"{day.month}/{day.day}/{day.year}",
    ]
    return Row(chance.choice(styles), day.isoformat(), day)


def sum_(chance: random.Random) -> Row:
    """Two numbers of one to three digits, to be added.

    There are so few pairs of small numbers that a test of 1,000 pairs would have all of them. A fifth of all
    pairs, by hash, may be tested.
    """
    one, two = (chance.randrange(10 ** chance.randint(1, DIGITS)) for _ in range(2))
    tested = int(digest(f"{min(one, two)} {max(one, two)}")[:8], 16) % TEST_SHARE == 0
    return Row(f"{one} + {two}", str(one + two), frozenset((one, two)), tested)


TASKS: dict[str, Callable[[random.Random], Row]] = {
    "copy": copied,
    "reverse": reversed_,
    "dates": date,
    "sums": sum_,
}


def rows(task: str) -> tuple[list[Row], list[Row]]:
    """(train, test)."""
    chance = random.Random(f"{SEED} {task}")

    def drawn() -> Iterator[Row]:
        while True:
            yield TASKS[task](chance)

    test, known = [], set[object]()
    for row in drawn():
        if row.testable and row.key not in known:
            known.add(row.key)
            test.append(row)
        if len(test) == TEST_ROWS:
            break
    return list(islice((row for row in drawn() if row.key not in known), TRAINING_ROWS)), test


def vocabulary(options: TokenizerOptions) -> tuple[str, ...]:
    """The special tokens, the letters and digits, also within words, and the words and marks of dates."""
    characters = string.ascii_lowercase + string.digits
    months = [name.lower() for month in _MONTHS for name in (month, month[:3])]
    words = dict.fromkeys(["the", "of", *months])
    endings = [f"##{ending}" for ending in dict.fromkeys([*_ENDINGS.values(), "th"])]
    inside = [f"##{one}" for one in characters]
    return (*options.all_special_tokens, *"+-./,", *characters, *inside, *endings, *words)


def prepare(folder: str | Path) -> tuple[Path, ...]:
    """Write ``TASK/train.csv`` and ``TASK/test.csv`` (columns source, target) of each task, and
    ``checkpoint``, into ``folder`` unless they are there.

    Returns:
        The paths of the two files of ``reverse``, which run.yaml names.
    Raises:
        UserError: the folder cannot be written.
    """
    columns = {"source": "source", "target": "target"}
    made = {task: write_splits(Path(folder, task), columns, partial(rows, task)) for task in TASKS}
    if not Path(folder, "checkpoint").is_dir():
        options = TokenizerOptions()
        model = random_checkpoint(vocabulary(options), options, heads=4, looks_around=True)
        write_checkpoint(model, Path(folder, "checkpoint"))
    return made["reverse"]


if __name__ == "__main__":
    command("examples.made_up_tasks.prepare", prepare)
