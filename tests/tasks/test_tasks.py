"""The contract of every task: walks the folder, so that a new task is held to it by being there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.tasks import kit
from tfpipeline import checkpoints, tasks
from tfpipeline.data import Example
from tfpipeline.errors import UserError


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_is_found_by_its_name(name):
    options = tasks.find(name)
    assert issubclass(options, tasks.TaskOptions)
    assert options.model_fields["name"].default == name


@pytest.mark.parametrize("name", tasks.names())
def test_checking_options_loads_no_tensorflow(name):
    code = f"import sys; from tfpipeline import tasks; tasks.find({name!r}); print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(UserError, match='unknown task "clasification"; did you mean "classification"'):
        tasks.find("clasification")


@pytest.mark.parametrize(
    "section",
    [
        {"name": "classification", "pooling": "pooler"},
        {"name": "pair", "answer": {"name": "classification", "pooling": "pooler"}},
        {"name": "multitask", "heads": {"a": {"name": "classification", "pooling": "pooler"}}},
        {"name": "similarity", "pooling": "pooler", "loss": "infonce"},
    ],
    ids=lambda section: section["name"],
)
def test_a_pooler_that_the_encoder_lacks_is_refused_before_anything_is_written(section, tmp_path):
    rows = [Example("x", "y", label, columns={"a": label}) for label in "pq"]
    options = tasks.find(section["name"]).model_validate(section)
    task = options.fit([options.preprocess(row) for row in rows])
    with_pooler, without = (
        checkpoints.load(tiny.write_checkpoint(tmp_path / str(pooler), pooler=pooler)).config
        for pooler in (True, False)
    )
    task.check_encoder(with_pooler)
    with pytest.raises(UserError, match="pooling is pooler, but the checkpoint has no pooler"):
        task.check_encoder(without)


@pytest.fixture(scope="module", params=tasks.names())
def trained(request, shared):
    return kit.trained(shared, kit.sample(kit.SAMPLES / f"{request.param}.yaml"))


def test_records_round_trip(trained, tmp_path):
    kit.check_records_round_trip(trained, tmp_path)


def test_rows_are_parsed_twice_at_most(trained):
    kit.check_rows_are_parsed_twice_at_most(trained)


def test_a_batch_is_its_texts_one_by_one(trained):
    kit.check_batch_is_singles(trained)


def test_losses_and_gradients(trained):
    kit.check_losses(trained)


def test_scores_report_and_baseline(trained):
    kit.check_scores(trained)


def test_names_of_scores(trained):
    kit.check_names_of_scores(trained)


def test_explanations(trained):
    kit.check_explanations(trained)


def test_confidence_changes_no_answer(trained):
    kit.check_confidence(trained)


def test_eager_compiled_exported_and_served_answers_are_the_same(trained):
    kit.check_every_way(trained)


def test_no_task_is_known_by_name_elsewhere():
    """Adding one is adding a file: nobody else asks which one it is."""
    root = Path(tasks.__file__).parents[1]
    others = [path for path in root.rglob("*.py") if "tasks" not in path.parts]
    assert len(others) > 50
    named = re.compile(
        r"""tasks\.(?!base|find|names|Task|of_checkpoint|serving|part_schema|DEFAULT|signature|scorer)\w+|task(\.name)?\s*=="""
    )
    found = {path: named.findall(path.read_text("utf-8")) for path in others}
    assert {path for path, hits in found.items() if hits} == set()
