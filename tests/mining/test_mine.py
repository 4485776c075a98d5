"""Mining with small runs whose weights are random: what they find similar does not matter."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.special import logsumexp

from tests import tiny
from tfpipeline import checkpoints, config
from tfpipeline.errors import UserError
from tfpipeline.index import unfinished
from tfpipeline.mining import Choice, Teacher, mine
from tfpipeline.tasks import CorpusFile
from tfpipeline.training.opening import open_run
from tfpipeline.training.run import create_run
from tfpipeline.training.run_config import RunConfig
from tfpipeline.training.text_embedding import TextEmbedder

WORDS = [*tiny.GOOD, *tiny.BAD, *tiny.PLAIN]
QUESTIONS = [f"is the {word}" for word in WORDS]
ANSWERS = [f"so {word} , {word} !" for word in WORDS]
# Rows 0 and 1 ask the same, rows 2 and 3 are of one group, and the answer of row 4 is also the question of row 5.
ROWS = [
    [QUESTIONS[0], ANSWERS[0], "a", "first"],
    [QUESTIONS[0].upper(), ANSWERS[1], "b", "second"],
    [QUESTIONS[2], ANSWERS[2], "g", "third"],
    [QUESTIONS[3], ANSWERS[3], "g", "fourth"],
    [QUESTIONS[4], ANSWERS[4], "c", "fifth"],
    [ANSWERS[4], ANSWERS[5], "d", "sixth"],
]
EASY = Choice(count=20, depth=20, relative_margin=0.0, margin=0.0)


def write(path, rows, columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def made(folder, name, task, rows, columns, **data):
    """A run with the random weights of its checkpoint."""
    settings = {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / name),
        "data": {"train": str(write(folder / f"{name}.csv", rows, columns)), "split": {"validation": 0.3, "by": "random"}, **data},
        "text": {"max_length": 24},
        "task": task,
    }  # fmt: skip
    run_config = config.resolve(settings, RunConfig, source="test")
    checkpoint = checkpoints.load(run_config.checkpoint)
    run = create_run(run_config, checkpoint, run_config.task.load_splits(run_config.data))
    model = run.build_model(checkpoint.encoder(run.model_config))
    random = np.random.default_rng(0)
    for variable in model.head.trainable_variables:
        variable.assign(random.normal(0, 1, variable.shape))
    run.store.save(["initial", "last", "best"], 0, model, None, {})
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mining")
    tiny.write_checkpoint(folder / "checkpoint")
    return folder


@pytest.fixture(scope="module")
def student(folder):
    prompts = {"query": "the film ", "document": "a "}
    task = {"name": "similarity", "prompts": prompts}
    columns = ["question", "answer", "topic", "note"]
    return made(folder, "student", task, ROWS, columns, text="question", text_pair="answer", group="topic")


@pytest.fixture(scope="module")
def alone(student, tmp_path_factory):
    """The lines that are mined without a corpus or a teacher, by the note of each row."""
    return mined(student, tmp_path_factory.mktemp("alone"), choice=EASY)[1]


def pair_run(folder, name, answer, labels):
    rows = [[question, answer, label] for question, answer, label in zip(QUESTIONS, ANSWERS, labels)]
    columns = ["question", "answer", "label"]
    task = {"name": "pair", "answer": answer}
    return made(folder, name, task, rows, columns, text="question", text_pair="answer")


def mined(student, path, **options):
    result = mine(student, student.path.parent / "student.csv", path / "mined.jsonl", **options)
    lines = [json.loads(line) for line in result.path.read_text("utf-8").splitlines()]
    assert len(lines) == result.rows
    assert sum(len(line["negative"]) for line in lines) == result.negatives
    return result, {line["note"]: line for line in lines}


def cosines(student, questions, answers):
    """Computed once more, with the run's own predictions for pairs."""
    pairs = [(question, answer) for question in questions for answer in answers]
    found = student.predict(student.model(), *map(list, zip(*pairs)))["score"]
    return found.reshape(len(questions), len(answers))


