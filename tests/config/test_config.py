from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SerializeAsAny, model_validator

from tfpipeline import config
from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.training.run_config import RunConfig


class Sorter(config.Section):
    name: Literal["sorter"] = "sorter"
    labels: tuple[str, ...] = Field(("a", "b"), min_length=2, strict=False)


class Measurer(config.Section):
    name: Literal["measurer"]
    loss: Literal["mse", "huber"] = "mse"
    scale: float = Field(1.0, gt=0)


class Head(config.Section):
    weight: float = 1.0
    task: SerializeAsAny[config.Section]

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[config.Section] | None:
        return pick(raw) if field == "task" else None


def pick(raw: Any) -> type[config.Section] | None:
    if not isinstance(raw, dict):
        return None
    schemas: dict[str, type[config.Section]] = {"sorter": Sorter, "measurer": Measurer}
    name = raw.get("name", "sorter")
    if name not in schemas:
        raise UserError(f'unknown task "{name}"{did_you_mean(str(name), schemas)}')
    return schemas[name]


class Training(config.Section):
    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(3e-5, gt=0)
    shuffle: bool = True
    dropout: Optional[float] = Field(None, ge=0, lt=1)
    stop: int | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _agree(self) -> Training:
        if self.epochs == 7 and self.dropout:
            raise ValueError("No dropout in 7 epochs")
        return self


class Run(config.Section):
    output: str
    log: Path = Field(Path("log"), strict=False)
    training: Training = Training()
    task: SerializeAsAny[config.Section] = Sorter()
    heads: dict[str, Head] = Field({})

    @classmethod
    def section_schema(cls, field: str, raw: Any) -> type[config.Section] | None:
        return pick(raw) if field == "task" else None


def load(tmp_path: Path, text: str, *overrides: str) -> Run:
    path = tmp_path / "run.yaml"
    path.write_text(text, "utf-8")
    return config.load(path, Run, overrides)


def errors(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text, *overrides)
    return [line.strip().replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()]


def test_reads_values_of_every_type(tmp_path):
    run = load(
        tmp_path,
        "output: runs/x\nlog: logs/y\ntraining:\n  learning_rate: 5e-5\n  epochs: 2\n  dropout: null\n"
        "task:\n  name: sorter\n  labels: [yes, no, 2024-01-01]\n",
    )
    assert run.training == Training(learning_rate=5e-5, epochs=2)
    assert run.log == Path("logs/y")
    assert isinstance(run.task, Sorter)
    assert run.task.labels == ("yes", "no", "2024-01-01")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5), ("1e3", 1000.0), ("-.5", -0.5), ("1.", 1.0), ("010", 10), ("0x1f", 31), ("0o17", 15),
        ("12:30", "12:30"), ("yes", "yes"), ("off", "off"), ("true", True), ("~", None), ("", None), ('"5e-5"', "5e-5"),
        ("1_000", "1_000"), ("e5", "e5"), ("2024-01-01", "2024-01-01"), ("[1, a]", [1, "a"]),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, value):
    from tfpipeline.config.source import parse_value

    found = parse_value(text, "here")
    assert found == value
    assert type(found) is type(value)


