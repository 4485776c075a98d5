"""The report of an evaluation: as text, as JSON, as Markdown with plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfpipeline.files import atomic_file, write_text


@dataclass(frozen=True)
class Entry:
    """One model's scores.

    Attributes:
        name: whose ("before fine-tuning", "after fine-tuning", the baseline's name).
        scores: metric -> value.
        table: the same for a reader, class by class.
    """

    name: str
    scores: Mapping[str, float]
    table: str


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        data: the rows' name (a split of the run, or a file).
        rows: how many.
        metric: the metric that picked the checkpoint; the headline.
        entries: one for each model compared, the trained one last.
        mistakes: (text, expected, answered) of the trained model, worst first.
        figures: name -> matplotlib figure.
        notes: sentences about the rows, such as how many of them are cut.
    """

    data: str
    rows: int
    metric: str
    entries: list[Entry]
    mistakes: list[tuple[str, str, str]] = field(default_factory=list)
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For a terminal: each model's table, the notes, then the headline."""
        parts = [f"{entry.name} ({self.data}, {self.rows} rows)\n\n{entry.table}" for entry in self.entries]
        width = max(len(entry.name) for entry in self.entries)
        # A baseline has no loss, and rows may lack what a metric is of.
        values = [f"{e.scores[self.metric]:.4f}" if self.metric in e.scores else "-" for e in self.entries]
        headline = [f"{entry.name:<{width}}  {value}" for entry, value in zip(self.entries, values)]
        return "\n".join(
            [*parts, *(f"{note}\n" for note in self.notes), f"{self.metric} on {self.data}", *headline]
        )

    def save(self, directory: Path, stem: str = "report") -> None:
        """Write ``STEM.json``, ``STEM.md`` and the plots into a directory, each file whole or not at all."""
        scores = {entry.name: dict(entry.scores) for entry in self.entries}
        document = {
            "data": self.data,
            "rows": self.rows,
            "metric": self.metric,
            "scores": scores,
            "notes": self.notes,
        }
        write_text(directory / f"{stem}.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        for name, figure in self.figures.items():
            with atomic_file(directory / f"{stem}-{name}.png") as temporary:
                figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
        write_text(directory / f"{stem}.md", self.markdown(stem))

    def markdown(self, stem: str = "report") -> str:
        """For a reader of the run: scores side by side, tables, plots, the worst mistakes."""
        names = [entry.name for entry in self.entries]
        metrics = list(self.entries[-1].scores)
        lines = [
            f"# {self.data}, {self.rows} rows",
            "",
            "| | " + " | ".join(names) + " |",
            "|---" * (len(names) + 1) + "|",
        ]
        for metric in metrics:
            cells = [f"{e.scores[metric]:.4f}" if metric in e.scores else "" for e in self.entries]
            lines.append(f"| {metric} | " + " | ".join(cells) + " |")
        lines += [f"\n{note}" for note in self.notes]
        for entry in self.entries:
            lines += ["", f"## {entry.name}", "", "```text", entry.table.rstrip(), "```"]
        lines += [f"\n![{name}]({stem}-{name}.png)" for name in self.figures]
        if self.mistakes:
            lines += [
                "",
                "## Mistakes, the worst first",
                "",
                "| expected | answered | text |",
                "|---|---|---|",
            ]
            lines += [
                f"| {_cell(want)} | {_cell(got)} | {_cell(text)} |" for text, want, got in self.mistakes
            ]
        return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    folded = " ".join(text.split())
    return (folded if len(folded) <= 200 else folded[:199] + "…").replace("|", "\\|")
