"""Explanations against values by hand, their properties, and their way through an export."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.training.separate_task import SeparateNegatives
from tfpipeline.errors import UserError
from tfpipeline.export import ServingModule, card, checks, explanations, export_run
from tfpipeline.export.explanations import Explanations
from tfpipeline.models.inputs import WORD_WEIGHTS
from tfpipeline.serving.client import predictions
from tfpipeline.tasks.classification import Classification, ClassificationOptions
from tfpipeline.text import Truncation, WordPieceTokenizer
from tfpipeline.training import open_run
from tfpipeline.training.prediction_graph import PredictionGraph, TextInputs

LABELS = ("no", "yes")
# What each token adds to the logit of "yes"; that of "no" is the negative.
VALUES = {token: number * 0.25 - 2 for number, token in enumerate(tiny.VOCABULARY)}


class Powers:
    """A model whose logit is a power of the sum of its tokens' values, each times its weight."""

    def __init__(self, power=1):
        self.power, self.rows = power, []
        self.encoder = SimpleNamespace(config=SimpleNamespace(reads_word_weights=True, architecture="sum"))

    def __call__(self, inputs, training):
        values = tf.gather(tf.constant(list(VALUES.values())), inputs["input_ids"])
        real = tf.cast(inputs["attention_mask"], tf.float32)
        self.rows.append(inputs["input_ids"].shape[0])
        total = tf.reduce_sum(values * real * inputs[WORD_WEIGHTS], axis=1) ** self.power
        return {"logits": tf.stack([-total, total], axis=1)}


def explainer(model, *, pair=False, max_length=16, **options):
    inputs = TextInputs(
        WordPieceTokenizer(tiny.VOCABULARY), Truncation(max_length=max_length), pair=pair, offsets=False
    )
    task = Classification(ClassificationOptions(labels=list(LABELS)), LABELS)
    return Explanations(PredictionGraph(model, task, inputs), **options)


def explained(explainer, texts, labels=None, **more):
    asked = {"text": texts, **more, "label": labels or [""] * len(texts)}
    answers = explainer({name: tf.constant(values) for name, values in asked.items()})
    return predictions.decode({name: tensor.numpy() for name, tensor in answers.items()}, len(texts))


def test_a_linear_models_scores_are_weight_times_difference():
    """Pieces are added up to words, special tokens get none of it, and the rule is exact to the bit's
    neighbourhood."""
    found = explained(explainer(Powers()), ["Goodly film, very bad", "x"], ["yes", "no"])
    words = [(word.word, word.start, word.end, word.source) for word in found[0].words]
    assert words == [
        ("Goodly", 0, 6, "text"),
        ("film", 7, 11, "text"),
        (",", 11, 12, "text"),
        ("very", 13, 17, "text"),
        ("bad", 18, 21, "text"),
    ]
    want = [VALUES["good"] + VALUES["##ly"], *(VALUES[token] for token in ("film", ",", "very", "bad"))]
    np.testing.assert_allclose([word.score for word in found[0].words], want, rtol=1e-6)
    special = VALUES["[CLS]"] + VALUES["[SEP]"]
    assert found[0].baseline == pytest.approx(special)
    assert found[0].value == pytest.approx(special + sum(want))
    assert found[1].label == "no"
    np.testing.assert_allclose([word.score for word in found[1].words], [-VALUES["x"]], rtol=1e-6)


@pytest.mark.parametrize("power", [2, 3])
def test_the_path_is_straight_from_no_words_to_all(power):
    """F = (s + sum of a x)^p, s of the special tokens: x_i gets x_i / sum(x) of F(1) - F(0)."""
    tokens = ["good", "very", "bad"]
    (found,) = explained(explainer(Powers(power), steps=64), [" ".join(tokens)], ["yes"])
    x, special = np.array([VALUES[token] for token in tokens]), VALUES["[CLS]"] + VALUES["[SEP]"]
    gain = (special + x.sum()) ** power - special**power
    np.testing.assert_allclose([word.score for word in found.words], x / x.sum() * gain, rtol=1e-3)
    assert abs(found.gap) < 1e-3 * abs(gain)


