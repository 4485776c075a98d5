"""Similarity: its rows, options and predictions. Its losses are in test_similarity_losses.py."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.tasks import kit
from tfpipeline import config
from tfpipeline.data import Example, epoch_batches
from tfpipeline.errors import UserError
from tfpipeline.models.inputs import by_text
from tfpipeline.tasks.similarity import SimilarityOptions
from tfpipeline.tasks.similarity.task import negatives_in_batch
from tfpipeline.training import load, open_run, plan, train
from tfpipeline.training.batching import Batching, window_of
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.rows import read_rows
from tfpipeline.training.run_as_checkpoint import convert
from tfpipeline.training.run_config import RunConfig


def settings(folder, rows, name="rows.csv", task=None, **data):
    """A run file for rows: dicts of cells. Written as CSV, or as JSON lines."""
    tiny.write_checkpoint(folder / "checkpoint")
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
            writer.writeheader()
            writer.writerows(rows)
    return {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        "data": {"train": str(path), "split": {"validation": 0.3}, **data},
        "text": {"max_length": 16},
        "task": {"name": "similarity", **(task or {})},
        "training": {"epochs": 1, "batch_size": 4, "learning_rate": 0.01},
    }


def read(folder, rows, *arguments, **options):
    return read_rows(
        config.resolve(settings(folder, rows, *arguments, **options), RunConfig, source="run.yaml")
    )


def pairs(count=10, **more):
    return [{"q": f"good film {row}", "a": f"the bad food {row}", **more} for row in range(count)]


PAIR = {"text": "q", "text_pair": "a"}


@pytest.mark.parametrize(
    ("rows", "data", "options", "fitted"),
    [
        (pairs(), PAIR, {}, {"loss": "infonce", "classes": False, "negatives": 0}),
        (pairs(score="0.5"), PAIR, {}, {"loss": "cosent", "classes": False, "negatives": 0}),
        (pairs(stars="4"), {**PAIR, "label": "stars"}, {}, {"loss": "cosent", "classes": False, "negatives": 0}),
        (pairs(score="0.5"), PAIR, {"loss": "infonce"}, {"loss": "infonce", "classes": False, "negatives": 0}),
        (pairs(score="0.5"), PAIR, {"loss": "cosine"}, {"loss": "cosine", "classes": False, "negatives": 0}),
        (pairs(negative="x"), PAIR, {}, {"loss": "infonce", "classes": False, "negatives": 1}),
        # A file of mined negatives with a teacher's scores.
        (
            pairs(negative="x", negative_1="y", score="0.9", negative_score="0.1", negative_1_score="0"),
            PAIR,
            {"loss": "margin_mse"},
            {"loss": "margin_mse", "classes": False, "negatives": 2},
        ),
        (
            pairs(negative="x", score="0.9", negative_score="0.1"),
            PAIR,
            {},
            {"loss": "infonce", "classes": False, "negatives": 1},
        ),
        (
            [{"text": f"good {row}", "topic": "ab"[row % 2]} for row in range(10)],
            {"label": "topic"},
            {},
            {"loss": "infonce", "classes": True, "negatives": 0},
        ),
    ],
)  # fmt: skip
def test_the_rows_decide_the_loss(tmp_path, rows, data, options, fitted):
    found = read(tmp_path, rows, task=options, **data)
    assert found.task.fitted == fitted
    assert len(found.splits["train"]) == 7


def test_negatives_are_columns_or_lists(tmp_path):
    """Rows have as many as they have; the scores of a teacher go with them."""
    rows = [
        {"q": "a", "a": "b", "negative": ["c", "", "d"], "negative_score": [0.5, 9, 0.25], "score": 0.75},
        {"q": "e", "a": "f", "negative": "g", "negative_score": 0.5, "score": 1, "kept": "x"},
        *({"q": f"q {row}", "a": f"a {row}", "negative": [], "score": 0} for row in range(2)),
    ]
    data = {**PAIR, "validation": str(tmp_path / "rows.jsonl")}
    found = read(tmp_path, rows, "rows.jsonl", {}, **data)
    first, second, third, _ = found.splits["train"]
    assert first.further_texts == {"negative_1": "c", "negative_2": "d"}
    assert (second.further_texts, third.further_texts) == ({"negative_1": "g"}, {})
    assert second.columns == {"kept": "x", "score": "1", "negative_scores": "[0.5]"}
    assert found.task.further_texts == ("negative_1", "negative_2")
    targets = found.task.targets([first, second, third])
    assert targets["has_negative"].tolist() == [[True, True], [True, False], [False, False]]
    assert targets["negative_keys"].shape == (3, 2)
    own = SimilarityOptions(loss="margin_mse").fit([first, second])
    np.testing.assert_allclose(own.targets([first, second])["margins"], [[0.25, 0.5], [0.5, 0]])

    named = [
        {"q": f"q {row}", "a": f"a {row}", "hard": "x", "wrong": "y", "negative": "z"} for row in range(8)
    ]
    options = SimilarityOptions(negatives=["wrong", "hard"])
    example = Example("q", "a", columns=named[0])
    assert list(options.preprocess(example).further_texts.values()) == ["y", "x"]
    numbered = {f"negative_{number}": f"text {number}" for number in (10, 2, 1)}
    scores = {f"negative_score_{number}": f"{number}" for number in (1, 2, 10)}
    example = Example("q", "a", columns={**numbered, "negative": "text 0", **scores, "negative_score": "0"})
    prepared = SimilarityOptions().preprocess(example)
    assert list(prepared.further_texts.values()) == ["text 0", "text 1", "text 2", "text 10"]
    assert prepared.columns == {"negative_scores": "[0.0, 1.0, 2.0, 10.0]"}


def test_texts_of_a_cell_that_only_looks_like_a_list(tmp_path):
    found = read(tmp_path, pairs(negative='["x", "y"]'), **PAIR)
    assert found.splits["train"][0].further_texts == {"negative_1": '["x", "y"]'}


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({"a": " "}, {}, "rows.csv:5: the row has no second text; complete it or remove it"),
        (
            {"negative": " The  bad FOOD 3"},
            {},
            'rows.csv:5: the negative " The  bad FOOD 3" (column negative) is also the text that is right; '
            "remove one of them",
        ),
        (
            {"score": "6"},
            {"score_range": [0.0, 5.0]},
            "rows.csv:5: the score is 6, not between 0 and 5; correct it, or",
        ),
        (
            {"score": "1.5"},
            {"loss": "cosine"},
            "rows.csv:5: the score is 1.5, not between -1 and 1; correct it, or",
        ),
        (
            {"score": "good"},
            {},
            'rows.csv:5: the score "good" is not a finite number; correct the row or remove it',
        ),
        ({"score": "nan"}, {}, 'rows.csv:5: the score "nan" is not a finite number'),
        (
            {"score": "1"},
            {},
            "rows.csv:5 has a score, but rows.csv:2 has none; give every row one, or set task.loss",
        ),
        (
            {},
            {"loss": "triplet"},
            "rows.csv:2: the row has no negative, which the loss triplet needs; it reads the",
        ),
        (
            {},
            {"loss": "cosent"},
            "rows.csv:2: the row has no score; write one or remove the row (its column is data",
        ),
        (
            {"negative": "x"},
            {"loss": "triplet"},
            "rows.csv:2: the row has no negative, which the loss triplet needs",
        ),
        (
            {"negative": "x"},
            {"loss": "margin_mse"},
            "rows.csv:5: the row has no teacher's scores, which the loss margin_mse needs: one of the right text",
        ),
        (
            {"negative": "x", "score": "9", "negative_score": "6.5"},
            {"loss": "margin_mse"},
            "rows.csv:5: the teacher's scores differ by 2.5, but cosines by 2 at most; set task.normalize to false",
        ),
        (
            {"negative": "x", "negative_score": "many"},
            {},
            'rows.csv:5: the column "negative_score" holds "many"; expected a number, one for each text in negative',
        ),
        (
            {"negative": "x", "negative_score": "1", "negative_2": "y"},
            {},
            "rows.csv:5: 2 negatives, but 1 have a score; give every negative one, or none",
        ),
        ({}, {"negatives": ["hard"]}, 'rows.csv:2: there is no column "hard"'),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, change, options, sentence):
    rows = pairs()
    rows[3].update(change)
    # Only the training file's own rows, in their order.
    data = {**PAIR, "validation": str(tmp_path / "more.csv")}
    (tmp_path / "more.csv").write_text("q,a,score,negative,negative_score\ngood,bad,1,x,0\n")
    with pytest.raises(UserError) as raised:
        read(tmp_path, rows, task=options, **data)
    assert sentence in str(raised.value).replace(f"{tmp_path}/", "")


def test_bad_lists_in_json_lines(tmp_path):
    for cell, scores, sentence in (
        (
            [1, 2],
            None,
            'rows.jsonl:1: the column "negative" holds [1, 2]; expected a text, or a list of texts',
        ),
        (
            ["x", "y"],
            [1],
            'rows.jsonl:1: the column "negative_score" holds "[1]"; expected a list of 2 numbers, one',
        ),
    ):
        rows = [
            {"q": "a", "a": "b", "negative": cell, **({} if scores is None else {"negative_score": scores})}
        ]
        folder = tmp_path / str(len(cell)) / str(scores)
        folder.mkdir(parents=True)
        with pytest.raises(UserError) as raised:
            read(folder, rows, "rows.jsonl", **PAIR)
        assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("options", "data", "sentence"),
    [
        ({}, {}, "data.text_pair and data.label are null, but similarity needs one of them"),
        (
            {"loss": "triplet"},
            {"label": "q"},
            "data.text_pair is null, but the loss triplet compares two texts",
        ),
        (
            {"dimensions": [4, 8]},
            PAIR,
            "task.dimensions: found [4, 8]; must be whole numbers above 0 in descending order",
        ),
        (
            {"dimensions": [4, 4]},
            PAIR,
            "task.dimensions: found [4, 4]; must be whole numbers above 0 in descending order",
        ),
        (
            {"dimensions": [4, 0]},
            PAIR,
            "task.dimensions: found [4, 0]; must be whole numbers above 0 in descending order",
        ),
        ({"temperature": 0.0}, PAIR, "task.temperature"),
        ({"temperature": "warm"}, PAIR, "task.temperature"),
        (
            {"score_range": [5.0, 0.0]},
            PAIR,
            "task.score_range: found [5.0, 0.0]; must be the lowest and the highest score",
        ),
        (
            {"loss": "triplet", "symmetric": True},
            PAIR,
            "symmetric is true, which only the loss infonce reads",
        ),
        (
            {"loss": "cosent", "temperature": "learnt"},
            PAIR,
            "temperature is learnt, which only the loss infonce",
        ),
        ({"loss": "contrastive"}, PAIR, "task.loss"),
    ],
)
def test_options_that_cannot_be_used(tmp_path, options, data, sentence):
    with pytest.raises(UserError) as raised:
        config.resolve(settings(tmp_path, pairs(), task=options, **data), RunConfig, source="run.yaml")
    assert sentence in str(raised.value)


def test_options_that_the_rows_rule_out(tmp_path):
    for number, (rows, data, options, sentence) in enumerate(
        [
            (pairs(score="1"), PAIR, {"symmetric": True}, "symmetric is true, .* but the loss is cosent because the rows"),
            (
                [{"text": f"good {row}", "topic": "a"} for row in range(10)],
                {"label": "topic"},
                {},
                "all training rows have the same label",
            ),
            (
                [{"text": f"good {row}", "topic": "ab"[row % 2]} for row in range(10)],
                {"label": "topic"},
                {"symmetric": True},
                "task.symmetric is for pairs, but the rows are texts with a class",
            ),
            ([{"text": "a", "topic": "x", "negative": "y"}] * 9, {"label": "topic"}, {}, "rows.csv:2: the row has a negative, but no second text"),
            ([{"text": "a", "topic": "x"}, {"text": "b", "topic": ""}] * 5, {"label": "topic"}, {}, "rows.csv:3: the row has no label"),
        ]
    ):  # fmt: skip
        (folder := tmp_path / str(number)).mkdir()
        with pytest.raises(UserError, match=sentence):
            read(folder, rows, task=options, **data)


@pytest.mark.parametrize(
    ("task", "training", "sentence"),
    [
        (
            {"dimensions": [20, 4]},
            {},
            "task.dimensions begins with 20, but the encoder's vectors have 16 numbers",
        ),
        ({"pooling": "pooler"}, {}, "task.pooling is pooler, but the checkpoint has no pooler"),
        (
            {},
            {"batch_size": 1},
            "training.batch_size is 1, but the loss of the task similarity compares each row with",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, task, training, sentence):
    given = settings(tmp_path, pairs(), task=task, **PAIR)
    given["training"].update(training)
    (tmp_path / "checkpoint" / "model.safetensors").unlink()
    (tmp_path / "checkpoint").rename(tmp_path / "old")
    tiny.write_checkpoint(tmp_path / "checkpoint", pooler=False)
    for start in (plan, train):
        with pytest.raises(UserError, match=sentence):
            start(given)
    assert not (tmp_path / "run").exists()


def test_a_row_loss_takes_batches_of_one(tmp_path):
    task = SimilarityOptions(loss="cosine").fit([Example("a", "b", "1")])
    assert not task.batch_loss
    assert SimilarityOptions().fit([Example("a", "b", "1")]).batch_loss  # CoSENT compares rows


def test_which_texts_of_a_batch_are_negatives():
    rows = [
        Example("a", "b", group="g", further_texts={"negative_1": "D"}),
        Example("c", "d", further_texts={"negative_1": "b", "negative_2": "x"}),
        Example("e", "f", group="g"),
        Example("A ", "h"),
    ]
    task = SimilarityOptions().fit(rows)
    targets = {name: tf.constant(array) for name, array in task.targets(rows).items()}
    found = negatives_in_batch({**targets, "example_mask": tf.constant([True, True, True, True])})
    assert found["is_negative"].numpy().astype(int).tolist() == [
        [0, 1, 0, 0],
        [1, 0, 1, 1],
        [0, 1, 0, 1],
        [0, 1, 1, 0],
    ]
    given = found["negative_is_negative"].numpy().astype(int)
    assert given[0].tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]  # not "b", its own second text
    assert given[1].tolist() == [[0, 0], [1, 1], [0, 0], [0, 0]]  # not "D"
    found = negatives_in_batch({**targets, "example_mask": tf.constant([True, False, True, True])})
    assert not found["is_negative"].numpy()[:, 1].any()
    assert not found["negative_is_negative"].numpy()[:, 1].any()


def test_predictions_of_one_text_and_of_two():
    given = {"embedding": tf.constant([[3.0, 4.0], [0.0, 0.0]])}
    both = {**given, "text_pair/embedding": tf.constant([[4.0, 3.0], [1.0, 0.0]])}
    task = SimilarityOptions().fit([Example("a", "b")])
    np.testing.assert_allclose(task.predictions(given, {})["embedding"], [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert set(task.predictions(both, {})) == {"score"}
    np.testing.assert_allclose(task.predictions(both, {})["score"], [0.96, 0], rtol=1e-6)
    raw = SimilarityOptions(normalize=False).fit([Example("a", "b")])
    np.testing.assert_allclose(raw.predictions(given, {})["embedding"], given["embedding"])
    np.testing.assert_allclose(raw.predictions(both, {})["score"], [0.96, 0], rtol=1e-6)
    assert set(task.scored_predictions(both, {})) == {"embedding", "text_pair/embedding"}
    scored = SimilarityOptions().fit([Example("a", "b", "1")])
    assert set(scored.scored_predictions(both, {})) == {"score"}


def test_a_run_is_written_in_the_layout_of_sentence_transformers(shared, tmp_path):
    """And read back: the same vectors, with the prompts and the maximum length of the run."""
    run = kit.trained(shared, kit.sample(kit.SAMPLES / "similarity.yaml")).run
    texts = ["good film", "", "x " * 40, "the food is very bad"]
    want = run.predict(run.model(), texts)["embedding"]
    assert want.shape == (4, 12)
    model = load(run.path)
    np.testing.assert_allclose(model.embed(texts), want, atol=1e-5)
    np.testing.assert_allclose(model.embed(texts, prompt="query"), want, atol=1e-5)
    documents = model.embed(texts, prompt="document")
    scores = run.predict(run.model(), texts, texts)["score"]
    np.testing.assert_allclose(scores, np.sum(want * documents, -1), atol=1e-5)
    assert (scores < 0.9999).any()
    for wrong, sentence in (("answer", "prompt is 'answer'"), ("querry", "did you mean")):
        with pytest.raises(UserError, match=sentence):
            model.embed(texts, prompt=wrong)
    with pytest.raises(UserError, match="only a model of the task similarity has prompts"):
        model.embed(texts, prompt="query", pooling="mean")

    done = convert(run.path, tmp_path / "out", to="huggingface")
    assert any("truncate_dim=12" in note for note in done.notes)
    assert convert(run.path, tmp_path / "out", to="huggingface").reused
    settings = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text())
    assert settings["prompts"] == {"query": "the ", "document": "a "}
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == [
        "Transformer",
        "Pooling",
        "Normalize",
    ]
    again = open_run(tmp_path / "out", ["task.dimensions=[12]"])
    assert again.config.text.max_length == run.config.text.max_length
    np.testing.assert_allclose(again.predict(again.model(), texts)["embedding"], want, atol=1e-5)


def test_prompts_are_part_of_what_tokens_were_made_from(shared):
    run = kit.trained(shared, kit.sample(kit.SAMPLES / "similarity.yaml")).run
    examples = list(run.examples("train"))
    cache = run.token_cache("train", examples)
    assert list(cache.sequences) == ["text", "text_pair", "negative_1", "negative_2"]
    row = next(row for row, example in enumerate(examples) if "food is" in example.text)
    batch = cache.batch(np.array([row]))
    firsts = {name: run.vocabulary[own["input_ids"][0, 1]] for name, own in by_text(batch).items()}
    assert firsts == {"text": "the", "text_pair": "a", "negative_1": "a", "negative_2": "a"}
    assert run.note_on_texts(["good"]) is None


class Stopped(Exception):
    """The batches of a training are known."""


def test_a_training_draws_rows_of_a_class_together_and_without_regard_to_length(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    rows = [
        {"text": "good " * int(random.integers(1, 14)), "topic": f"topic {row // 2}", "weight": row}
        for row in range(64)
    ]
    given = settings(tmp_path, rows, label="topic", validation=str(tmp_path / "rows.csv"))
    given["training"]["batch_size"] = 8
    seen = []

    def stop(batching, *_):
        seen.append(batching)
        raise Stopped

    monkeypatch.setattr(Batching, "groups", stop)
    with pytest.raises(Stopped):
        train(given)
    (batching,) = seen
    given_seed = batching.options.seed
    batches = list(batching.order(0))
    assert all(sorted(batch // 2) == sorted([*{*(batch // 2)}] * 2) for batch in batches)
    split = batching.split
    partners = split.targets["label_key"]
    drawn = epoch_batches(split.cache.lengths, 8, bucket_window=1, seed=given_seed, partners=partners)
    assert [sorted(batch) for batch in batches] == [sorted(batch) for batch in drawn]
    cosine = SimilarityOptions(loss="cosine").fit([Example("a", "b", "1")])
    assert window_of(cosine, given_options := TrainingOptions(bucket_window=32)) == 32
    assert window_of(SimilarityOptions().fit([Example("a", "b")]), given_options) == 1