def test_negatives_are_the_most_similar_texts_that_may_be_wrong(student, alone):
    answers = [row[1] for row in ROWS]
    scores = cosines(student, [row[0] for row in ROWS], answers)
    barred = {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}, 4: {4}, 5: {4, 5}}
    want = {
        row: [
            answers[number]
            for number in np.argsort(-scores[row], kind="stable").tolist()
            if number not in barred[row] and scores[row, number] <= scores[row, row]
        ]
        for row in range(6)
    }
    assert any(want.values())
    assert not all(want.values())  # so that some rows are left out
    for row, negatives in want.items():
        note = ROWS[row][3]
        if not negatives:
            assert note not in alone
            continue
        assert alone[note] == {
            "question": ROWS[row][0],
            "answer": ROWS[row][1],
            "topic": ROWS[row][2],
            "note": note,
            "negative": negatives,
        }


def test_a_corpus_is_searched_too(student, alone, tmp_path):
    rows = [[number, text] for number, text in enumerate([ANSWERS[6], ANSWERS[0], QUESTIONS[4], ANSWERS[7]])]
    texts = CorpusFile(write(tmp_path / "corpus.csv", rows, ["id", "text"]))
    _, lines = mined(student, tmp_path, choice=EASY, corpus=texts)
    added = {text for line in lines.values() for text in line["negative"]} - {row[1] for row in ROWS}
    assert added  # of the corpus
    assert added <= {ANSWERS[6], ANSWERS[7], QUESTIONS[4]}
    assert QUESTIONS[4] not in lines.get("fifth", {"negative": []})["negative"]  # the query itself
    for note, line in alone.items():
        assert [text for text in lines[note]["negative"] if text not in added] == line["negative"]


def test_a_teacher_scores_the_right_text_and_the_negatives(folder, student, alone, tmp_path, capsys):
    teacher = pair_run(folder, "judge", "regression", map(str, range(9)))
    result, lines = mined(student, tmp_path, choice=EASY, teacher=teacher)
    assert result.left_out == 6 - len(lines)
    assert f"left out {result.left_out} row" in capsys.readouterr().err
    for line in lines.values():
        texts = [line["answer"], *line["negative"]]
        want = teacher.predict(teacher.model(), [line["question"]] * len(texts), texts)["value"]
        assert [line["score"], *line["negative_score"]] == pytest.approx(want.tolist(), abs=1e-5)
        assert line["negative"] == alone[line["note"]]["negative"]  # the same again
    # The file is what the loss reads.
    settings = {"checkpoint": str(folder / "checkpoint"), "output": "x", "task": {"name": "similarity", "loss": "margin_mse", "normalize": False}}  # fmt: skip
    data = {"train": str(tmp_path / "mined.jsonl"), "text": "question", "text_pair": "answer"}
    run_config = config.resolve({**settings, "data": data}, RunConfig, source="test")
    rows = run_config.task.read(run_config.data, data["train"])
    margins = run_config.task.fit(rows).targets(rows)["margins"]
    for row, line in zip(margins, lines.values()):
        want = [line["score"] - score for score in line["negative_score"]]
        assert row[: len(want)] == pytest.approx(want, abs=1e-5)


def test_a_teacher_of_labels_gives_log_odds(folder):
    teacher = pair_run(folder, "labels", "classification", ["yes", "no", "perhaps"] * 3)
    found = Teacher(teacher, "no")(QUESTIONS, ANSWERS)
    predicted = teacher.predict(teacher.model(), QUESTIONS, ANSWERS)
    odds = np.log(predicted["probabilities"].astype(float))
    own = (predicted["classes"] == b"no").argmax(1)
    rows = np.arange(len(odds))
    others = np.where(np.arange(3) == own[:, None], -np.inf, odds)
    assert found == pytest.approx(odds[rows, own] - logsumexp(others, axis=1), abs=1e-4)
    for label, message in ((None, "--teacher-label, one of"), ("noo", 'did you mean "no"?')):
        with pytest.raises(UserError, match=message):
            Teacher(teacher, label)


def test_the_log_odds_of_a_teacher_of_several_labels_are_those_of_each_label_alone(folder):
    teacher = pair_run(folder, "several", "multilabel", ["fits,short", "fits", "short,old"] * 3)
    predicted = teacher.predict(teacher.model(), QUESTIONS, ANSWERS)
    probabilities = predicted["scores"].astype(float)
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.1  # they do not compete
    for number, label in enumerate(teacher.task.labels):
        found = Teacher(teacher, label)(QUESTIONS, ANSWERS)
        own = probabilities[:, number]
        assert found == pytest.approx(np.log(own / (1 - own)), abs=1e-4)
    with pytest.raises(UserError, match=r'"shorter"; did you mean "short"\?'):
        Teacher(teacher, "shorter")


