"""Names of activations: what transformers computes by each, or a refusal."""

from __future__ import annotations

import ast
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from tfpipeline.checkpoints.activations import activation_of
from tfpipeline.errors import UserError
from tfpipeline.models.layers import ACTIVATION_FUNCTIONS as FUNCTIONS

PATH = Path("config.json")
X = np.linspace(-12, 12, 961)


def erf(x):
    return np.array([math.erf(value) for value in x])


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# By hand, from the classes in transformers/activations.py.
MEANINGS = {
    "gelu": lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))),
    "gelu_python": lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))),
    "gelu_new": tanh_gelu,
    "gelu_fast": lambda x: 0.5 * x * (1 + np.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))),
    "gelu_accurate": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "gelu_python_tanh": tanh_gelu,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def names_of_transformers():
    """The keys of ACT2CLS, from the source: importing it takes PyTorch."""
    spec = importlib.util.find_spec("transformers")
    tree = ast.parse((Path(spec.origin).parent / "activations.py").read_text("utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "ACT2CLS"
    )
    return [key.value for key in table.keys]


@pytest.mark.parametrize("name", names_of_transformers())
def test_each_name_is_its_function_or_refused(name):
    if name not in MEANINGS:
        with pytest.raises(UserError, match="which is not supported; supported are gelu, gelu_accurate,"):
            activation_of(name, {"gelu": "gelu_erf"}, PATH)
        return
    function = FUNCTIONS[activation_of(name, {"gelu": "gelu_erf"}, PATH)]
    np.testing.assert_allclose(np.asarray(function(X, False)), MEANINGS[name](X), rtol=0, atol=1e-9)


def test_the_two_gelus_are_apart():
    assert np.abs(MEANINGS["gelu"](X) - MEANINGS["gelu_new"](X)).max() > 1e-4


@pytest.mark.parametrize(
    ("word", "hint"),
    [("gelu_fats", 'did you mean "gelu_fast"?'), ("quick_gelu", "supported are "), (None, "supported are ")],
)
def test_what_is_suggested(word, hint):
    with pytest.raises(UserError) as caught:
        activation_of(word, {"gelu": "gelu_erf"}, PATH)
    said = "null" if word is None else f'"{word}"'
    assert str(caught.value).startswith(f"config.json: hidden_act is {said}, which is not supported; {hint}")
