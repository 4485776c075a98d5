"""Which models are served, and one sentence for each configuration that cannot be."""

from __future__ import annotations

import json

import pytest

from tfpipeline.errors import UserError
from tfpipeline.export.labels import promote
from tfpipeline.serving.server import make_options, serve
from tfpipeline.serving.server.model_config import All, Latest, ModelConfig, Specific
from tfpipeline.serving.server.sources import checked_models, find_models, read_labels, with_labels


@pytest.fixture
def models(tmp_path):
    for name, versions in {"a": (1, 2, 10), "b": (5,)}.items():
        for version in versions:
            folder = tmp_path / "models" / name / str(version)
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").touch()
    return tmp_path / "models"


def names(*arguments, **options):
    return [(model.name, model.base_path) for model in find_models(make_options(*arguments, **options))]


def test_directories(models):
    for other in ("notes", ".hidden", "empty/1"):
        (models / other).mkdir(parents=True)
    both = [("a", models / "a"), ("b", models / "b")]
    assert names(models) == both
    assert names([models / "b", models / "a"]) == both[::-1]
    assert names([models / "b", models, models / "b"]) == both[::-1]
    assert names(models / "b", name="other") == [("other", models / "b")]
    assert find_models(make_options(models / "a", latest_versions=2))[0].policy == Latest(2)


def refused(*arguments, **options):
    with pytest.raises(UserError) as caught:
        checked_models(make_options(*arguments, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_two_models_of_one_name(models):
    (models.parent / "more" / "a" / "1").mkdir(parents=True)
    sentence = refused([models, models.parent / "more" / "a"])
    assert sentence.startswith(f"two models have the name a: {models / 'a'} and {models.parent}/more/a; give")


def test_a_name_that_cannot_be_printed(models):
    """The binary's log, which serve reads, has one line for each event."""
    path = config(models, entry(models, name="a\\nb"))
    assert refused(config=path).startswith('the model\'s name "a\\nb" has a character that cannot be printed')
    (models / "a\u200b" / "1").mkdir(parents=True)
    (models / "a\u200b" / "1" / "saved_model.pb").touch()
    assert "\\u200b" in refused(models)


def test_a_byte_order_mark_is_no_content(models):
    path = config(models, entry(models))
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert names(config=path) == [("m", models / "a")]


def test_one_name_for_several_models(models):
    assert refused(models, name="x").startswith(f"--name names one model, and {models} holds 2")
    assert refused([models / "a", models / "b"], name="x").startswith("--name names one model, and several")


def test_nothing_and_both(models):
    assert refused().startswith("there is nothing to serve; give a models/NAME")
    assert refused(models, config=models / "x").startswith("models are given twice")
    assert refused(config=models / "x", latest_versions=2) == (
        "--latest-versions is for directories; with --config, write model_version_policy { latest { "
        "num_versions: 2 } } into the file"
    )


def config(models, text):
    path = models.parent / "models.config"
    path.write_text(f"model_config_list {{ {text} }}")
    return path


def entry(models, more="", name="m", path=None):
    path = path or models / "a"
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'


def test_a_configuration_file(models):
    path = config(
        models, entry(models, "model_version_policy { all {} }") + entry(models, "", "n", models / "b")
    )
    assert checked_models(make_options(config=path)) == (
        ModelConfig("m", models / "a", All()),
        ModelConfig("n", models / "b", Latest()),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no model; add a config"),
        ("config {}", 'model 1 has no name; add a line such as name: "sentiment"'),
        ('config { name: "m" }', 'model m has no base_path; add a line such as base_path: "/models/m"'),
        (
            'config { name: "m" base_path: "x/y" }',
            "model m: base_path x/y is relative, .* write {parent}/x/y",
        ),
        (
            'config { name: "m" base_path: "/x" }',
            'there is no model_platform; write model_platform: "tensorflow"',
        ),
        ('config { name: "m" base_path: "/x" model_platform: "tf" }', 'model_platform is "tf"; write'),
        ('config { name: "m" base_path: "gs://b/m" model_platform: "tensorflow" }', "gs://b/m"),
        ("{entry} {entry}", "two models have the name m"),
        (
            'config {{ name: "m" base_path: "/nowhere" model_platform: "tensorflow" }}',
            "there is no directory /nowhere",
        ),
    ],
)
def test_a_configuration_file_that_cannot_be_served(models, text, words):
    text = text.replace("{entry}", entry(models)).replace("{{", "{").replace("}}", "}")
    with pytest.raises(UserError, match=words.replace("{parent}", str(models.parent))) as caught:
        serve(config=config(models, text))
    assert "\n" not in str(caught.value)


def test_a_missing_configuration_file_and_one_that_is_no_text(models):
    assert refused(config=models / "x") == f"cannot read --config {models / 'x'}: No such file or directory"
    (models / "x").write_bytes(b"\xff\xfe")
    assert refused(config=models / "x").startswith(
        f"--config {models / 'x'} is not a text file in UTF-8 (byte 0)"
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            "model_version_policy { specific { versions: 3 } }",
            "the version policy of m names version 3, but .*/a has 1, 2, 10; name",
        ),
        (
            'version_labels { key: "stable" value: 4 }',
            'label "stable" of m points to version 4, but .*/a has 1, 2',
        ),
        ("model_version_policy { specific {} }", r"the version policy of m names no version; write specific"),
    ],
)
def test_versions_that_are_not_there(models, more, words):
    with pytest.raises(UserError, match=words):
        checked_models(make_options(config=config(models, entry(models, more))))


@pytest.mark.parametrize(
    ("policy", "want"),
    [
        (Latest(2), Latest(2, also=(1, 2))),
        (Specific((10,)), Specific((1, 2, 10))),
        (All(), All()),
    ],
    ids=str,
)
def test_labelled_versions_are_served_too(models, policy, want):
    promote(models / "a", 1)
    promote(models / "a", 10, "next")
    own = {"next": 2}  # of a configuration file: before those of promote
    assert with_labels(ModelConfig("a", models / "a", policy, own)) == ModelConfig(
        "a", models / "a", want, {"stable": 1, "next": 2}
    )
    plain = ModelConfig("b", models / "b", policy)
    assert with_labels(plain) == plain


def test_a_label_of_a_removed_version_is_left_out(models):
    (models / "b" / "labels.json").write_text(json.dumps({"labels": {"old": 4, "now": 5}}))
    assert with_labels(ModelConfig("b", models / "b")).labels == {"now": 5}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"labels": [1]}', '{"labels": {"a": "1"}}', '{"labels": {"a": true}}']
)
def test_a_file_of_labels_that_is_none(models, content):
    (models / "b" / "labels.json").write_text(content)
    with pytest.raises(UserError, match=r"labels\.json is not a file of labels .*; correct it"):
        read_labels(models / "b")