def test_an_interrupted_search_continues_with_the_same_file(folder, student, tmp_path, monkeypatch, capsys):
    """Interrupted once in each kind of work; no row is computed twice."""
    monkeypatch.setattr(unfinished, "GROUP", 2)
    teacher = pair_run(folder, "slow", "regression", map(str, range(9)))
    data = student.path.parent / "student.csv"
    whole = mine(student, data, tmp_path / "whole.jsonl", choice=EASY, teacher=teacher).path.read_bytes()
    counted = Counter()

    def interrupting(kind, function):
        def counting(self, *arguments):
            counted[kind] += 1
            if counted[kind] == 2:
                raise KeyboardInterrupt
            return function(self, *arguments)

        return counting

    kinds = [(TextEmbedder, "__call__"), (Choice, "choose"), (Teacher, "__call__")]
    for own, name in kinds:
        monkeypatch.setattr(own, name, interrupting(own.__name__, getattr(own, name)))
    for _ in kinds:
        with pytest.raises(KeyboardInterrupt):
            mine(student, data, tmp_path / "mined.jsonl", choice=EASY, teacher=teacher)
        assert not (tmp_path / "mined.jsonl").exists()
    found = mine(student, data, tmp_path / "mined.jsonl", choice=EASY, teacher=teacher)
    assert found.path.read_bytes() == whole
    assert not (tmp_path / "mined.jsonl.partial").exists()
    # 5 queries and 6 documents; 6 rows; a pair and its negatives for each row: in twos, one of them twice.
    pairs = sum(1 + len(json.loads(line)["negative"]) for line in whole.splitlines())
    assert counted == {"TextEmbedder": 3 + 3 + 1, "Choice": 3 + 1, "Teacher": -(-pairs // 2) + 1}
    assert "continuing unfinished work: 2 of 5 queries are embedded" in capsys.readouterr().err
    monkeypatch.undo()
    other = mine(student, data, tmp_path / "mined.jsonl", choice=Choice(count=1, relative_margin=0.0))
    assert other.path.read_bytes() != whole


def test_rows_are_read_before_tensorflow_is(student, tmp_path):
    bad = write(tmp_path / "bad.csv", [["a", " ", "b", ""]], ["question", "answer", "topic", "note"])
    code = f"""
import sys
from tfpipeline.errors import UserError
from tfpipeline.mining.reading import read_early
rows = read_early({str(student.path)!r}, {str(student.path.parent / "student.csv")!r})
assert len(rows) == 6 and len(rows.queries) == 5 and len(rows.documents) == 6
try:
    read_early({str(student.path)!r}, {str(bad)!r})
except UserError as error:
    print(error)
assert "tensorflow" not in sys.modules
assert read_early({str(student.path.parent / "checkpoint")!r}, "x.csv") is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{bad}:2: the row has no second text; complete it or remove it\n"


def test_what_cannot_be_mined(folder, student, tmp_path):
    data = student.path.parent / "student.csv"
    with pytest.raises(
        UserError,
        match=r"--to .*mined.csv: negatives are written as JSON lines; name a file that ends in .jsonl",
    ):
        mine(student, data, tmp_path / "mined.csv")
    with pytest.raises(UserError, match="no row has a negative among 6 texts; lower --margin"):
        mine(student, data, tmp_path / "mined.jsonl", choice=Choice(margin=2.0))
    # The vectors are kept for the next attempt, which does not embed the texts again.
    assert [path.name for path in tmp_path.iterdir()] == ["mined.jsonl.partial"]
    classes = made(folder, "classes", {"name": "similarity"}, [[text, "xy"[row % 2]] for row, text in enumerate(ANSWERS)], ["text", "label"], label="label")  # fmt: skip
    with pytest.raises(UserError, match="trained on texts with a class, but negatives are for pairs"):
        mine(classes, data, tmp_path / "mined.jsonl")
    with pytest.raises(UserError, match="is of the task similarity, so it cannot score pairs"):
        Teacher(open_run(student.path))
    labels = pair_run(folder, "unfit", "classification", ["a", "b", "c"] * 3)
    with pytest.raises(UserError, match="unfit does not compare vectors of texts; negatives are found with"):
        mine(labels, data, tmp_path / "mined.jsonl")
