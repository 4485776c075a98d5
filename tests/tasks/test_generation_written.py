"""Texts that a small trained model writes: from the run, its export, and the command line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfpipeline as package
from tests.models.toy_decoding import reference
from tests.tasks import kit
from tfpipeline import prediction
from tfpipeline.errors import UserError
from tfpipeline.export import card
from tfpipeline.models.decoding import Choices
from tfpipeline.models.decoding.sampling import noise
from tfpipeline.predictors import RunPredictor, open_local
from tfpipeline.serving.client import Generation, predictions
from tfpipeline.training import open_run

SOURCES = [
    "the food was good",
    "a very bad film",
    "the table",
    "so poor , the food and the film was bad",
    "x",
]
CHOSEN = {
    "default": {},
    "greedy": {"num_beams": 1},
    "long": {"num_beams": 2, "length_penalty": 2.0, "min_new_tokens": 3},
    "new": {"no_repeat_ngram_size": 1, "min_new_tokens": 4},
    "drawn": {"do_sample": True, "seed": 5},
    "likely": {"do_sample": True, "seed": 6, "top_k": 5, "top_p": 0.9, "temperature": 1.5, "repetition_penalty": 2.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(shared):
    return kit.trained(shared, kit.sample(kit.SAMPLES / "generation.yaml"))


@pytest.fixture(scope="module")
def exported(trained):
    with open_local(trained.exported, "generate") as predictor:
        yield predictor


@pytest.fixture(scope="module")
def run(trained):
    with open_local(trained.run.path, "generate") as predictor:
        yield predictor


def same(found, wanted):
    assert [[one.text for one in answer.candidates] for answer in found] == [
        [one.text for one in answer.candidates] for answer in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(
            [candidate.score for candidate in one.candidates],
            [candidate.score for candidate in other.candidates],
            atol=2e-5,
        )


def whole_rows(trained, source):
    """The logits of the token behind any prefix, from all tokens at once, without a cache."""
    run, model = trained.run, trained.run.model()
    ids = run.encode([source], None, run.config.text.max_length)["input_ids"][0].tolist()
    mask = run.vocabulary.index("[MASK]")

    @dataclasses.dataclass
    class Logits:
        known: dict

        def __call__(self, prefix):
            if prefix not in self.known:
                row = [*ids, *prefix, mask]
                types = [int(place >= len(ids)) for place in range(len(row))]
                inputs = {
                    "input_ids": row,
                    "token_type_ids": types,
                    "attention_mask": [1] * len(row),
                    "causal_mask": types,
                }
                outputs = model(
                    {name: tf.constant([values]) for name, values in inputs.items()}, training=False
                )
                self.known[prefix] = outputs["logits"][0, 0].numpy()
            return self.known[prefix]

    return Logits({})


def test_texts_are_those_of_a_slow_search_without_a_cache(trained, exported):
    """The whole way: masks, positions, cache, choices, export and detokenisation."""
    decoder = trained.run.task._tokens.decoder
    vocabulary, rules = trained.run.vocabulary, dataclasses.asdict(decoder._rules)
    asked = [(source, chosen) for source in SOURCES[:3] for chosen in CHOSEN.values()]
    logits = {source: whole_rows(trained, source) for source in SOURCES[:3]}
    columns = {
        name: [chosen.get(name) for _, chosen in asked]
        for name in {name for one in CHOSEN.values() for name in one}
    }
    found = exported.generate([source for source, _ in asked], **columns)
    for (source, chosen), answer in zip(asked, found, strict=True):
        own = {**dataclasses.asdict(Choices()), **decoder.defaults, **chosen}
        seeds = tf.constant([own["seed"]])
        random = [noise(seeds, step, 2, len(vocabulary))[0].numpy() for step in range(own["max_new_tokens"])]
        wanted = reference(logits[source], rules, own, random.__getitem__)
        texts = [" ".join(vocabulary[token] for token in tokens).replace(" ##", "") for _, tokens in wanted]
        written = [candidate.text for candidate in answer.candidates]
        assert [text.replace(" ", "") for text in written] == [text.replace(" ", "") for text in texts], (
            chosen
        )
        np.testing.assert_allclose(
            [candidate.score for candidate in answer.candidates], [score for score, _ in wanted], atol=1e-4
        )


def test_a_run_and_its_export_write_the_same(run, exported):
    for chosen in ({}, {"do_sample": [True, False, None, True, False], "seed": [1, 2, 3, 4, 5]}):
        same(run.generate(SOURCES, **chosen), exported.generate(SOURCES, **chosen))
    assert run.predict(SOURCES[:2]) == run.generate(SOURCES[:2])
    assert exported.predict(SOURCES[:2]) == exported.generate(SOURCES[:2])


def test_the_first_candidate_is_the_prediction(exported):
    outputs = exported._model.signatures["serving_default"](text=tf.constant(SOURCES))
    answers = predictions.decode({name: tensor.numpy() for name, tensor in outputs.items()})
    assert {type(answer) for answer in answers} == {Generation}
    candidates = exported.generate(SOURCES)
    assert [answer.text for answer in answers] == [answer.text for answer in candidates]
    np.testing.assert_allclose([one.score for one in answers], [one.score for one in candidates], atol=1e-5)


def test_seeds_repeat_texts_in_any_batch(exported):
    drawn = {"do_sample": True, "temperature": 3.0}
    together = exported.generate(SOURCES, **drawn, seed=[1, 2, 3, 4, 5])
    for number, source in enumerate(SOURCES):
        same(exported.generate([source], **drawn, seed=number + 1), together[number : number + 1])
    assert len({exported.generate(SOURCES[:1], **drawn, seed=seed)[0].text for seed in range(8)}) > 3


def test_a_dialogue_is_one_text(exported):
    turns = [["the food was good", "a very bad film"]]
    same(exported.generate(turns), exported.generate(["the food was good [SEP] a very bad film"]))


def test_a_run_can_be_used_with_other_options_of_decoding(trained):
    path, one = trained.run.path, "task.decoding.num_beams=3"
    other = open_run(path, [one, "task.decoding.num_return_sequences=3", "task.decoding.banned_words=[food]"])
    assert other.reports is None  # its scores are not the run's
    assert trained.run.config.task.decoding.num_beams == 2
    with RunPredictor(other, signature="generate") as predictor:
        texts = [text.text for answer in predictor.generate(SOURCES[:2]) for text in answer.candidates]
    assert len(texts) == 6
    assert not any("food" in text for text in texts)
    with pytest.raises(UserError, match=r"is for checkpoints; of a run, it can change task\.decoding"):
        open_run(path, [one, "task.max_target_length=9"])
    with pytest.raises(UserError, match="max_new_tokens is 9, but max_target_length is 4"):
        open_run(path, ["task.decoding.max_new_tokens=9"]).task  # noqa: B018


def test_the_card_has_the_defaults(trained):
    facts = card.read(trained.exported)
    assert facts["decoding"]["num_beams"] == 2
    assert facts["decoding"]["max_new_tokens"] == 4
    assert "| num&#95;beams | 2 |" in (trained.exported / "assets.extra" / "model_card.md").read_text()


@pytest.mark.parametrize("which", ["run", "exported"])
@pytest.mark.parametrize(
    ("choices", "says"),
    [
        (
            {"num_beams": 3},
            "the model cannot write this: num_beams must be at most 2 (or -1 for the default), got 3",
        ),
        ({"temperature": 0.0}, "temperature must be at least 0.001 (or -1 for the default), got 0"),
        ({"max_new_tokens": 5}, "max_new_tokens must be at most 4 (or -1 for the default), got 5"),
    ],
)
def test_choices_out_of_range_are_one_sentence(request, which, choices, says):
    with pytest.raises(UserError) as caught:
        request.getfixturevalue(which).generate(["a"], **choices)
    assert says in str(caught.value)


def test_predict_chooses_too(trained, exported, monkeypatch):
    asked = []
    monkeypatch.setattr(prediction, "open_any", lambda *given: asked.append(given) or exported)
    choices = {"num_beams": 1, "do_sample": True, "seed": 4, "temperature": 0.5}
    wanted = exported.generate(SOURCES[:2], **choices)
    same(package.predict(trained.exported, SOURCES[:2], choices=choices, batch_size=1), wanted)
    assert asked == [(trained.exported, None, "generate", {})]
    with pytest.raises(UserError, match='seed is a choice of the signature "generate", not of "input_ids"'):
        package.predict(trained.exported, "a", signature="input_ids", choices={"seed": 1})
