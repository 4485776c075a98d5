"""A run of the task similarity with an index, exported with it; made once for all tests of the session."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests import tiny
from tests.shared import Shared
from tests.tasks import kit
from tfpipeline.export import export_run
from tfpipeline.index.building import build
from tfpipeline.index.corpus import Columns
from tfpipeline.index.embedder import ModelEmbedder
from tfpipeline.training import Run

KEPT = ("title", "web url", "web_url", "标题")  # TensorFlow's names of outputs are narrower
MOST = 7
ROWS = 40


@dataclass
class Searchable:
    """A run, an index of its vectors, and the exported version that searches in it."""

    run: Run
    index: Path
    version: Path
    corpus: Path


def write_corpus(path: Path) -> Path:
    texts = [text for text, _ in tiny.texts(ROWS, seed=5)]
    texts[8] = texts[3]  # equal scores
    rows = [
        {"id": f"{number}", "answer": text, **{name: f"{name} {number}" for name in KEPT}}
        for number, text in enumerate(texts)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def searchable(shared: Shared) -> Searchable:
    run = kit.trained(shared, kit.sample(kit.SAMPLES / "similarity.yaml")).run

    def make(folder: Path) -> None:
        corpus = write_corpus(folder / "answers.jsonl")
        embedder = ModelEmbedder(run.path)
        index = build(embedder, [corpus], folder / "answers.index", Columns("answer", "id", KEPT))
        export_run(run.path, folder / "model", index=index, max_k=MOST, warmup=12)

    folder = shared.folder("searchable", [MOST, ROWS, KEPT, run.path.name], make)
    return Searchable(run, folder / "answers.index", folder / "model" / "1", folder / "answers.jsonl")
