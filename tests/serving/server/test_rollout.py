"""The steps from one configuration to the next, by hand and from any state."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tfpipeline.errors import UserError
from tfpipeline.export.labels import promote, rollback
from tfpipeline.serving.server import make_options
from tfpipeline.serving.server.model_config import Latest, ModelConfig, Specific
from tfpipeline.serving.server.rollout import Rollout, step


def wanted(labels, policy=None):
    return ModelConfig("m", Path("/m"), policy or Latest(1, also=tuple(labels.values())), labels)


def config(versions, labels):
    return ModelConfig("m", Path("/m"), Specific(tuple(versions)), labels)


def test_a_model_without_labels_is_left_to_the_server():
    model = wanted({}, Latest(3))
    assert step(model, config([1], {"stable": 1}), {1}, ()) == (model, True)


def test_at_the_start_labels_may_point_to_versions_that_are_loading():
    assert step(wanted({"stable": 3}), None, (), [3, 8, 9]) == (config([3, 9], {"stable": 3}), False)


def test_a_label_moves_after_its_version_is_loaded_and_before_the_old_one_goes():
    aim, there = wanted({"stable": 8}), [7, 8]
    now = config([7], {"stable": 7})
    first, done = step(aim, now, {7}, there)
    assert (first, done) == (config([7, 8], {"stable": 7}), False)
    assert step(aim, first, {7}, there) == (first, False)  # still loading
    assert step(aim, first, {7, 8}, there) == (config([8], {"stable": 8}), True)


def test_a_version_that_cannot_be_loaded_takes_nothing_away():
    # Version 9 is new and broken; 8 was the newest, 3 has the label.
    aim = wanted({"stable": 3})
    now = config([3, 8], {"stable": 3})
    assert step(aim, now, {3, 8}, [3, 8, 9]) == (config([3, 8, 9], {"stable": 3}), False)


def test_a_new_label_waits_for_its_version():
    aim = wanted({"stable": 8, "canary": 9})
    now = config([8], {"stable": 8})
    assert step(aim, now, {8}, [8, 9]) == (config([8, 9], {"stable": 8}), False)


def test_no_step_moves_a_label_to_a_missing_version_or_takes_a_labelled_one_away():
    """Every start, aim and order of loading with three versions and two labels ends at the aim."""
    there = [1, 2, 3]
    choices = [dict(zip("ab", pair)) for pair in itertools.product(there, there)]
    for before, after in itertools.product(choices, choices):
        now, _ = step(wanted(before), None, (), there)
        available = set(now.policy.versions)
        done = False
        for _ in range(4):
            was = now
            now, done = step(wanted(after), now, available, there)
            assert set(now.labels.values()) <= available
            # Servers change labels first: whatever they point to before and after is still there.
            assert set(now.labels.values()) <= set(now.policy.versions)
            assert not set(was.labels.values()) - available
            if done:
                break
            missing = sorted(set(now.policy.versions) - available)
            available = (available & set(now.policy.versions)) | set(missing[:1])
        assert done
        assert now.labels == after
        assert set(now.policy.versions) == {3, *after.values()}


@pytest.fixture
def model_dir(tmp_path):
    for version in (1, 2):
        (tmp_path / "m" / str(version)).mkdir(parents=True)
        (tmp_path / "m" / str(version) / "saved_model.pb").touch()
    return tmp_path / "m"


def specific(model_dir, versions, labels):
    return (ModelConfig("m", model_dir, Specific(tuple(versions)), labels),)


def test_following_a_directory(model_dir):
    said = []
    rollout = Rollout(make_options(model_dir), said.append, whole_only=True)
    assert rollout.first() == (ModelConfig("m", model_dir),)
    assert rollout.next(lambda name: {2}) is None

    promote(model_dir, 1)
    first = rollout.next(lambda name: {2})
    assert first == specific(model_dir, [1, 2], {})
    rollout.applied(first)
    assert rollout.next(lambda name: {2}) is None  # version 1 is still loading
    second = rollout.next(lambda name: {1, 2})
    assert second == specific(model_dir, [1, 2], {"stable": 1})
    rollout.applied(second)
    assert said == ['label "stable" of m points to version 1']
    assert rollout.next(lambda name: {1, 2}) is None

    promote(model_dir, 2)
    third = rollout.next(lambda name: {1, 2})
    assert third == specific(model_dir, [2], {"stable": 2})
    rollout.refused("no")
    assert rollout.next(lambda name: {1, 2}) == third  # offered again
    rollout.applied(third)
    rollback(model_dir)
    assert rollout.next(lambda name: {2}) == specific(model_dir, [1, 2], {"stable": 2})

    (model_dir / "labels.json").unlink()
    last = rollout.next(lambda name: {2})
    assert last == (ModelConfig("m", model_dir),)
    rollout.applied(last)
    assert said[1:] == [
        "the new configuration was refused (no); the models are served as before",
        'label "stable" of m points to version 2',
        'label "stable" of m is gone',
    ]


def test_what_a_client_has_changed_holds_until_the_disk_changes(model_dir):
    promote(model_dir, 1)
    rollout = Rollout(make_options(model_dir), print, whole_only=True)
    rollout.first()
    everything = rollout.next(lambda name: {1, 2})
    assert everything is None
    assert rollout.next(lambda name: {2}) is None  # a client's configuration has no version 1


def test_a_problem_is_told_once_and_changes_nothing(model_dir):
    said = []
    rollout = Rollout(make_options(model_dir), said.append, whole_only=True)
    rollout.first()
    (model_dir / "labels.json").write_text("{")
    assert rollout.next(lambda name: {2}) is None
    assert rollout.next(lambda name: {2}) is None
    (sentence,) = said
    assert "labels.json is not a file of labels" in sentence
    assert sentence.endswith("; the models are served as before")
    (model_dir / "labels.json").unlink()
    assert rollout.next(lambda name: {2}) is None
    (model_dir / "labels.json").write_text("{")
    rollout.next(lambda name: {2})
    assert len(said) == 2  # it was mended in between


def test_versions_that_are_still_being_copied(model_dir):
    promote(model_dir, 1)
    (model_dir / "3").mkdir()
    for whole_only, versions in ((True, [1, 2]), (False, [1, 3])):
        rollout = Rollout(make_options(model_dir), print, whole_only=whole_only)
        assert rollout.first() == specific(model_dir, versions, {"stable": 1})


def test_a_start_beside_a_version_that_is_being_copied(model_dir):
    """tensorflow_model_server would not start: it needs the newest version."""
    said = []
    rollout = Rollout(make_options(model_dir), said.append, whole_only=True)
    (model_dir / "3").mkdir()
    assert rollout.first() == specific(model_dir, [2], {})
    assert said == [f"{model_dir / '3'} has no saved_model.pb yet; it is served once it is complete"]
    assert rollout.next(lambda name: {2}) is None
    (model_dir / "4").mkdir()
    (model_dir / "4" / "saved_model.pb").touch()
    last = rollout.next(lambda name: {2})  # the newest version is complete, so the server can do the rest
    assert last == (ModelConfig("m", model_dir),)
    rollout.applied(last)
    (model_dir / "5").mkdir()  # the server keeps what it has
    assert rollout.next(lambda name: {4}) is None
    assert len(said) == 1


def test_a_stray_name_takes_no_version_away(model_dir):
    """A file, or a link to nothing, that has a number as its name."""
    (model_dir / "9").touch()
    (model_dir / "8").symlink_to("nowhere")
    rollout = Rollout(make_options(model_dir, latest_versions=2), print, whole_only=True)
    assert rollout.first() == specific(model_dir, [1, 2], {})
    # A server that is only started must find later versions itself.
    once = Rollout(make_options(model_dir), print, whole_only=True, once=True)
    assert once.first() == (ModelConfig("m", model_dir),)


def test_new_models_of_a_directory_are_served_and_broken_ones_are_told(model_dir):
    said = []
    rollout = Rollout(make_options(model_dir.parent), said.append, whole_only=True)
    rollout.first()
    other = model_dir.parent / "n" / "4"
    other.mkdir(parents=True)
    assert rollout.next(lambda name: {2}) is None
    (other / "saved_model.pb").touch()
    found = rollout.next(lambda name: {2})
    assert [model.name for model in found] == ["m", "n"]


def test_a_changed_configuration_file_is_checked(model_dir, tmp_path):
    file, said = tmp_path / "models.config", []
    text = f'model_config_list {{ config {{ name: "m" base_path: "{model_dir}" model_platform: "tensorflow" {{}} }} }}'
    file.write_text(text.replace("{}", ""))
    rollout = Rollout(make_options(config=file), said.append, whole_only=True)
    rollout.first()
    file.write_text(text.replace("{}", "model_version_policy { specific { versions: 9 } }"))
    assert rollout.next(lambda name: {2}) is None
    assert said == [
        f"the version policy of m names version 9, but {model_dir} has 1, 2; name one of these; "
        "the models are served as before"
    ]
    file.write_text(text.replace("{}", "model_version_policy { all {} }"))
    (model,) = rollout.next(lambda name: {2})
    assert model.policy.select([1, 2]) == [2, 1]


def test_a_start_that_cannot_be_served(tmp_path):
    with pytest.raises(UserError, match="there is no directory"):
        Rollout(make_options(tmp_path / "x"), print, whole_only=True).first()
