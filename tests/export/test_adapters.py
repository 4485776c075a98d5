"""Many adapters in one exported model: each row is answered as its run's merged model answers it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfpipeline
from tests import tiny
from tests.adapted_runs import adapted_run
from tfpipeline import UserError
from tfpipeline.export import parity
from tfpipeline.models.name_table import NameTable
from tfpipeline.serving.client import Classification, MultiLabel

TEXTS = [text for text, _ in tiny.texts(60, seed=4)]


def runs_of(folder, cases, **sections):
    """A run for each name, all on the same base: name -> (peft section, task of ADAPTED)."""
    return {
        name: adapted_run(folder / name, peft, task, training={"seed": number}, **sections)
        for number, (name, (peft, task)) in enumerate(cases.items())
    }


def exported(runs, to, **options):
    return tfpipeline.export_adapters({name: run.path for name, run in runs.items()}, to, warmup=2, **options)


def answers_of(version, texts, names):
    model = tf.saved_model.load(str(version))
    ask = model.signatures["serving_default"]
    return {
        key: value.numpy() for key, value in ask(text=tf.constant(texts), adapter=tf.constant(names)).items()
    }


def merged_answers(runs, texts, names):
    """Row by row, of the run's own merged model."""
    own = {name: run.predict(run.model(precision="float32").merge(), texts) for name, run in runs.items()}
    return [{key: array[row] for key, array in own[name].items()} for row, name in enumerate(names)]


@pytest.fixture(scope="module")
def methods(tmp_path_factory):
    """Runs of every method that can be served with others, and their model."""
    folder = tmp_path_factory.mktemp("methods")
    lora = {"method": "lora", "rank": 2}
    runs = runs_of(
        folder,
        {
            "query-value": (lora, "classifier"),
            "all": ({"method": "lora", "rank": 3, "projections": ["all"], "alpha": 4.0}, "two labels"),
            "ia3": ("ia3", "classifier"),
            "bitfit": ("bitfit", "classifier"),
            "adalora": ({"method": "adalora", "initial_rank": 4, "target_rank": 2}, "two labels"),
        },
    )
    return runs, exported(runs, folder / "models" / "desk")


# With at most 128 positions the padded layout is computed, with more the one of real tokens.
@pytest.mark.parametrize("rows", [3, 60])
def test_rows_are_answered_as_by_their_merged_models(methods, rows):
    runs, version = methods
    names = [list(runs)[row % len(runs)] for row in range(rows)]
    found = answers_of(version, TEXTS[:rows], names)
    for row, want in enumerate(merged_answers(runs, TEXTS[:rows], names)):
        count = len(want["probabilities"])
        np.testing.assert_allclose(
            found["probabilities"][row, :count], want["probabilities"], rtol=0, atol=1e-5
        )
        assert found["classes"][row, :count].tolist() == want["classes"].tolist()
        assert found["label"][row] == want["label"]
        # What a row's own head lacks is padding.
        assert not found["probabilities"][row, count:].any()
        assert found["classes"][row, count:].tolist() == [b""] * (3 - count)


def test_the_adapters_differ(methods):
    runs, version = methods
    same = [answers_of(version, TEXTS[:1], [name])["probabilities"] for name in runs]
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(same) for b in same[:i])


def test_the_tokens_signature_takes_adapters(methods):
    runs, version = methods
    names = list(runs)
    run = runs["all"]
    tokens = run.encode(TEXTS[: len(names)])
    ask = tf.saved_model.load(str(version)).signatures["input_ids"]
    found = ask(
        input_ids=tf.constant(tokens["input_ids"]),
        lengths=tf.constant(tokens["attention_mask"].sum(1).astype(np.int32)),
        adapter=tf.constant(names),
    )
    want = answers_of(version, TEXTS[: len(names)], names)
    np.testing.assert_allclose(found["probabilities"], want["probabilities"], rtol=0, atol=1e-6)


def test_predict_names_the_adapter_of_each_text(methods):
    runs, version = methods
    names = ["all", "ia3", "adalora"]
    answers = tfpipeline.predict(version, TEXTS[:3], adapter=names)
    assert all(isinstance(answer, Classification) for answer in answers)
    assert [len(answer.probabilities) for answer in answers] == [2, 3, 2]  # padding is cut
    for answer, want in zip(answers, merged_answers(runs, TEXTS[:3], names)):
        assert answer.label == want["label"].decode()
    one = tfpipeline.predict(version, TEXTS[:3], adapter="all")
    assert [answer.label for answer in one] == [
        want["label"].decode() for want in merged_answers(runs, TEXTS[:3], ["all"] * 3)
    ]


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (
            ["all", "desk"],
            'adapter of row 1 is "desk", which this model does not have; it has query-value, all, ia3, '
            "bitfit, adalora",
        ),
        ("", 'adapter of row 0 is "", which this model does not have'),
        (["all"], "2 texts but 1 adapter; give one for each text, or one for all"),
        (None, "name the adapter of the texts with --adapter, or its column with --adapter-column"),
    ],
)
def test_what_cannot_be_asked(methods, adapter, message):
    with pytest.raises((UserError, tfpipeline.serving.client.ClientError)) as caught:
        tfpipeline.predict(methods[1], TEXTS[:2], adapter=adapter)
    assert message in str(caught.value)


def test_the_card_names_the_adapters(methods):
    runs, version = methods
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    assert list(card["adapters"]) == list(runs)
    told = card["adapters"]["all"]
    assert (told["method"], told["labels"], told["run"]) == ("lora", ["even", "odd"], runs["all"].name)
    assert len({each["identity"] for each in card["adapters"].values()}) == len(runs)


