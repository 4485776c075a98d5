"""The model card of a version: a page for people, and the same facts for programs.

``assets.extra/model_card.md`` has the format of Hugging Face's model cards: YAML between two lines of
``---``, which ``huggingface_hub.ModelCard`` reads, then Markdown. ``model_card.json`` has all facts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tfpipeline.console import say
from tfpipeline.errors import UserError, visible
from tfpipeline.export import card as facts_file
from tfpipeline.metrics.intervals import wilson
from tfpipeline.training.calibration import calibrated_title
from tfpipeline.training.run import environment
from tfpipeline.training.sources import SOURCES_FILE
from tfpipeline.training.trained_model import TrainedModel

CARD = facts_file.FOLDER / "model_card.md"
_PIPELINE_TAGS = {
    "classification": "text-classification",
    "multilabel": "text-classification",
    "pair": "text-classification",
    "regression": "text-classification",
    "multitask": "text-classification",
    "tagging": "token-classification",
    "question_answering": "question-answering",
    "generation": "text-generation",
}
_SHARES_OF_ROWS = frozenset({"accuracy", "exact_match", "subset_accuracy"})
_SHOWN_LABELS = 100
_FOLLOWS = ("metrics", "labels", "data", "text", "environment")  # have their own sections


def describe(
    run: TrainedModel,
    name: str,
    weights: str,
    licence: str | None,
    *,
    calibrated: bool = False,
    report: Path | None = None,
) -> dict[str, Any]:
    """The facts of a card about a run, in JSON form.

    Args:
        run: the exported run or checkpoint.
        name: the model's name.
        weights: "best" or "last".
        licence: an SPDX identifier or another name; None if none was given.
        calibrated: whether the exported model is calibrated; its metrics are the report's calibrated ones, if
            it has some.
        report: the ``report.json`` with the metrics; by default the run's own, if it has one.
    """
    if report is None and run.reports is not None:
        report = run.reports / "report.json"
    settings = run.config
    return {
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.name,
        "weights": weights,
        "licence": licence,
        "task": settings.task.name,
        "checkpoint": settings.checkpoint,
        "labels": run.task.fitted,
        **run.task.card(),
        "metrics": {} if report is None else _metrics(run, weights, calibrated, report),
        "data": _data(run),
        "text": {
            **settings.text.model_dump(mode="json"),
            "encoding": settings.task.encoding,
            "vocabulary": len(run.vocabulary),
        },
        "limits": _limits(run),
        "environment": environment(),
    }


def write(version: Path, facts: Mapping[str, Any]) -> None:
    """Write both files to a version's directory."""
    facts_file.write(version, dict(facts))
    (version / CARD).write_text(render(facts), "utf-8")


