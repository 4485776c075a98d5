"""Which changed settings a run can go on with, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfpipeline import config
from tfpipeline.errors import UserError
from tfpipeline.training.resuming import changes, check_settings, goes_on
from tfpipeline.training.run_config import RunConfig

RUN = Path("runs/x")
CONSTANT = {"schedule": {"name": "constant"}, "warmup": 0, "epochs": 3}
ENDED = {"step": 21, "epoch": 3, "position": 0, "finished": "trained 3 epochs"}
GOING = {"step": 10, "epoch": 1, "position": 3, "finished": None}


def settings(training=(), **changes):
    raw = {
        "checkpoint": "bert",
        "output": "runs/x",
        "data": {"train": "train.csv"},
        "task": {"name": "classification"},
        "training": dict(training),
    }
    for name, value in changes.items():
        raw[name] = {**raw[name], **value} if isinstance(value, dict) and name in raw else value
    return config.resolve(raw, RunConfig, source="test")


def refusal(old, new, saved=GOING, has_optimizer=True):
    """What is said; "" when it can go on."""
    try:
        check_settings(RUN, old, new, saved, has_optimizer=has_optimizer)
    except UserError as error:
        return str(error)
    return ""


def test_full_names_and_both_values():
    old = settings({"batch_size": 32, "freeze": []})
    new = settings({"batch_size": 16, "freeze": ["embeddings"]}, text={"max_length": 64})
    assert refusal(old, new) == (
        "runs/x was started with different settings: text.max_length was 128, is now 64; training.batch_size was 32, is now 16; "
        'training.freeze was [], is now ["embeddings"]; restore them to resume that run, or choose another output folder '
        "for a new one"
    )


def test_of_another_task_its_name_is_enough():
    found = changes(settings(), settings(task={"name": "regression"}))
    assert [str(change) for change in found] == ['task.name was "classification", is now "regression"']


def test_long_lists_of_changes_are_cut():
    new = settings(
        {"batch_size": 1, "bucket_window": 1, "seed": 9, "dropout": 0.5, "xla": True, "clip_norm": 9}
    )
    assert refusal(settings(), new).count(" was ") == 6  # "was started" and five of them
    assert "; and 1 more; restore them" in refusal(settings(), new)


@pytest.mark.parametrize(
    "changed",
    [
        {
            "training": {
                "save_every": 7,
                "keep": 3,
                "log_every": 2,
                "tensorboard": False,
                "keep_optimizer": True,
            }
        },
        {"output": "elsewhere/x"},
        {"checkpoint": "./bert", "data": {"train": str(Path("train.csv").absolute())}},
        {"training": {"steps": None}},
    ],
)
def test_what_changes_no_number_does_not_matter(changed):
    assert changes(settings(), settings(**changed)) or changed == {"training": {"steps": None}}
    for saved in (None, GOING, ENDED):
        assert refusal(settings(), settings(**changed), saved) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"training": {"evaluate_every": 5}},  # decides which checkpoint is the best
        {"training": {"callbacks": [{"name": "TerminateOnNaN"}]}},
        {"checkpoint": "other"},
        {"data": {"train": "other.csv"}},
        {"training": {"precision": "float64"}},
    ],
)
def test_what_may_change_a_number_does(changed):
    assert "was started with different settings" in refusal(settings(), settings(**changed))


@pytest.mark.parametrize("saved", [ENDED, GOING, None])
def test_a_constant_rate_can_be_kept_for_longer(saved):
    old, new = settings(CONSTANT), settings({**CONSTANT, "epochs": 6})
    assert refusal(old, new, saved) == ""
    assert (
        refusal(settings({**CONSTANT, "warmup": 5}), settings({**CONSTANT, "warmup": 5, "epochs": 6})) == ""
    )


@pytest.mark.parametrize(
    ("old", "new", "saved", "has_optimizer", "reason"),
    [
        (
            {"epochs": 3},
            {"epochs": 6},
            ENDED,
            True,
            "training.epochs was 3, is now 6; it cannot be trained for 6 epochs, because training.schedule is linear: its "
            "learning rates were chosen for 3 epochs (a run whose schedule is constant can be extended); choose another output "
            'folder for a new run, or load its weights into your own loop: tfpipeline.load("runs/x")',
        ),
        ({**CONSTANT, "warmup": 0.1}, {"epochs": 6, "warmup": 0.1}, ENDED, True, "training.warmup is 0.1, a share of all steps"),
        (CONSTANT, {"epochs": 6}, ENDED, False, "the state of its optimizer was not kept when it ended"),
        (CONSTANT, {"epochs": 2}, ENDED, True, "it cannot be trained for 2 epochs, because it has already been trained for longer (21"),
        (CONSTANT, {"epochs": 1}, GOING, True, "it cannot be trained for 1 epoch, because it has already been trained for longer (10"),
        (CONSTANT, {"steps": 21}, ENDED, True, "it has already been trained for longer (21 steps)"),
        (
            CONSTANT,
            {"epochs": 6},
            {**ENDED, "finished": "stopped early: 2 validations without a better accuracy"},
            True,
            "it has ended (stopped early: 2 validations without a better accuracy)",
        ),
    ],
)  # fmt: skip
def test_why_it_cannot_go_on(old, new, saved, has_optimizer, reason):
    assert reason in refusal(settings(old), settings({**old, **new}), saved, has_optimizer)


def test_a_method_that_plans_its_steps_cannot_go_on_with_any_schedule():
    old = settings({"epochs": 3}, peft={"method": "adalora"})
    said = refusal(old, settings({"epochs": 6}, peft={"method": "adalora"}))
    assert "because peft.method adalora has planned its steps for 3 epochs; choose another" in said


def test_epochs_do_not_matter_where_steps_count():
    old = settings({"steps": 50, "epochs": 3})
    assert refusal(old, settings({"steps": 50, "epochs": 6}), ENDED) == ""


@pytest.mark.parametrize(
    ("saved", "options", "wanted"),
    [
        (ENDED, {"epochs": 6}, True),
        (ENDED, {"epochs": 3}, False),
        (ENDED, {"steps": 21}, False),
        (ENDED, {"steps": 22}, True),
        ({**ENDED, "step": 20, "epoch": 2, "position": 6, "finished": "trained 20 steps"}, {"steps": 20}, False),
        ({**ENDED, "finished": "stopped by a callback"}, {"epochs": 6}, False),
        (GOING, {"epochs": 6}, False),  # it is not at an end at all
    ],
)  # fmt: skip
def test_who_has_steps_left_after_its_end(saved, options, wanted):
    assert goes_on(saved, settings(options).training) is wanted


def test_the_former_name_of_the_bucket_window_is_answered_with_the_new_one():
    with pytest.raises(
        UserError, match=r'training\.window: unknown field; did you mean "training\.bucket_window"'
    ):
        settings({"window": 64})
