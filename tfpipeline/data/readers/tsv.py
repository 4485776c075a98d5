"""Tab-separated values with a header, as registered with IANA: tabs and line ends are the only separators.

Quotes are ordinary characters, because most published TSV corpora have unbalanced ones. So a cell cannot hold
a tab or a line break; a file that quotes such cells should be saved as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfpipeline.data import tables
from tfpipeline.data.lines import read_lines
from tfpipeline.data.records import Reading, Record

_TOO_MANY = "a TSV cell can hold no tab, use CSV for texts that do"
_TOO_FEW = "add what is missing; an empty cell needs its tab, and texts with line breaks need CSV"


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """Yield the rows of a TSV file; see :mod:`tfpipeline.data.readers`. Empty lines are skipped."""
    delimiter = reading.file.delimiter or "\t"
    lines = enumerate(read_lines(path, reading.file.encoding), 1)
    rows = ((line, text.rstrip("\r\n").split(delimiter)) for line, text in lines)
    rows = ((line, cells) for line, cells in rows if cells != [""])
    yield from tables.records(path, rows, reading, too_many=_TOO_MANY, too_few=_TOO_FEW)