def test_memory_is_bounded_by_tokens_not_by_the_batch(monkeypatch):
    texts = ["good film", "", "so very bad and poor", "x"] * 3
    want = explained(explainer(Powers(2)), texts)
    monkeypatch.setattr(explanations, "_TOKENS_AT_ONCE", 20)
    model = Powers(2)
    found = explained(explainer(model), texts)
    # Of seven tokens each: two pairs of a text and a node at once; the others are the texts as they are and
    # blanked.
    assert model.rows == [12, 12, *[2] * (12 * 32 // 2)]
    for one, other in zip(found, want, strict=True):
        assert one.label == other.label
        np.testing.assert_allclose([w.score for w in one.words], [w.score for w in other.words], rtol=1e-5)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A fine-tuned checkpoint: what needs no training here."""
    return open_run(
        tiny.write_checkpoint(tmp_path_factory.mktemp("c") / "m", num_hidden_layers=1, **tiny.CLASSIFIER)
    )


TEXTS = ["the food was good", "", "a very bad 😀 film !", "你好 good", "x " * 60, "e\u0301 👨‍👩‍👧 [SEP] door"]


def test_scores_add_up_and_do_not_hang_on_the_company(tuned):
    explain = Explanations(tuned.graph(tuned.model()))
    found = explained(explain, TEXTS)
    for text, one in zip(TEXTS, found, strict=True):
        assert one.label in tiny.LABELS
        assert abs(one.gap) < 1e-3
        assert [word.word for word in one.words] == [text[word.start : word.end] for word in one.words]
        places = [place for word in one.words for place in (word.start, word.end)]
        assert places == sorted(places)
        (alone,) = explained(explain, [text])
        assert alone.label == one.label
        np.testing.assert_allclose([w.score for w in alone.words], [w.score for w in one.words], atol=1e-5)
    assert [len(one.words) for one in found] == [4, 0, 6, 3, 38, 4]
    assert [word.word for word in found[5].words] == ["e\u0301", "👨‍👩‍👧", "[SEP]", "door"]
    assert found[1].words == []
    assert found[1].value == found[1].baseline


def test_the_predicted_label_is_explained_unless_another_one_is_named(tuned):
    model = tuned.model()
    explain = Explanations(tuned.graph(model))
    tokens = tuned.text_inputs({"text": TEXTS[:1]})
    logits = model(tokens)["logits"].numpy()[0]
    (own,) = explained(explain, TEXTS[:1])
    assert own.label == tiny.LABELS[int(logits.argmax())]
    for label, logit in zip(tiny.LABELS, logits, strict=True):
        (other,) = explained(explain, TEXTS[:1], [label])
        assert other.label == label
        assert other.value == pytest.approx(logit, abs=1e-5)
        if label == own.label:
            assert other == own


def test_windows_share_their_tokens(tmp_path):
    """A text of three windows is explained whole."""
    path = tiny.write_checkpoint(tmp_path / "m", num_hidden_layers=1, **tiny.CLASSIFIER)
    run = open_run(path, ["text.max_length=16", "text.long=windows", "text.overlap=4"])
    text = "the good film was a very bad door so the poor table and chair is great . the food was awful !"
    explain = Explanations(run.graph(run.model()))
    (found,) = explained(explain, [text])
    assert len(found.words) == len(text.split())
    assert abs(found.gap) < 1e-3
    assert all(word.score for word in found.words)


def test_words_of_both_texts_of_a_pair():
    found = explained(
        explainer(Powers(), pair=True), ["good film", ""], ["yes", "yes"], text_pair=["bad", "very good"]
    )
    words = [[(word.word, word.start, word.source) for word in one.words] for one in found]
    assert words == [
        [("good", 0, "text"), ("film", 5, "text"), ("bad", 0, "text_pair")],
        [("very", 0, "text_pair"), ("good", 5, "text_pair")],
    ]
    np.testing.assert_allclose(
        [word.score for word in found[0].words], [VALUES["good"], VALUES["film"], VALUES["bad"]], rtol=1e-6
    )


def test_words_of_texts_that_are_encoded_separately():
    """The model reads two sequences; each has weights of its own."""

    class Difference(Powers):
        def __call__(self, inputs, training):
            first = super().__call__(inputs, training)["logits"]
            second = super().__call__(
                {name.removeprefix("text_pair/"): value for name, value in inputs.items() if "/" in name},
                training,
            )["logits"]
            return {"logits": first - 2 * second}

    explain = explainer(Difference(), pair=True)
    inputs = TextInputs(
        WordPieceTokenizer(tiny.VOCABULARY), Truncation(max_length=8), pair=True, offsets=False, separate=True
    )
    explain = Explanations(PredictionGraph(Difference(), explain._graph.task, inputs))
    (found,) = explained(explain, ["good film"], ["yes"], text_pair=["very bad x"])
    assert [(word.word, word.source) for word in found.words] == [
        ("good", "text"),
        ("film", "text"),
        ("very", "text_pair"),
        ("bad", "text_pair"),
        ("x", "text_pair"),
    ]
    want = [VALUES["good"], VALUES["film"], *(-2 * VALUES[token] for token in ("very", "bad", "x"))]
    np.testing.assert_allclose([word.score for word in found.words], want, rtol=1e-6)


def test_what_says_nothing_of_explanations_is_refused():
    with pytest.raises(UserError, match=r"separate_task cannot be explained: its class .* explains = True"):
        explanations.check(
            SeparateNegatives(SimpleNamespace(name="tests.training.separate_task")),
            SimpleNamespace(reads_word_weights=True),
        )
    with pytest.raises(UserError, match="the architecture theirs cannot be explained: its encoder does not"):
        explanations.check(
            SimpleNamespace(explains=True), SimpleNamespace(reads_word_weights=False, architecture="theirs")
        )


def test_an_exported_model_explains(tuned, tmp_path):
    """In a graph of core operations, for texts of any number; the card says how."""
    exported = export_run(tuned, tmp_path / "m", explain=True, explain_steps=8)
    checks.check_operations(exported)
    facts = card.read(exported)["explanations"]
    assert facts["steps"] == 8
    assert "1703.01365" in facts["method"]
    function = tf.saved_model.load(str(exported)).signatures["explain"]
    _, specs = function.structured_input_signature
    assert {name: (spec.shape.rank, spec.dtype) for name, spec in specs.items()} == {
        "text": (1, tf.string),
        "label": (1, tf.string),
    }
    assert all(tensor.shape[1:].is_fully_defined() for tensor in function.structured_outputs.values())
    want = explained(Explanations(tuned.graph(tuned.model()), 8), TEXTS)
    got = function(text=tf.constant(TEXTS), label=tf.constant([""] * len(TEXTS)))
    for one, other in zip(predictions.decode({n: t.numpy() for n, t in got.items()}), want, strict=True):
        assert one.label == other.label
        assert [word.word for word in one.words] == [word.word for word in other.words]
        np.testing.assert_allclose(
            [word.score for word in one.words], [word.score for word in other.words], atol=1e-5
        )
        assert json.dumps(one.to_dict())
    none = function(text=tf.constant([], tf.string), label=tf.constant([], tf.string))
    assert none["scores"].shape == (0, 40)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"label must be .*positive, negative.*; found god, nix\]\n"
    ):
        function(text=tf.constant(["a"] * 4), label=tf.constant(["god", "", "nix", "god"]))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_explanations_read_the_served_weights(tuned, precision):
    """A model that explains has no weight more; its scores add up, and say what the trained model's do."""
    graph = tuned.graph(tuned.model())
    served = graph.for_serving(precision)
    module = ServingModule(served, {"explain": Explanations(graph, 32, served.model).signature()})
    captured = {id(variable) for variable in module.functions["explain"].variables}
    assert captured <= {
        id(variable) for variable in served.model.variables + list(module.tokenizer.variables)
    }
    asked = {"text": tf.constant(TEXTS), "label": tf.constant(["negative"] * len(TEXTS))}
    answers = module.functions["explain"](**asked)
    got = predictions.decode({name: tensor.numpy() for name, tensor in answers.items()}, len(TEXTS))
    want = explained(Explanations(graph, 32), TEXTS, ["negative"] * len(TEXTS))
    for one, other in zip(got, want, strict=True):
        assert abs(one.gap) <= 0.01 * abs(one.value - one.baseline) + 1e-6
        scores, theirs = ([word.score for word in each.words] for each in (one, other))
        np.testing.assert_allclose(scores, theirs, atol=1e-5 if precision == "float32" else 0.02)


def test_steps_are_checked_before_any_work(tmp_path):
    with pytest.raises(UserError, match="explain_steps is 0; it must be from 1 to 1024"):
        export_run(tmp_path / "nowhere", tmp_path / "m", explain=True, explain_steps=0)
