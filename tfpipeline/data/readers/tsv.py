"""Tab-separated values with a header, as registered with IANA: a tab parts cells, a line end parts rows, nothing else.

Quotes are ordinary characters: most published TSV corpora hold unbalanced ones. So a cell holds no tab and no line
break; a file that quotes such cells is better saved as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tfpipeline.data.readers.csv import check_header
from tfpipeline.data.records import Record, read_lines
from tfpipeline.errors import UserError


def read(path: Path, required: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the rows of a TSV file; see :mod:`tfpipeline.data.readers`. Empty lines are skipped."""
    rows = ((line, text.rstrip("\r\n").split("\t")) for line, text in enumerate(read_lines(path), 1))
    rows = ((line, cells) for line, cells in rows if cells != [""])
    line, header = next(rows, (1, []))
    check_header(header, f"{path}:{line}", required)
    for line, cells in rows:
        if len(cells) != len(header):
            raise UserError(
                f"{path}:{line}: {len(cells)} cells where the header has {len(header)}; a TSV cell can hold no tab "
                "and no line break, use CSV for texts that do"
            )
        yield Record(dict(zip(header, cells)), str(path), line)
