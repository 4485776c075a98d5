from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import tiny
from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.training.rows import read_more_rows, read_new_rows, read_rows
from tfpipeline.training.run_config import RunConfig


def settings(folder, *overrides):
    return config.load(tiny.write_run_file(folder, train=60), RunConfig, list(overrides))


def test_unknown_labels_of_all_splits_are_named_at_once(tmp_path):
    run_config = settings(tmp_path)
    for name in ("validation", "test"):
        tiny.write_csv(
            tmp_path / f"{name}.csv", [("so good", "Positive"), ("bad", "negative"), ("x", "other")]
        )
    run_config = config.load(
        tmp_path / "run.yaml",
        RunConfig,
        [f"data.{name}={tmp_path}/{name}.csv" for name in ("validation", "test")],
    )
    with pytest.raises(UserError) as caught:
        read_rows(run_config)
    first, *lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert first == "4 rows cannot be used:"
    assert [line.split(", which")[0].strip() for line in lines] == [
        f'{name}.csv:{line}: unknown label "{label}"'
        for name in ("validation", "test")
        for line, label in ((2, "Positive"), (4, "other"))
    ]


def test_rows_are_read_early_where_a_run_can_begin(tmp_path):
    run_config = settings(tmp_path)
    rows = read_new_rows(run_config)
    assert rows.task.labels == tuple(sorted(tiny.LABELS))
    assert sum(map(len, rows.splits.values())) > 60
    missing = run_config.model_copy(update={"checkpoint": str(tmp_path / "none")})
    far = run_config.model_copy(update={"output": "gs://bucket/run"})
    assert read_new_rows(missing) is read_new_rows(far) is None
    (tmp_path / "run").mkdir()
    assert read_new_rows(run_config) is not None
    (tmp_path / "run" / "config.yaml").touch()
    assert read_new_rows(run_config) is None


def test_more_rows_of_a_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(config.dump(settings(tmp_path)))
    (run / "labels.txt").write_text("negative\nneutral\npositive\n")
    path = tmp_path / "more.csv"
    path.write_text("text;label\nso g\u00fct;positive\nbad;negative\n", "cp1252")
    rows = read_more_rows(run, path, {"encoding": "cp1252", "delimiter": ";"})
    assert [(row.text, row.label) for row in rows] == [("so g\u00fct", "positive"), ("bad", "negative")]
    path.write_text("text,label\n" + "a,good\n" * 12)
    with pytest.raises(
        UserError, match=r'^12 rows cannot be used, the first ten:\n.*more.csv:2: unknown label "good"'
    ):
        read_more_rows(run, path)
    assert read_more_rows(tmp_path, path) is None


BAD = "".join(f"text {row},{'' if row % 2 else 'a'}\n" for row in range(30))
CHECK = """
import sys
from tfpipeline import cli
sys.argv = ["tfpipeline", *sys.argv[1:]]
try:
    cli.main()
finally:
    assert not {"tensorflow", "keras"} & set(sys.modules)
"""


@pytest.mark.parametrize("command", [["train"], ["train", "--dry-run"], ["evaluate"]])
def test_bad_rows_are_named_before_tensorflow_is_loaded(tmp_path, command):
    settings(tmp_path)
    (tmp_path / "bad.csv").write_text(f"text,label\n{BAD}")
    arguments = [*command, str(tmp_path / "run.yaml"), "--set", f"data.train={tmp_path}/bad.csv"]
    if command == ["evaluate"]:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.yaml").write_text(config.dump(settings(tmp_path / "other")))
        (tmp_path / "run" / "labels.txt").write_text("a\nb\n")
        arguments = ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "bad.csv")]
    done = subprocess.run(
        [sys.executable, "-c", CHECK, *arguments], capture_output=True, text=True, check=False
    )
    first, *lines = done.stderr.replace(f"{tmp_path}/", "").splitlines()
    assert done.returncode == 2
    assert first == "error: 15 rows cannot be used, the first ten:"
    assert lines == [
        f"  bad.csv:{line}: the row has no label; write one or remove the row" for line in range(3, 23, 2)
    ]
    assert command == ["evaluate"] or not (tmp_path / "run").exists()


def test_contexts_of_questions_stay_together(tmp_path, capfd):
    """Of thirty questions about ten contexts none of those that are held out has a context that is trained on."""
    run_file = {
        "checkpoint": "none", "output": "none", "task": {"name": "question_answering"},
        "data": {"train": str(tmp_path / "x.json"), "split": {"validation": 0.2, "test": 0.2}},
    }  # fmt: skip
    answer = {"text": "good", "answer_start": 0}
    paragraphs = [
        {
            "context": f"good was the food of day {day}",
            "qas": [{"id": f"{day}-{n}", "question": f"how {n} ?", "answers": [answer]} for n in range(3)],
        }
        for day in range(10)
    ]
    (tmp_path / "x.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    (tmp_path / "run.yaml").write_text(json.dumps(run_file))
    splits = read_rows(config.load(tmp_path / "run.yaml", RunConfig)).splits
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 18, "validation": 6, "test": 6}
    assert sum(len({row.text_pair for row in rows}) for rows in splits.values()) == 10
    assert "warning" not in capfd.readouterr().err
    read_rows(config.load(tmp_path / "run.yaml", RunConfig, ["data.split.by=random"]))
    said = " ".join(capfd.readouterr().err.split())
    assert "6 test rows have the context of a training row, so test scores will be optimistic" in said
