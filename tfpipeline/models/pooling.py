"""The ways to make one vector of a text's hidden states. Imports no framework."""

from __future__ import annotations

from typing import Literal

Pooling = Literal["mean", "cls", "last", "pooler"]
"""The mean of the real tokens, the first one ([CLS]), the last real one, or BERT's pooler."""
