"""What is said of options that cannot be used."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import pytest

from tests import tiny
from tests.models import adapted
from tfpipeline import checkpoints
from tfpipeline.errors import UserError
from tfpipeline.models import peft
from tfpipeline.models.architectures import Part

ZERO = "must be a number other than 0: with 0 the method changes nothing"
NO_STEPS = "is neither a whole number of steps nor a share below 1"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options") / "checkpoint"
    return adapted.model(checkpoints.load(tiny.write_checkpoint(folder, num_hidden_layers=1))).encoder


def refusal(encoder, method, **options):
    """What is said; nothing is attached."""
    with pytest.raises(UserError) as caught:
        peft.attach(encoder, {"method": method, **options})
    assert encoder.adaptation is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("lora", {"alpha": 0}, f"alpha: found 0; {ZERO}"),
        ("lora", {"alphas": {"query": 0}}, "alphas: the alpha of query is 0, but it must be a number other than 0"),
        ("lora", {"ranks": {"query": 0}}, "ranks: the rank of query is 0, but a rank is at least 1"),
        ("lora", {"rank": 0}, "rank: found 0, expected greater than or equal to 1"),
        ("lora", {"dropout": 1}, "dropout: found 1, expected less than 1"),
        ("lora", {"rnak": 3}, 'rnak: unknown field; did you mean "rank"?'),
        (
            "lora",
            {"projections": ["re:("]},
            'projections: found ["re:("]; "re:(" is no regular expression: missing ), unterminated subpattern at position 0',
        ),
        (
            "adalora",
            {"initial_rank": 4, "target_rank": 5},
            "the file: initial_rank is 4, but target_rank is 5; ranks only shrink, so choose an initial_rank of at least 5",
        ),
        ("adalora", {"alpha": 0}, f"alpha: found 0; {ZERO}"),
        ("adalora", {"warmup": 1.5}, f"warmup: found 1.5; {NO_STEPS}"),
        ("adalora", {"final": 2.5}, f"final: found 2.5; {NO_STEPS}"),
        ("adapters", {"scale": 2}, "scale: found 2; is for the placement parallel, but placement is houlsby; remove it"),
        ("adapters", {"placement": "parallel", "scale": 0}, f"scale: found 0; {ZERO}"),
        (
            "adapters",
            {"placement": "houlsbi"},
            """placement: found "houlsbi", expected 'houlsby', 'pfeiffer' or 'parallel'; did you mean "houlsby"?""",
        ),
        ("prefix", {"length": 0}, "length: found 0, expected greater than or equal to 1"),
    ],
)  # fmt: skip
def test_an_option_is_wrong_by_itself(encoder, method, options, expected):
    assert refusal(encoder, method, **options) == f"peft has 1 error; correct:\n  {expected}"


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        (
            "lora",
            {"rank": 17},
            "peft: the rank of layer_0/attention/query is 17, but its matrix is 16 x 16; choose at most 16",
        ),
        (
            "lora",
            {"projections": ["query", "inner"], "ranks": {"inner": 18}},
            "peft: the rank of layer_0/feed_forward/inner is 18, but its matrix is 16 x 32; choose at most 16",
        ),
        (
            "adalora",
            {"initial_rank": 17},
            "peft: the rank of layer_0/attention/query is 17, but its matrix is 16 x 16; choose at most 16",
        ),
        (
            "lora",
            {"projections": ["querry"]},
            'peft.projections: "querry" matches no projection of the encoder; did you mean "query"?',
        ),
        (
            "adalora",
            {"projections": ["attention/valeu"]},
            'peft.projections: "attention/valeu" matches no projection of the encoder; did you mean "attention/value"?',
        ),
        (
            "lora",
            {"projections": ["re:pooler.*"]},
            'peft.projections: "re:pooler.*" matches no projection of the encoder; the first is called layer_0/attention/query',
        ),
        (
            "lora",
            {"ranks": {"key": 2}},
            'peft.ranks: "key" matches no adapted projection of the encoder; known: query, value, all',
        ),
        (
            "lora",
            {"alphas": {"layer_1/attention/query": 2}},
            'peft.alphas: "layer_1/attention/query" matches no adapted projection of the encoder; did you mean "attention/query"?',
        ),
        (
            "ia3",
            {"inputs": ["outher"]},
            'peft.inputs: "outher" matches no projection of the encoder; did you mean "outer"?',
        ),
        (
            "ia3",
            {"projections": [], "inputs": []},
            "peft: projections and inputs are both empty, so nothing is trained; name one",
        ),
        (
            "bitfit",
            {"biases": ["pooler"]},
            'peft.biases: "pooler" matches no bias of the encoder; known: norm, qkv, output, attention_norm, inner, outer, '
            "output_norm, all",
        ),
    ],
)  # fmt: skip
def test_an_option_does_not_fit_the_encoder(encoder, method, options, expected):
    before = [variable.path for variable in encoder.variables]
    assert refusal(encoder, method, **options) == expected
    assert [variable.path for variable in encoder.variables] == before


def test_methods_are_named(encoder):
    assert refusal(encoder, "lroa") == 'unknown method "lroa"; did you mean "lora"?'
    with pytest.raises(UserError) as caught:
        peft.attach(encoder, {"rank": 8})
    known = ", ".join(peft.names())
    assert str(caught.value) == f"peft: method is missing; choose one of {known}"


@pytest.mark.parametrize("method", ["adapters", "prefix"])
def test_blocks_of_another_class_are_refused(method):
    config = SimpleNamespace(architecture="our.encoder")
    other = SimpleNamespace(
        config=config, adaptation=None, parts=lambda: [Part(keras.layers.Dense(3), "block")]
    )
    assert refusal(other, method) == (
        "the blocks of the architecture our.encoder are not of the class EncoderBlock, which peft.method "
        f"{method} needs; use bitfit"
    )


@pytest.mark.parametrize("method", ["lora", "adalora", "ia3"])
def test_encoders_without_named_projections_are_refused(method):
    other = SimpleNamespace(config=SimpleNamespace(architecture="our.encoder"), adaptation=None)
    assert refusal(other, method) == (
        "the architecture our.encoder has no method projections, which peft.method "
        f"{method} needs; use bitfit"
    )
