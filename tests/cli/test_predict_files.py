"""`predict` with data files: their columns, ids among them, come out beside the predictions."""

from __future__ import annotations

import csv
import io
import json

import openpyxl
import pyarrow.parquet
import pytest

from tfpipeline import config, predictors
from tfpipeline.errors import UserError
from tfpipeline.serving.client import predictions
from tfpipeline.training.run_config import RunConfig


class Echo(predictors.Predictor):
    """Predicts each text's length, in the form of a task."""

    def __init__(self, make):
        self._make = make
        self.asked = []

    def predict(self, texts, text_pair=None, adapter=None):
        self.asked += [texts] if text_pair is None else [texts, text_pair]
        return [self._make(text) for text in texts]


def classified(text):
    share = 1 / len(text)
    return predictions.Classification("long", 1 - share, {"long": 1 - share, "short, or blank": share})


SPANS = [predictions.Span("b", 1, 2, 0.75)]
KINDS = {
    "classification": (classified, {"label": "long", "probability": "0.75", "probabilities.long": "0.75"}),
    "multilabel": (
        lambda text: predictions.MultiLabel(["a", "b"], {"a": 0.9, "b": 0.5}, {"a": 0.5, "b": 0.25}, True),
        {"labels": '["a", "b"]', "scores.a": "0.9", "thresholds.b": "0.25", "abstained": "true"},
    ),
    "regression": (lambda text: predictions.Regression(0.1 + 0.2), {"value": "0.30000000000000004"}),
    "tagging": (
        lambda text: predictions.Tagging([predictions.Entity("PER", "b", 1, 2, 0.75)], 1, 0.5),
        {"entities": '[{"type": "PER", "text": "b", "start": 1, "end": 2, "score": 0.75}]', "margin": "0.5"},
    ),
    "question_answering": (
        lambda text: predictions.QuestionAnswering(None, None, None, 0.6, 0.7, 0.5, SPANS),
        {"answer": "", "start": "", "no_answer": "0.7", "best": '[{"text": "b", "start": 1, "end": 2, "score": 0.75}]'},
    ),
    "multitask": (
        lambda text: predictions.Multitask({"topic": classified(text), "tone": predictions.Regression(2.0)}),
        {"answers.topic.label": "long", "answers.topic.probabilities.long": "0.75", "answers.tone.value": "2.0"},
    ),
    "named outputs": (
        lambda text: predictions.NamedOutputs({"embedding": [0.5, 1.0], "é": "電影"}),
        {"outputs.embedding": "[0.5, 1.0]", "outputs.é": "電影"},
    ),
}  # fmt: skip


@pytest.fixture
def echo(monkeypatch):
    def use(make=classified):
        opened = Echo(make)
        monkeypatch.setattr(predictors, "open_local", lambda *_: opened)
        return opened

    return use