def test_all_errors_at_once_with_their_lines(tmp_path):
    found = errors(
        tmp_path,
        "training:\n  epoch: 3\n  learning_rate: fast\n  shuffle: 1\n  stop: 1.5\n"
        "task:\n  name: measurer\n  loss: hubert\n  scale: 0\nlerning: {}\n",
    )
    assert found == [
        "run.yaml has 8 errors; correct:",
        "run.yaml:1  output: missing; it has no default",
        'run.yaml:2  training.epoch: unknown field; did you mean "training.epochs"?',
        'run.yaml:3  training.learning_rate: found "fast", expected a valid number',
        "run.yaml:4  training.shuffle: found 1, expected a valid boolean",
        "run.yaml:5  training.stop: found 1.5, expected a valid integer or 'auto'",
        "run.yaml:8  task.loss: found \"hubert\", expected 'mse' or 'huber'; did you mean \"huber\"?",
        "run.yaml:9  task.scale: found 0, expected greater than 0",
        'run.yaml:10  lerning: unknown field; did you mean "training"?',
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('training: {epochs: "3"}', 'training.epochs: found "3", expected a valid integer'),
        ("training: {epochs: 3.0}", "training.epochs: found 3.0, expected a valid integer"),
        ("training: {epochs: true}", "training.epochs: found true, expected a valid integer"),
        ("training: {learning_rate: .inf}", "training.learning_rate: found Infinity, expected a finite number"),
        ("training: 3", "training: found 3, expected a section: lines of `name: value`"),
        ("training:", "training: found null, expected a section: lines of `name: value`"),
        ("task: [1]", "task: found [1], expected a section: lines of `name: value`"),
        ("task: {name: sort}", 'task.name: unknown task "sort"; did you mean "sorter"?'),
        ("task: {name: measurer, labels: [a, b]}", "task.labels: unknown field; known here: name, loss, scale"),
        ("task: {labels: [a]}", 'task.labels: found ["a"]; tuple should have at least 2 items after validation, not 1'),
        ("task: {labels: [a, 1]}", "task.labels[1]: found 1, expected a valid string"),
        ("learning_rate: 1", 'learning_rate: unknown field; did you mean "training.learning_rate"?'),
        ("heads: {x: {task: {name: mesurer}}}", 'heads.x.task.name: unknown task "mesurer"; did you mean "measurer"?'),
        ("heads: {x: {weight: 2}}", "heads.x.task: missing; it has no default"),
    ],
)  # fmt: skip
def test_one_error(tmp_path, line, reason):
    assert errors(tmp_path, f"output: x\n{line}\n") == [
        "run.yaml has 1 error; correct:",
        f"run.yaml:2  {reason}",
    ]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a: 1\nb: [\n", "run.yaml:3: not valid YAML"),
        (b"a: 1\n\tb: 2\n", "run.yaml:2: not valid YAML"),
        (b"a: 1\nb: \x00\n", "run.yaml:2: not valid YAML: it contains a character"),
        (b"a: 1\n\nb: \xff\n", "run.yaml:3: not UTF-8 (byte 0xff)"),
        (b"", "run.yaml:1: the file is empty"),
        (b"# nothing\n", "run.yaml:1: the file is empty"),
        (b"\n- 1\n", "run.yaml:2: the file is a list"),
        (b"hello\n", "run.yaml:1: the file is a single value"),
        (b"output: x\ntraining:\n  epochs: 1\n  epochs: 2\n", 'run.yaml:4: "epochs" is repeated (first in line 3)'),
        (b"output: x\n1: 2\n", "run.yaml:2: a field's name must be text"),
        (b"output: x\na: !!python/object:os.system 1\n", "run.yaml:2: a value of the type !!python/object:os.system"),
        (b"output: x\na: &a [*a]\n", "run.yaml:2: an alias refers to the value that contains it"),
        (b"output: x\na: &a {b: 1}\nc:\n  <<: *a\n", "run.yaml:4: merge keys"),
        (b"a: 1\n---\nb: 2\n", "run.yaml:2: not valid YAML: expected a single document"),
        (b"a: " + b"[" * 5000, "not usable YAML: nested too deeply"),
        (b"a: " + b"1" * 5000, "not usable YAML"),
    ],
)  # fmt: skip
def test_unreadable_file(tmp_path, data, sentence):
    path = tmp_path / "run.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        config.load(path, Run)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.yaml: No such file"):
        config.load(tmp_path / "none.yaml", Run)
    with pytest.raises(UserError, match=r"^.* is a directory; give the path of a run file \(YAML\)$"):
        config.load(tmp_path, Run)


def test_byte_order_mark(tmp_path):
    (tmp_path / "run.yaml").write_bytes(b"\xef\xbb\xbfoutput: x\n")
    assert config.load(tmp_path / "run.yaml", Run).output == "x"


