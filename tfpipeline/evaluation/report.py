"""The report of an evaluation: as text, JSON, Markdown with plots, and HTML in a notebook."""

from __future__ import annotations

import contextlib
import functools
import html
import json
import logging
import urllib.parse
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfpipeline.console import say
from tfpipeline.evaluation.escaping import fenced, markdown, one_line, shortened, visible
from tfpipeline.files import atomic_file, write_text
from tfpipeline.tasks.scorer import Mistake

_MISTAKES = ["expected", "predicted", "text", "row"]
_SHOWN_METRICS = 30  # in a notebook; the scores of a thousand labels are in `entries`


@dataclass(frozen=True)
class Entry:
    """One model's scores.

    Attributes:
        name: the name of the model ("before fine-tuning", "after fine-tuning", or the baseline's name).
        scores: metric -> value.
        table: the scores as a table for readers, class by class.
        intervals: metric -> its 95 % confidence interval, for metrics that have one.
    """

    name: str
    scores: Mapping[str, float]
    table: str
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Report:
    """The result of an evaluation.

    Attributes:
        data: the name of the rows (a split of the run, or a file).
        rows: the number of rows.
        metric: the metric that picked the checkpoint, which is the headline.
        entries: one entry for each compared model, the trained model last.
        mistakes: those of the trained model, worst first.
        draw: makes the plots: name -> matplotlib figure; see :attr:`figures`.
        notes: sentences about the rows, such as how many of them are truncated.
        weights: the weights of the run that were scored last, as :meth:`TrainedModel.weights_id` names them.
        adaptation: what parameter-efficient fine-tuning chose in training, as columns of a table: column ->
            row -> number.
        path: the page that :func:`~tfpipeline.evaluation.evaluate` saved; None if none was written.
    """

    data: str
    rows: int
    metric: str
    entries: list[Entry]
    mistakes: list[Mistake] = field(default_factory=list)
    draw: Callable[[], Mapping[str, Any]] = dict
    notes: list[str] = field(default_factory=list)
    weights: str | None = None
    adaptation: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    path: Path | None = None

    @functools.cached_property
    def figures(self) -> Mapping[str, Any]:
        """Name -> matplotlib figure, drawn on first use."""
        return self.draw()

    def __repr__(self) -> str:
        scores = ", ".join(f"{name}: {value}" for name, value in self._headline())
        return f"<Report on {self.data}, {self.rows} rows, {self.metric}: {scores}>"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """For a notebook: scores side by side, notes, and the worst mistakes."""
        metrics = list(self.entries[-1].scores)
        names = ["", *(entry.name for entry in self.entries)]
        rows = [[metric, *self._cells(metric)] for metric in metrics[:_SHOWN_METRICS]]
        left = len(metrics) - len(rows)
        parts = [_paragraph(f"{self.data}, {self.rows} rows"), _html_table(names, rows)]
        parts += [_paragraph(f"and {left} more metrics: report.entries[-1].scores")] if left else []
        parts += [_paragraph(note) for note in self.notes]
        if self.mistakes:
            parts += [_paragraph("Mistakes, the worst first"), _html_table(_MISTAKES, self._wrong())]
        return "".join(parts)

    def text(self) -> str:
        """For a terminal: each model's table, the notes, then the headline."""
        parts = [f"{entry.name} ({self.data}, {self.rows} rows)\n\n{entry.table}" for entry in self.entries]
        width = max(len(entry.name) for entry in self.entries)
        headline = [f"{name:<{width}}  {value}" for name, value in self._headline()]
        return visible(
            "\n".join(
                [*parts, *(f"{note}\n" for note in self.notes), f"{self.metric} on {self.data}", *headline]
            )
        )

    def save(self, directory: Path, stem: str = "report") -> Path:
        """Write ``STEM.json`` and ``STEM.md`` to a directory, then the plots; each file appears completely or
        not at all.

        If a plot cannot be drawn or written, a warning says so.

        Returns:
            The path of ``STEM.md``.
        Raises:
            UserError: the scores cannot be written.
        """
        scores = {visible(entry.name): dict(entry.scores) for entry in self.entries}
        document = {
            "data": visible(self.data),
            "rows": self.rows,
            "metric": self.metric,
            "weights": self.weights,
            "scores": scores,
            "intervals": {
                visible(entry.name): {name: list(ends) for name, ends in entry.intervals.items()}
                for entry in self.entries
                if entry.intervals
            },
            "adaptation": {name: dict(column) for name, column in self.adaptation.items()},
            "notes": [visible(note) for note in self.notes],
            "mistakes": [
                {name: visible(value) for name, value in each._asdict().items()} for each in self.mistakes
            ],
        }
        page = directory / f"{stem}.md"
        write_text(directory / f"{stem}.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        write_text(page, self._markdown({}))
        plots = self._save_plots(directory, stem)
        if plots:
            write_text(page, self._markdown(plots))
        return page

    def _save_plots(self, directory: Path, stem: str) -> dict[str, str]:
        """The plots' files, each with what is printed below it."""
        figures: Mapping[str, Any] = {}
        saved = {}
        with _costs_a_warning("the plots"):
            figures = self.figures
        for name, figure in figures.items():
            file = f"{stem}-{name}.png"
            with _costs_a_warning(f"the plot {name}"):
                with atomic_file(directory / file) as temporary:
                    figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
                saved[file] = str(figure.get_label())
        return saved

    def markdown(self, stem: str = "report") -> str:
        """For a reader of the run: scores side by side, tables, plots, the worst mistakes."""
        return self._markdown(
            {f"{stem}-{name}.png": figure.get_label() for name, figure in self.figures.items()}
        )

    def _markdown(self, plots: Mapping[str, str]) -> str:
        lines = [
            f"# {markdown(self.data)}, {self.rows} rows",
            "",
            *_table(
                ["", *(entry.name for entry in self.entries)],
                [[metric, *self._cells(metric)] for metric in self.entries[-1].scores],
            ),
        ]
        lines += [f"\n{markdown(note)}" for note in self.notes]
        for entry in self.entries:
            lines += ["", f"## {markdown(entry.name)}", "", fenced(entry.table)]
        for file, below in plots.items():
            lines.append(f"\n![{markdown(Path(file).stem)}]({urllib.parse.quote(file)})")
            lines += [f"\n{markdown(below)}"] if below else []
        if self.adaptation:
            rows = dict.fromkeys(row for column in self.adaptation.values() for row in column)
            cells = [[row, *(str(c.get(row, "")) for c in self.adaptation.values())] for row in rows]
            lines += ["", "## Parameter-efficient fine-tuning", "", *_table(["", *self.adaptation], cells)]
        if self.mistakes:
            lines += ["", "## Mistakes, the worst first", "", *_table(_MISTAKES, self._wrong())]
        return "\n".join(lines) + "\n"

    def _headline(self) -> list[tuple[str, str]]:
        # A baseline has no loss, and rows may lack what a metric needs.
        return [(entry.name, value or "-") for entry, value in zip(self.entries, self._cells(self.metric))]

    def _wrong(self) -> list[list[str]]:
        return [
            [shortened(each.expected), shortened(each.predicted), shortened(each.text), one_line(each.source)]
            for each in self.mistakes
        ]

    def _cells(self, metric: str) -> list[str]:
        """A metric of each model; empty for models without it."""
        return [f"{e.scores[metric]:.4f}" if metric in e.scores else "" for e in self.entries]


@contextlib.contextmanager
def _costs_a_warning(what: str) -> Iterator[None]:
    """Report a problem with a plot in one line. It does not affect the scores."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    reasons: list[object] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        reasons = [warning.message for warning in caught if issubclass(warning.category, UserWarning)]
    except Exception as error:  # noqa: BLE001 - a task draws what it likes with what is installed
        reasons = [f"not drawn: {str(error) or type(error).__name__}"]
    finally:
        logger.setLevel(level)
    if reasons:
        say(f"warning: {what} of the report: {one_line(str(reasons[0]))}")


def _table(names: list[str], rows: list[list[str]]) -> list[str]:
    lines = [names, *rows]
    written = [f"| {' | '.join(map(markdown, line))} |" for line in lines]
    return [written[0], "|---" * len(names) + "|", *written[1:]]


def _html_table(names: list[str], rows: list[list[str]]) -> str:
    lines = [("th", names), *(("td", row) for row in rows)]
    written = (
        "".join(f"<{tag}>{html.escape(one_line(text))}</{tag}>" for text in line) for tag, line in lines
    )
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in written)}</table>"


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(one_line(text))}</p>"
