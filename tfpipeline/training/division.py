"""Rows of data files become the rows that a model reads, for a task that divides them (:meth:`Task.divide`).

The rows of a run are those that the model reads. So they are divided once: when a run directory is laid out,
and when other rows are scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tfpipeline.console import plural, progress, say
from tfpipeline.data import Example, Rows
from tfpipeline.data.examples import Spool
from tfpipeline.errors import UserError
from tfpipeline.tasks import RowTokens, Task
from tfpipeline.text import Tokenizer, Truncation

TEXTS_OF = {"train": "training"}  # what the texts of a split are called


def divide(
    task: Task,
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    truncation: Truncation,
    what: str,
    folder: Path | None = None,
) -> Rows:
    """Divide rows as a task says, and report what became of them.

    Args:
        task: a task that divides.
        examples: the rows of a data file.
        tokenizer: the run's tokenizer.
        truncation: the run's; it has the length of a row.
        what: what the rows are called, such as "training texts".
        folder: the folder for the new rows, if there are many; see :class:`Spool`.
    Raises:
        UserError: no row is left.
    """
    tokens, spool, count = RowTokens(tokenizer, truncation), Spool(folder), 0
    with progress(f"dividing {what}", len(examples), note="compiling the tokenizer") as bar:

        def counted() -> Iterator[Example]:
            for example in examples:
                yield example
                bar.advance(1)

        for example in task.divide(counted(), tokens):
            spool.append(example)
            count += 1
    left_out = [
        f"{number} {plural(number, 'text', 'texts')} {why}"
        + (f" ({tokens.left_out[why]} tokens)" if tokens.left_out[why] else "")
        for why, number in tokens.texts_left_out.items()
    ]
    if not count:
        because = f": {' and '.join(left_out)}" if left_out else ""
        raise UserError(
            f"no row is left of the {len(examples)} {what}{because}; check the column of the texts, data.text"
        )
    rest = f"; {' and '.join(left_out)} left out" if left_out else ""
    say(f"{len(examples)} {what} make {count} {plural(count, 'row', 'rows')}{rest}")
    return spool.rows()
