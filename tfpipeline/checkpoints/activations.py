"""The meaning of a configuration's activation: one name can mean several functions, depending on the format.

Source: transformers, ``activations.py`` (``ACT2CLS``); google-research/bert, ``modeling.py``
(``get_activation``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpipeline.errors import UserError, nearest
from tfpipeline.models.config import ACTIVATIONS

# Words that mean the same function in every format: transformers' and our own. "gelu" depends on the format.
_WORDS = {
    **{name: name for name in ACTIVATIONS},
    "gelu_python": "gelu_erf",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "swish": "silu",
}
# Other functions, some with names like those above. They are not typing errors, so nothing is suggested.
_OTHERS = {
    "gelu_10",  # clipped to -10 and 10
    "quick_gelu",  # x * sigmoid(1.702 x)
    "hardswish",
    "laplace",
    "leaky_relu",
    "linear",
    "mish",
    "prelu",
    "relu2",
    "relu6",
    "sigmoid",
    "sqrtsoftplus",
    "xielu",
}


def activation_of(word: Any, theirs: Mapping[str, str], path: Path) -> str:
    """The activation that a configuration names, one of ``models.config.ACTIVATIONS``.

    Args:
        word: the name in the file.
        theirs: names that mean something else, or nothing, in other formats, above all "gelu".
        path: the file, for the error.
    Raises:
        UserError: the activation is not supported.
    """
    words = {**_WORDS, **theirs}
    if isinstance(word, str) and word in words:
        return words[word]
    close = None if word in _OTHERS else nearest(str(word), words)
    hint = f'did you mean "{close}"?' if close else f"supported are {', '.join(sorted(words))}"
    raise UserError(f"{path}: hidden_act is {json.dumps(word)}, which is not supported; {hint}")