def render(facts: Mapping[str, Any]) -> str:
    """The card as Markdown with Hugging Face's metadata.

    Args:
        facts: from :func:`describe`, with the export's additions; each further mapping becomes a section.
    """
    front = yaml.safe_dump(_metadata(facts), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---\n\n# {_plain(facts.get('name', 'model'))}\n"]
    summary = {
        name: value for name, value in facts.items() if name != "name" and not isinstance(value, (dict, list))
    }
    summary["licence"] = facts.get("licence") or "not stated"
    parts.append(_table(["", ""], [[name, value] for name, value in summary.items()]))
    parts += [
        _section(name, value)
        for name, value in facts.items()
        if name not in _FOLLOWS and isinstance(value, (dict, list)) and value
    ]
    parts.append(_metrics_section(facts.get("metrics", {})))
    parts += [_section(name, facts[name]) for name in _FOLLOWS[1:] if facts.get(name)]
    return "\n".join(parts)


def _metrics(run: TrainedModel, weights: str, calibrated: bool, path: Path) -> dict[str, Any]:
    """The exported weights' scores in a report; empty if they were not evaluated."""
    report = _json(path)
    title = run.stages[-1][1]
    if report is not None and calibrated and calibrated_title(title) in report.get("scores", {}):
        title = calibrated_title(title)
    if report is None or title not in report.get("scores", {}):
        return {}
    scored, exported = report.get("weights"), run.weights_id(weights)
    if scored != exported and (weights != "best" or scored is not None):
        say(
            f"warning: {path} has the scores of other weights ({scored or 'best'}) than the exported ones "
            f"({exported}), so the model card has no metrics"
        )
        return {}
    values, rows = report["scores"][title], report["rows"]
    intervals = {
        name: [round(end, 4) for end in wilson(value, rows)]
        for name, value in values.items()
        if name.rpartition("/")[2] in _SHARES_OF_ROWS and rows and 0 <= value <= 1
    }
    known = {
        name: [round(end, 4) for end in ends]
        for name, ends in report.get("intervals", {}).get(title, {}).items()
    }
    return {
        "data": report["data"],
        "model": title,
        "rows": rows,
        "metric": report["metric"],
        "values": values,
        "intervals": {**intervals, **known},
    }


def _data(run: TrainedModel) -> dict[str, Any]:
    """The columns of the texts, the number of rows in each split, and the sha256 of the files that the run
    was made from.
    """
    splits = ("train", "validation", "test")
    data: dict[str, Any] = {
        "columns": run.config.columns,
        "rows": {split: len(run.examples(split)) for split in splits if run.has_split(split)},
    }
    sources = _json(run.path / SOURCES_FILE) if run.path.is_dir() else None
    if sources:
        data["sha256"] = {
            field: {name: file["sha256"] for name, file in source["files"].items()}
            for field, source in sources.items()
        }
    return data


def _limits(run: TrainedModel) -> list[str]:
    """Sentences about the model's limitations."""
    text = run.config.text
    return [
        f"Texts of more than {text.max_length} tokens (including special ones) are handled according to "
        f"text.long: {text.long}.",
        "Words that the vocabulary does not cover become [UNK].",
        "It was trained and scored on the data named below; other kinds of text may be predicted worse.",
    ]


def _metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML of a model card: https://huggingface.co/docs/hub/model-cards."""
    task = str(facts.get("task", ""))
    tag = _PIPELINE_TAGS.get(task)
    metadata: dict[str, Any] = {}
    if facts.get("licence"):
        metadata["license"] = facts["licence"]
    metadata["library_name"] = "tfpipeline"
    if tag:
        metadata["pipeline_tag"] = tag
    metadata["tags"] = ["tensorflow", "saved-model", "tensorflow-serving"]
    metrics = facts.get("metrics", {})
    if metrics:
        metadata["metrics"] = [metrics["metric"]]
        results = [{"type": name, "name": name, "value": value} for name, value in metrics["values"].items()]
        metadata["model-index"] = [
            {
                "name": facts.get("name", "model"),
                "results": [
                    {
                        "task": {"type": tag or task},
                        "dataset": {"type": "private", "name": metrics["data"]},
                        "metrics": [line for line in results if math.isfinite(line["value"])],
                    }
                ],
            }
        ]
    return metadata


def _metrics_section(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return (
            "## Metrics\n\nNot measured: `tfpipeline evaluate RUN` before the export writes a report; "
            "its metrics are then shown here.\n"
        )
    intervals = metrics["intervals"]
    rows = [
        [name, f"{value:.4f}", " to ".join(f"{end:.4f}" for end in intervals.get(name, []))]
        for name, value in metrics["values"].items()
    ]
    scored = ", ".join([metrics["data"], f"{metrics['rows']} rows", *filter(None, [metrics.get("model")])])
    title = f"## Metrics\n\n{_plain(scored)}\n"
    return f"{title}\n{_table(['', 'value', '95 % interval'], rows)}"


def _section(name: str, value: Any) -> str:
    title = f"## {name[:1].upper()}{name[1:].replace('_', ' ')}\n"
    if isinstance(value, Mapping):
        return f"{title}\n{_table(['', ''], _flat(value))}"
    shown = value[:_SHOWN_LABELS]
    lines = [f"- {_plain(item if isinstance(item, str) else json.dumps(item))}" for item in shown]
    lines += [f"- and {len(value) - len(shown)} more"] if len(value) > len(shown) else []
    return "\n".join([title, *lines, ""])


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[list[Any]]:
    """A nested mapping as rows: dotted name, value."""
    rows: list[list[Any]] = []
    for name, item in value.items():
        inside = isinstance(item, Mapping)
        rows += _flat(item, f"{prefix}{name}.") if inside else [[f"{prefix}{name}", item]]
    return rows


def _table(names: list[str], rows: list[list[Any]]) -> str:
    lines = [names, *[[_plain(cell) for cell in row] for row in rows]]
    written = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([written[0], "|---" * len(names) + "|", *written[1:], ""])


def _plain(value: Any) -> str:
    """Text escaped for Markdown and HTML, on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(f"&#{ord(letter)};" if letter in "<>&|*_`[]\\#" else letter for letter in visible(text))


def _json(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; write it again: tfpipeline evaluate RUN") from error
    return document