@pytest.mark.parametrize(("one", "other"), [("stars", "far stars"), ("topics", "two topics")])
def test_other_kinds_of_tasks(tmp_path, one, other):
    """Regression, whose scales differ; several labels, whose numbers differ."""
    runs = runs_of(tmp_path, {"one": ("lora", one), "other": ("lora", other)})
    version = exported(runs, tmp_path / "models" / "desk")
    names = ["one", "other"] * 4
    found = answers_of(version, TEXTS[:8], names)
    for row, want in enumerate(merged_answers(runs, TEXTS[:8], names)):
        for key, value in want.items():
            got = found[key][row]
            if value.dtype == object:
                assert [each for each in np.atleast_1d(got) if each] == [
                    each for each in np.atleast_1d(value) if each
                ]
            else:
                count = np.size(value)
                np.testing.assert_allclose(
                    np.ravel(got)[:count], np.ravel(value), rtol=1e-5, atol=1e-5, err_msg=key
                )
    if one == "topics":
        answers = tfpipeline.predict(version, TEXTS[:2], adapter=names[:2])
        assert all(isinstance(answer, MultiLabel) for answer in answers)
        assert [sorted(answer.scores) for answer in answers] == [["door", "film", "food"], ["a", "b"]]


def test_a_new_adapter_is_a_new_version_that_compares_little_of_the_others(tmp_path, monkeypatch):
    runs = runs_of(tmp_path, dict.fromkeys(("a", "b"), ("lora", "classifier")))
    first = exported(runs, tmp_path / "models" / "desk")
    assert exported(runs, tmp_path / "models" / "desk") == first  # nothing has changed
    compared = {}
    original = parity._held_out

    def held_out(run, rows):
        compared[run.path.parent.name] = rows
        return original(run, rows)

    monkeypatch.setattr(parity, "_held_out", held_out)
    runs |= runs_of(tmp_path, {"c": ("ia3", "classifier")})
    second = exported(runs, tmp_path / "models" / "desk")
    assert second.name == "2"
    assert compared == {"c": 256, "a": 4, "b": 4}
    assert sorted(answers_of(second, TEXTS[:1], ["c"])) == ["classes", "label", "probabilities"]


@pytest.mark.parametrize(
    ("peft", "task", "changes", "message"),
    [
        (None, "classifier", {}, "has no adapter, because it was trained without peft; export it alone"),
        ("adapters", "classifier", {}, "has an adapter of peft.method adapters, which cannot be served with"),
        ("lora", "stars", {}, "has another kind of task than"),
        ("lora", "mean", {}, "has another head than"),
        (
            "lora",
            "classifier",
            {"text": {"max_length": 16}},
            "has another text.max_length or text.long than",
        ),
    ],
)
def test_runs_that_do_not_fit_together(methods, tmp_path, peft, task, changes, message):
    first = methods[0]["query-value"]
    other = adapted_run(tmp_path / "other", peft, task, **changes)
    with pytest.raises(UserError) as caught:
        tfpipeline.export_adapters([first.path, other.path], tmp_path / "models" / "desk")
    # Both directories are called run.
    assert 'two adapters are called "run"' in str(caught.value)
    with pytest.raises(UserError, match="the adapter a has no run; write NAME=RUN"):
        tfpipeline.export_adapters(["a=", other.path], tmp_path / "models" / "desk")
    with pytest.raises(UserError, match=message):
        tfpipeline.export_adapters({"a": first.path, "b": other.path}, tmp_path / "models" / "desk", warmup=0)
    assert not (tmp_path / "models").exists()


def test_another_base_is_refused_and_named(methods, tmp_path):
    tiny.write_checkpoint(tmp_path / "other" / "checkpoint", seed=1)
    other = adapted_run(tmp_path / "other", "lora")
    with pytest.raises(UserError, match=r"has another base than .* export adapters together"):
        tfpipeline.export_adapters(
            {"a": methods[0]["ia3"].path, "b": other.path}, tmp_path / "models" / "desk"
        )


def test_a_kind_of_task_that_cannot_be_served_so(tmp_path):
    run = adapted_run(tmp_path / "one", "lora", "tagger")
    shutil.copytree(run.path, tmp_path / "copy")
    with pytest.raises(
        UserError, match="run: the task tagging cannot be served with --adapters yet; export each"
    ):
        tfpipeline.export_adapters({"a": run.path, "b": tmp_path / "copy"}, tmp_path / "models" / "desk")


@pytest.mark.parametrize("option", [{"precision": "bfloat16"}, {"calibrate": True}, {"explain": True}])
def test_options_that_cannot_be_used_with_adapters(methods, tmp_path, option):
    with pytest.raises(UserError, match="cannot be used with --adapters yet; leave it out"):
        exported(methods[0], tmp_path / "models" / "desk", **option)


def test_names_are_found_by_number():
    names = [f"adapter-{number}" for number in range(1000)]
    table = NameTable(names)
    asked = ["adapter-0", "adapter-999", "adapter-1000", "", "adapter-17"]
    numbers, known = table(tf.constant(asked))
    assert known.numpy().tolist() == [True, True, False, False, True]
    assert numbers.numpy()[[0, 1, 4]].tolist() == [0, 999, 17]
    with pytest.raises(ValueError, match="two names are equal"):
        NameTable(["a", "b", "a"])
