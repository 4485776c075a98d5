"""The BERT whose weights carry out forward chaining."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.numpy_bert import encode
from tfpipeline import UserError, checkpoints
from tfpipeline.reasoning import construct, samplers, templates
from tfpipeline.reasoning.generating import Generator
from tfpipeline.text import build_tokenizer

STYLE = templates.find(construct.STYLE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(construct.write(tmp_path_factory.mktemp("constructed") / "model", depth=4))


def inputs_of(checkpoint, problems):
    tokenizer = build_tokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
    texts, queries = map(STYLE.theory, problems), map(STYLE.question, problems)
    return tokenizer(list(texts), list(queries), max_length=512)


def logits_of(checkpoint, pooled):
    heads = checkpoint.heads
    return np.asarray(pooled) @ heads["sequence_classifier/kernel"] + heads["sequence_classifier/bias"]


def drawn(name, count, **options):
    usual = {"seed": 9, "depths": (0, 4), "predicates": (5, 14), "names": STYLE.names}
    return Generator(name, **{**usual, **options}).block(0, count)


@pytest.mark.parametrize("name", samplers.names())
def test_every_answer_is_right_with_a_wide_margin(checkpoint, name):
    problems = drawn(name, 50)
    logits = logits_of(checkpoint, checkpoint.encoder()(inputs_of(checkpoint, problems))["pooled_output"])
    margins = (logits[:, 1] - logits[:, 0]) * np.where([problem.label for problem in problems], 1, -1)
    assert margins.min() > 9.9  # of 9.993 without rounding: 10 tanh(4)


def test_any_bert_with_these_weights_answers_so(checkpoint):
    problems = drawn("rule_priority", 4, depths=(0, 1), predicates=(4, 4))
    inputs = {name: np.asarray(value) for name, value in inputs_of(checkpoint, problems).items()}
    _, pooled = encode(checkpoint.config, checkpoint.tensors, **inputs)
    logits = logits_of(checkpoint, pooled)
    assert [bool(answer) for answer in logits.argmax(1)] == [problem.label for problem in problems]
    assert np.abs(logits[:, 0]).min() > 4.99


def test_the_depth_of_the_model_is_the_limit(tmp_path):
    shallow = checkpoints.load(construct.write(tmp_path / "model", depth=2))
    assert shallow.config.num_hidden_layers == 4
    problems = [problem for problem in drawn("label_priority", 70) if problem.label]
    logits = logits_of(shallow, shallow.encoder()(inputs_of(shallow, problems))["pooled_output"])
    found = {problem.depth: set() for problem in problems}
    for problem, answer in zip(problems, logits.argmax(1)):
        found[problem.depth].add(bool(answer))
    assert found == {depth: {depth <= 2} for depth in range(5)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_model_that_is_served_answers_so(checkpoint, precision):
    problems = drawn("random_clauses", 28)
    form = checkpoint.encoder().serving_form(precision)
    logits = logits_of(checkpoint, form(inputs_of(checkpoint, problems))["pooled_output"])
    assert [bool(answer) for answer in logits.argmax(1)] == [problem.label for problem in problems]


def test_layer_normalisation_changes_nothing(checkpoint):
    """The constant coordinates keep their value through all layers, and the mean stays 0."""
    problems = drawn("rule_priority", 7, predicates=(5, 8), depths=(0, 2))
    where = construct.places(30)
    inputs = inputs_of(checkpoint, problems)
    real = np.asarray(inputs["attention_mask"]) == 1
    for states in checkpoint.encoder().hidden_states(inputs):
        states = np.asarray(states)[real]
        np.testing.assert_allclose(states[:, where.one("plus")], 1024, rtol=1e-3)
        np.testing.assert_allclose(states.mean(-1), 0, atol=1e-4)


def test_what_cannot_be_constructed():
    for options, message in (
        ({"predicates": 31}, "31 predicates are wanted; it can be 2 to 30"),
        ({"depth": -1}, "a depth of -1 is wanted; it is at least 0"),
    ):
        with pytest.raises(UserError) as caught:
            construct.construct(**options)
        assert str(caught.value) == message