def json_lines(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_other_columns_are_kept(tfpipeline, tmp_path, echo):
    opened = echo()
    (tmp_path / "a.csv").write_text('id,text,author\n007,so good,"Smith, Zoë"\n1e5,=bad,\n')
    done = tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.csv")
    rows = json_lines(done)
    assert [(row["id"], row["text"], row["author"]) for row in rows] == [
        ("007", "so good", "Smith, Zoë"),
        ("1e5", "=bad", ""),
    ]
    assert [list(row)[:4] for row in rows] == [["id", "text", "author", "label"]] * 2
    assert opened.asked == [["so good", "=bad"]]


def test_values_of_json_keep_their_types(tfpipeline, tmp_path, echo):
    echo()
    row = {
        "id": 123456789012345678901234567890,
        "price": 1.5,
        "tags": ["a", 1],
        "text": ["so", "good"],
        "of": None,
        "sold": True,
    }
    text = json.dumps(row)[:-1] + ', "version": 1.10}\n'
    (tmp_path / "a.jsonl").write_text(text)
    (found,) = json_lines(tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.jsonl"))
    assert found["text"] == "so good"  # what was predicted for, and what offsets refer to
    assert [found[name] for name in ("id", "price", "tags", "of", "sold")] == [
        row["id"],
        1.5,
        ["a", 1],
        None,
        True,
    ]
    assert found["version"] == "1.10"
    done = tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.jsonl", "--csv")
    (found,) = csv.DictReader(io.StringIO(done.stdout))
    assert (found["of"], found["sold"]) == ("", "true")


@pytest.mark.parametrize("suffix", ["parquet", "xlsx"])
def test_values_of_tables_keep_their_types(tfpipeline, tmp_path, echo, suffix):
    echo()
    columns = {"text": ["good", "fine"], "sold": [True, False], "of": [7, None]}
    file = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
    else:
        book = openpyxl.Workbook()
        for row in [tuple(columns), *zip(*columns.values())]:
            book.active.append(row)
        book.save(file)
    rows = json_lines(tfpipeline("predict", "--from", "x", "--input", file))
    assert [(row["sold"], row["of"]) for row in rows] == [(True, 7), (False, None)]


def test_a_column_called_like_a_prediction(tfpipeline, tmp_path, echo):
    echo()
    (tmp_path / "a.csv").write_text("text,label,input_label\ngood,true label,x\nfine,other,y\n")
    for options in ([], ["--csv"]):
        done = tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.csv", *options)
        rows = list(csv.DictReader(io.StringIO(done.stdout))) if options else json_lines(done)
        assert [row["label"] for row in rows] == ["long", "long"]
        assert [row["input_input_label"] for row in rows] == ["true label", "other"]
        assert [row["input_label"] for row in rows] == ["x", "y"]
        assert done.stderr.count('the column "label" of the input is written as "input_input_label"') == 1


@pytest.mark.parametrize("kind", KINDS)
def test_csv_of_every_prediction(tfpipeline, tmp_path, echo, kind):
    make, want = KINDS[kind]
    echo(make)
    (tmp_path / "a.csv").write_text('id,text\n1,"a,""b"\n2,"a\nbc"\n')
    done = tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.csv", "--csv", check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout), strict=True))
    assert [row["id"] for row in rows] == ["1", "2"]
    assert [row["text"] for row in rows] == ['a,"b', "a\nbc"]
    for row in rows:
        assert None not in row
        assert {name: row[name] for name in want} == want


def test_csv_has_the_columns_of_all_files(tfpipeline, tmp_path, echo):
    echo(lambda text: predictions.Regression(float(len(text))))
    (tmp_path / "a.jsonl").write_text('{"text": "a", "id": 1}\n{"text": "bb", "late": [1]}\n')
    (tmp_path / "b.csv").write_text("text,where\nccc,here\n")
    files = ["--input", tmp_path / "a.jsonl", "--input", tmp_path / "b.csv"]
    done = tfpipeline("predict", "--from", "x", *files, "--csv", "--batch-size", "1", check=True)
    assert done.stdout == "text,id,late,where,value\na,1,,,1.0\nbb,,[1],,2.0\nccc,,,here,3.0\n"


def test_rows_without_text_are_skipped_and_counted(tfpipeline, tmp_path, echo):
    opened = echo()
    (tmp_path / "a.csv").write_text("id,text\n1,a\n2,\n3, \n4,b\n")
    done = tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.csv")
    assert [row["id"] for row in json_lines(done)] == ["1", "4"]
    assert "a.csv: 2 rows have no text and were skipped, the first in line 3" in done.stderr
    done = tfpipeline("predict", "--from", "x", input="a\n\n b\n")
    assert [row["text"] for row in json_lines(done)] == ["a", " b"]
    assert "standard input: 1 row has no text and was skipped, in line 2" in done.stderr
    done = tfpipeline("predict", "--from", "x", "--pair", "context", input="a\n\nb\n")
    assert [row["text"] for row in json_lines(done)] == ["a", "b"]
    assert opened.asked == [["a", "b"], ["a", " b"], ["a", "b"], ["context", "context"]]


def test_a_pair_with_one_text_is_predicted(tfpipeline, tmp_path, echo):
    opened = echo(lambda text: predictions.Regression(1.0))
    (tmp_path / "a.csv").write_text("q,c,id\n,b,1\na,,2\n,,3\n")
    columns = ["--column", "q", "--pair-column", "c"]
    done = tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.csv", *columns)
    assert [row["id"] for row in json_lines(done)] == ["1", "2"]
    assert opened.asked == [["", "a"], ["b", ""]]


def test_a_row_that_cannot_be_used_is_reported_before_the_model_is_loaded(tfpipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(predictors, "open_local", lambda *_: pytest.fail("loaded"))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 50 + '{"text": {"b": 1}}\n')
    done = tfpipeline(
        "predict", "--from", "x", "--input", tmp_path / "a.jsonl", "--output", tmp_path / "o.csv"
    )
    assert done.returncode == 2
    assert 'a.jsonl:51: the column "text" holds {"b": 1}' in done.stderr
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("last", ['{"text": "b", "who": ""}', '{"text": "b", "who": null}'])
def test_a_row_without_an_adapter_is_reported_before_the_model_is_loaded(
    tfpipeline, tmp_path, monkeypatch, last
):
    monkeypatch.setattr(predictors, "open_local", lambda *_: pytest.fail("loaded"))
    (tmp_path / "a.jsonl").write_text('{"text": "a", "who": "x"}\n' * 50 + last + "\n")
    done = tfpipeline("predict", "--from", "x", "--input", tmp_path / "a.jsonl", "--adapter-column", "who")
    assert (done.returncode, done.stdout) == (2, "")
    assert 'a.jsonl:51: the column "who" names no adapter; name one in each row, or' in done.stderr


def test_an_output_file_appears_once_it_is_complete(tfpipeline, tmp_path, echo):
    def fail(text):
        if text == "bad":
            raise UserError("the model cannot read bad")
        return predictions.Regression(1.0)

    echo(fail)
    ask = ["predict", "--from", "x", "--batch-size", "1"]
    for name in ("o.csv", "o.jsonl"):
        done = tfpipeline(*ask, "good", "bad", "--output", tmp_path / name)
        assert (done.returncode, done.stdout) == (2, "")
        assert list(tmp_path.iterdir()) == []
    assert tfpipeline(*ask, "good é", "--output", tmp_path / "o.csv").stdout == f"{tmp_path / 'o.csv'}\n"
    assert (tmp_path / "o.csv").read_text("utf-8") == "text,value\ngood é,1.0\n"
    tfpipeline(*ask, "good é", "--output", tmp_path / "o.jsonl", check=True)
    assert (tmp_path / "o.jsonl").read_text("utf-8") == '{"text": "good é", "value": 1.0}\n'


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--output", "."], "--output . is a directory; name a file"),
        (["--output", "a.txt"], "--output a.txt: the suffix says the format; give a name in .jsonl or .csv"),
        (["--csv", "--output", "a.jsonl"], "--csv and --output a.jsonl contradict each other"),
        (["--explain", "--csv"], "--csv is for predictions; explanations are written with --json or --html"),
        (["--explain", "--output", "a.csv"], "--output is for predictions"),
    ],
)
def test_what_does_not_go_together(tfpipeline, options, sentence, tmp_path):
    done = tfpipeline("predict", "--from", "nowhere", *options, "text", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {sentence}")


TASKS = {
    "classification": ({"text": "review"}, {"name": "classification"}, ["review"], " "),
    "question_answering": ({}, {"name": "question_answering"}, ["question", "context"], " "),
    "pair": ({"text": "a", "text_pair": "b"}, {"name": "pair", "answer": "regression"}, ["a", "b"], " "),
    "tagging": ({"text": "tokens"}, {"name": "tagging", "separator": ""}, ["tokens"], ""),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("form", ["run", "version", "model"])
def test_the_columns_of_the_run(tfpipeline, tmp_path, echo, task, form):
    """Nobody names a column again that the run file has named."""
    data, options, columns, separator = TASKS[task]
    settings = {"checkpoint": "c", "output": "o", "data": {"train": "t.csv", **data}, "task": options}
    run = config.resolve(settings, RunConfig, source="test")
    path = tmp_path / "models" / "m"
    if form == "run":
        path.mkdir(parents=True)
        (path / "config.yaml").write_text(config.dump(run))
    else:
        (path / "2" / "assets.extra").mkdir(parents=True)
        (path / "2" / "saved_model.pb").touch()
        card = {"data": {"columns": run.columns}}
        (path / "2" / "assets.extra" / "model_card.json").write_text(json.dumps(card))
    source = path / "2" if form == "version" else path
    opened = echo(lambda text: predictions.Regression(1.0))
    row = {"id": 1, **{name: ["電", "影"] for name in columns}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (found,) = json_lines(tfpipeline("predict", "--from", source, "--input", tmp_path / "a.jsonl"))
    text = separator.join(["電", "影"])
    assert opened.asked == [[text]] * len(columns)
    assert found == {"id": 1, **dict.fromkeys(columns, text), "value": 1.0}
    (tmp_path / "b.csv").write_text("x,y\nother,second\n")
    given = ["--column", "x", *(["--pair-column", "y"] if len(columns) == 2 else [])]
    done = tfpipeline("predict", "--from", source, "--input", tmp_path / "b.csv", *given)
    assert opened.asked[len(columns) :] == [["other"], ["second"]][: len(columns)], done.stderr


DIALOGUE = [{"speaker": "A", "text": " so "}, {"role": "B", "content": "fine"}]


@pytest.fixture
def dialogues(tmp_path):
    """A directory with the settings of a run that was trained on dialogues."""
    settings = {
        "checkpoint": "c",
        "output": "o",
        "data": {"train": "t.csv", "turns": "talk"},
        "task": {"name": "generation", "turn_separator": "|"},
    }
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(config.dump(config.resolve(settings, RunConfig, source="test")))
    return run


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_dialogues_are_read_as_in_training(tfpipeline, tmp_path, echo, dialogues, suffix):
    """Their turns are joined in every format; a text is one that the caller has joined."""
    cells, path = [DIALOGUE, ["a ", "b"], "c | d"], tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(
                [["talk"], *([cell if isinstance(cell, str) else json.dumps(cell)] for cell in cells)]
            )
    else:
        path.write_text("".join(json.dumps({"talk": cell}) + "\n" for cell in cells))
    opened = echo(lambda text: predictions.Regression(1.0))
    found = json_lines(tfpipeline("predict", "--from", dialogues, "--input", path))
    assert opened.asked == [["so | fine", "a | b", "c | d"]]
    assert [row["talk"] for row in found] == opened.asked[0]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (["a", " "], "turn 2 is empty"),
        (["a", 5], 'turn 2 is "5", not a turn'),
        ([], 'holds "[]", not a list of turns'),
    ],
)
def test_a_dialogue_that_cannot_be_read_is_named(tfpipeline, tmp_path, echo, dialogues, cell, says):
    opened = echo(lambda text: predictions.Regression(1.0))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"talk": cell}))
    done = tfpipeline("predict", "--from", dialogues, "--input", tmp_path / "rows.jsonl")
    assert (done.returncode, opened.asked) == (2, [])
    assert "rows.jsonl:1" in done.stderr
    assert says in done.stderr


@pytest.mark.parametrize(
    ("options", "joined"), [([], "so [SEP] fine"), (["--separator", " | "], "so | fine")]
)
def test_turns_are_joined_where_no_run_says_how(tfpipeline, tmp_path, echo, options, joined):
    opened = echo(lambda text: predictions.Regression(1.0))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"talk": DIALOGUE}))
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    asked = ("--from", tmp_path, "--input", tmp_path / "rows.jsonl", "--column", "talk", *options)
    done = tfpipeline("predict", *asked)
    assert (opened.asked, done.returncode) == ([[joined]], 0), done.stderr


def test_a_card_of_an_older_version_names_no_columns(tfpipeline, tmp_path, echo):
    (tmp_path / "1" / "assets.extra").mkdir(parents=True)
    (tmp_path / "1" / "saved_model.pb").touch()
    (tmp_path / "1" / "assets.extra" / "model_card.json").write_text('{"data": {"rows": {"train": 3}}}')
    echo()
    (tmp_path / "a.csv").write_text("text\nso\n")
    assert (
        json_lines(tfpipeline("predict", "--from", tmp_path, "--input", tmp_path / "a.csv"))[0]["text"]
        == "so"
    )