def test_overrides(tmp_path):
    run = load(
        tmp_path,
        "output: x\ntask: {labels: [a, b]}\n",
        "training.learning_rate=5e-5", "training.epochs=9", "training.epochs=1", "output=a=b", "task.labels.1=c",
    )  # fmt: skip
    assert run.training == Training(learning_rate=5e-5, epochs=1)
    assert run.output == "a=b"
    assert run.task.labels == ("a", "c")  # type: ignore[attr-defined]
    assert load(tmp_path, "output: x\ntask: {}\n", "task={name: measurer, scale: 2}").task == Measurer(
        name="measurer", scale=2
    )


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.epochs=x", '--set training.epochs=x  training.epochs: found "x", expected a valid integer'),
        ("training.epoch=1", '--set training.epoch=1  training.epoch: unknown field; did you mean "training.epochs"?'),
        ("learning_rate=1", '--set learning_rate=1  learning_rate: unknown field; did you mean "training.learning_rate"?'),
        ("trainning.epochs=1", '--set trainning.epochs=1  trainning: unknown field; did you mean "training"?'),
        ("task.scale=1", '--set task.scale=1  task.scale: unknown field; known here: name, labels'),
        ("output.x=1", "--set output.x=1  output is a single value in the run file, not a section"),
        ("task.labels.5=x", "--set task.labels.5=x  task.labels is a list of 2; expected a position from 0 to 1"),
        ("epochs", "--set epochs  expected section.field=value"),
        ("=1", "--set =1  expected section.field=value"),
        ("output=", "--set output=  output: found null, expected a valid string"),
        ("training={epochs: 0}", "--set training={epochs: 0}  training.epochs: found 0, expected greater than or equal to 1"),
    ],
)  # fmt: skip
def test_wrong_override_is_named(tmp_path, override, line):
    found = errors(tmp_path, "output: x\ntask: {labels: [a, b]}\n", override)
    assert found == ["run.yaml has 1 error; correct:", line]


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("labels=[x, y]", "; write task={name: sorter, labels: [x, y]}"),
        ("labels.0=x", "; write task={name: sorter, labels: ...}"),
        ("name=measurer", "; write task=measurer"),
        ("scale=2", ""),  # a sorter has none
    ],
)
def test_an_override_inside_a_name_in_the_place_of_its_section(tmp_path, override, advice):
    found = errors(tmp_path, "output: x\ntask: sorter\n", f"task.{override}")
    assert found[1] == f"--set task.{override}  task is a single value in the run file, not a section{advice}"


def test_an_override_inside_a_head_that_is_a_name():
    settings = {"output": "x", "task": {"name": "multitask", "heads": {"topic": "classification"}}}
    with pytest.raises(UserError) as caught:
        config.resolve(settings, RunConfig, ["task.heads.topic.labels=[a, b]"], source="settings")
    assert str(caught.value).splitlines()[1] == (
        "  --set task.heads.topic.labels=[a, b]  task.heads.topic is a single value in the run file, not a section; write "
        "task.heads.topic={name: classification, labels: [a, b]}"
    )


def test_fields_that_contradict(tmp_path):
    text = "output: x\ntraining: {epochs: 7, dropout: 0.5}\n"
    assert errors(tmp_path, text)[1:] == ["run.yaml:2  training: no dropout in 7 epochs"]
    text = "output: x\ntraining:\n  epochs: 7\n"
    assert errors(tmp_path, text, "training.dropout=0.5")[1:] == [
        "run.yaml:2  training: no dropout in 7 epochs (with --set training.dropout=0.5)"
    ]


def test_override_that_is_not_yaml(tmp_path):
    with pytest.raises(UserError, match=r"--set output=\[:1: not valid YAML"):
        load(tmp_path, "output: x\n", "output=[")


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
tricky = st.sampled_from(
    ["yes", "null", "5e-5", "1e5", "010", "0o7", "12:30", "2024-01-01", "~", "", " a ", "\n", "<<", "é"]
)


@given(
    output=text | tricky,
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    labels=st.lists(text | tricky, min_size=2, max_size=4),
    measure=st.booleans(),
)
def test_dump_reads_back_equal(tmp_path_factory, output, rate, labels, measure):
    task = Measurer(name="measurer", scale=rate) if measure else Sorter(labels=tuple(labels))
    run = Run(output=output, training=Training(learning_rate=rate), task=task, heads={"h": Head(task=task)})
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(config.dump(run), "utf-8")
    again = config.load(path, Run)
    assert again == run
    assert type(again.task) is type(task)
    assert config.dump(again) == config.dump(run)


