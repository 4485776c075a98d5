from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig

GOOD = {
    "vocab_size": 30,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "hidden_act": "gelu_erf",
    "layer_norm_eps": 1e-12,
}


def test_round_trip_through_json():
    config = BertConfig(**{**GOOD, "hidden_dropout_prob": 0.0, "pooler": False})
    assert BertConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.head_size == 4


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vocab_size", 0, "vocab_size is 0; it must be a whole number of at least 1"),
        ("num_hidden_layers", 2.0, "num_hidden_layers is 2.0; it must be a whole number of at least 1"),
        ("intermediate_size", True, "intermediate_size is True; it must be a whole number of at least 1"),
        ("max_position_embeddings", None, "max_position_embeddings is None; it must be a whole number"),
        (
            "num_attention_heads",
            5,
            "hidden_size is 12, which num_attention_heads (5) does not divide; one of them is wrong",
        ),
        ("hidden_act", "gelu_erv", 'hidden_act is "gelu_erv"; did you mean "gelu_erf"?'),
        ("hidden_act", "mish", 'hidden_act is "mish"; known: gelu_erf, gelu_tanh, relu, silu, tanh'),
        ("layer_norm_eps", 0, "layer_norm_eps is 0; it must be above 0 and below 1"),
        ("layer_norm_eps", "1e-12", "layer_norm_eps is '1e-12'; it must be above 0 and below 1"),
        ("layer_norm_eps", float("nan"), "layer_norm_eps is nan; it must be above 0 and below 1"),
        ("initializer_range", -1, "initializer_range is -1; it must be above 0 and below 1"),
        ("hidden_dropout_prob", 1, "hidden_dropout_prob is 1; it must be at least 0 and below 1"),
        ("attention_probs_dropout_prob", False, "attention_probs_dropout_prob is False; it must be at least"),
        ("pooler", "yes", "pooler is 'yes'; it must be true or false"),
    ],
)
def test_impossible_values(field, value, message):
    with pytest.raises(UserError) as caught:
        BertConfig(**{**GOOD, field: value})
    assert str(caught.value).startswith(message)


def test_unknown_and_missing_fields():
    with pytest.raises(UserError, match=r'unknown field "hiden_size" .*did you mean "hidden_size"'):
        BertConfig.from_dict({**GOOD, "hiden_size": 3})
    with pytest.raises(UserError, match='no "hidden_act"; add it'):
        BertConfig.from_dict({name: value for name, value in GOOD.items() if name != "hidden_act"})


def test_what_changes_a_number_has_no_default():
    for name in GOOD:
        with pytest.raises(TypeError, match=name):
            BertConfig(**{field: value for field, value in GOOD.items() if field != name})


def test_imports_no_framework():
    code = (
        "import sys; from tfpipeline.models import BertConfig; "
        "print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
