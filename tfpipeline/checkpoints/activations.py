"""What a configuration's word for the activation means: one name, several functions, by who wrote the file.

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

# Words that mean one function whoever writes them; transformers' and our own. Of "gelu" each format says what
# it is.
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
# Other functions, some with a name like one of those above: no typing errors, so nothing is suggested.
_OTHERS = {
    "gelu_10",  # cut off at -10 and 10
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
    """The activation that a configuration's word means, one of ``models.config.ACTIVATIONS``.

    Args:
        word: the file's.
        theirs: words that mean something else, or nothing, in other formats: "gelu" above all.
        path: the file, for the message.
    Raises:
        UserError: it means none that is computed here.
    """
    words = {**_WORDS, **theirs}
    if isinstance(word, str) and word in words:
        return words[word]
    close = None if word in _OTHERS else nearest(str(word), words)
    hint = f'did you mean "{close}"?' if close else f"supported are {', '.join(sorted(words))}"
    raise UserError(f"{path}: hidden_act is {json.dumps(word)}, which is not supported; {hint}")