def test_sections_are_frozen(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path, "output: x\n").output = "y"  # type: ignore[misc]


def test_imports_no_tensorflow():
    code = (
        "import sys, tfpipeline.config; sys.exit(bool({'tensorflow', 'keras', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The real schema: what columns are called that nobody names.

COLUMNS = ("text", "text_pair", "label")
OWN_TASK = """
from tfpipeline.tasks import TaskOptions


class Options(TaskOptions):
    data_defaults = {{"label": "grade"}}

    name: str = "{name}"

    def check(self, data):
        if data.weight == "no":
            raise ValueError("Weights are not for this task")


OPTIONS = Options
"""


def load_run(tmp_path: Path, text: str, *overrides: str) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(f"checkpoint: c\noutput: o\n{text}", "utf-8")
    return config.load(path, RunConfig, overrides)


def columns(tmp_path: Path, text: str, *overrides: str) -> tuple[Optional[str], ...]:
    """The names of the columns; those of a run file that is written and read again are the same."""
    found = load_run(tmp_path, text, *overrides)
    (tmp_path / "again.yaml").write_text(config.dump(found), "utf-8")
    again = config.load(tmp_path / "again.yaml", RunConfig)
    assert again == found
    assert config.dump(again) == config.dump(found)
    return tuple(getattr(found.data, name) for name in COLUMNS)


@pytest.mark.parametrize(
    ("task", "data", "overrides", "want"),
    [
        ("question_answering", "", [], ("question", "context", "answers")),
        ("question_answering", ", text: q", [], ("q", "context", "answers")),
        ("question_answering", ", text: text, label: label", [], ("text", "context", "label")),
        ("question_answering", "", ["data.text_pair=c", "data.label=a"], ("question", "c", "a")),
        ("question_answering", ", text: q", ["data.text=r"], ("r", "context", "answers")),
        ("question_answering", "", ["data={train: u}"], ("question", "context", "answers")),
        ("question_answering", "", ["data={train: u, text: q}"], ("q", "context", "answers")),
        ("question_answering", "", ["task.best=2"], ("question", "context", "answers")),
        ("question_answering", "", ["task={name: classification}"], ("text", None, "label")),
        ("question_answering", "", ["task.name=classification"], ("text", None, "label")),
        ("classification", "", [], ("text", None, "label")),
        ("classification", "", ["task.name=question_answering"], ("question", "context", "answers")),
        ("classification", ", label: context", ["task.name=question_answering"], ("question", "context", "context")),
        ("tagging", ", label: tags", [], ("text", None, "tags")),
        ("tagging", "", [], ("text", None, "label")),
        ("regression", ", text_pair: null", [], ("text", None, "label")),
    ],
)  # fmt: skip
def test_columns_that_nobody_names_are_called_as_the_task_says(tmp_path, task, data, overrides, want):
    text = f"data: {{train: t{data}}}\ntask: {{name: {task}}}\n"
    assert columns(tmp_path, text, *overrides) == want


def test_a_task_without_a_name_names_no_columns(tmp_path):
    assert columns(tmp_path, "data: {train: t}\ntask: {}\n") == ("text", None, "label")


def test_null_is_a_name_too(tmp_path):
    """What is null in the run file, or by --set, is not filled in."""
    says = "data.label is null, but question answering reads a question (data.text), a context"
    for data, overrides in (("  label: null\n", []), ("", ["data.label=null"]), ("", ["data.label="])):
        text = f"data:\n  train: t\n{data}task: {{name: question_answering}}\n"
        with pytest.raises(UserError) as caught:
            load_run(tmp_path, text, *overrides)
        assert says in str(caught.value)
    with pytest.raises(UserError, match=r"data\.text_pair is null, but question answering"):
        load_run(tmp_path, "data: {train: t, text_pair: ~}\ntask: {name: question_answering}\n")
    with pytest.raises(UserError, match=r"run\.yaml:3  data\.text: found null, expected a valid string"):
        load_run(tmp_path, "data: {train: t, text: null}\ntask: {name: question_answering}\n")


def test_columns_of_a_task_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "graded.py").write_text(OWN_TASK.format(name="own_package.graded"), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "data: {{train: t{}}}\ntask: {{name: own_package.graded}}\n"
    assert columns(tmp_path, text.format("")) == ("text", None, "grade")
    assert columns(tmp_path, text.format(", label: null")) == ("text", None, None)
    assert columns(tmp_path, text.format(""), "data.label=null") == ("text", None, None)
    assert columns(tmp_path, text.format(", label: g, text_pair: p")) == ("text", "p", "g")
    with pytest.raises(UserError) as caught:
        load_run(tmp_path, text.format(", weight: no"))
    assert str(caught.value).endswith(
        "has 1 error; correct:\n  " + f"{tmp_path}/run.yaml:1  the file: weights are not for this task"
    )


@pytest.mark.parametrize(
    ("text", "overrides", "lines"),
    [
        (
            "data:\n  train: t\n  txt: q\n  text_pair: 3.5\ntask:\n  name: question_answering\n  best: 0\n",
            ["data.group=[x]", "task.dropout=1"],
            [
                'run.yaml:5  data.txt: unknown field; did you mean "data.text"?',
                "run.yaml:6  data.text_pair: found 3.5, expected a valid string",
                "run.yaml:9  task.best: found 0, expected greater than or equal to 1",
                '--set data.group=[x]  data.group: found ["x"], expected a valid string',
                "--set task.dropout=1  task.dropout: found 1, expected less than 1",
            ],
        ),
        (
            "data:\n  text: q\ntask: {name: question_answering}\n",
            [],
            ["run.yaml:3  data.train: missing; it has no default"],
        ),
        ("task: {name: question_answering}\n", [], ["run.yaml:1  data: missing; it has no default"]),
        ("data: {train: t}\n", [], ["run.yaml:1  task: missing; it has no default"]),
        (
            "data: t\ntask: {name: question_answering}\n",
            [],
            ['run.yaml:3  data: found "t", expected a section: lines of `name: value`'],
        ),
        (
            "data: {train: t}\ntask: question_answering\n",
            [],
            ['run.yaml:4  task: found "question_answering", expected a section: lines of `name: value`'],
        ),
        (
            "data: {train: t, txt: x}\ntask:\n  name: question_answerin\n",
            [],
            [
                'run.yaml:3  data.txt: unknown field; did you mean "data.text"?',
                'run.yaml:5  task.name: unknown task "question_answerin"; did you mean "question_answering"?',
            ],
        ),
        (
            "data: {train: t}\ntask: {name: no_such_module.x}\n",
            [],
            [
                'run.yaml:4  task.name: unknown task "no_such_module.x": there is no module no_such_module; install it, or put its '
                "folder into PYTHONPATH"
            ],
        ),
        (
            "data: {train: t, split: {by: group}}\ntask: {name: question_answering}\n",
            ["data.text=q"],
            [
                "run.yaml:3  data: split.by is group, but no column is named by data.group; name one (with --set data.text=q)"
            ],
        ),
    ],
)
def test_errors_name_the_line_whatever_is_filled_in(tmp_path, text, overrides, lines):
    with pytest.raises(UserError) as caught:
        load_run(tmp_path, text, *overrides)
    found = [line.strip().replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()]
    assert found[1:] == lines


def test_settings_are_left_as_they_were():
    raw = {"checkpoint": "c", "output": "o", "data": {"train": "t"}, "task": {"name": "question_answering"}}
    assert config.resolve(raw, RunConfig, source="here").data.text == "question"
    assert raw["data"] == {"train": "t"}


def test_reading_a_run_file_imports_no_tensorflow():
    code = (
        "import sys; from tfpipeline import config; from tfpipeline.training.run_config import RunConfig\n"
        "raw = dict(checkpoint='c', output='o', data=dict(train='t'), task=dict(name='question_answering'))\n"
        "assert config.resolve(raw, RunConfig, source='x').data.label == 'answers'\n"
        "sys.exit(bool({'tensorflow', 'keras', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
