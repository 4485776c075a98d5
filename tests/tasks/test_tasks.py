"""The contract of every task: walks the folder, so that a new task is held to it by being there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tfpipeline import tasks
from tfpipeline.config import Section
from tfpipeline.errors import UserError


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_is_found_by_its_name(name):
    task = tasks.find(name)
    assert issubclass(task, tasks.Task)
    assert issubclass(task.Options, Section)
    assert task.Options.model_fields["name"].default == name
    assert not getattr(task, "__abstractmethods__", None)


@pytest.mark.parametrize("name", tasks.names())
def test_checking_options_loads_no_tensorflow(name):
    code = f"import sys; from tfpipeline import tasks; tasks.find({name!r}); print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(UserError, match='unknown task "clasification"; did you mean "classification"'):
        tasks.find("clasification")
