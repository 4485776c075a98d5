"""A model and one batch, from which a task makes its predictions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any


class ModelCall:
    """A model that is ready to be called on one batch, without dropout.

    Most tasks need one call: :attr:`outputs`. It is computed when it is first read, and kept, so that loss
    and predictions share it. A task that generates its answer token by token calls the model for each token::

        outputs, state = call.start()
        ...  # the body of a tf.while_loop: choose the next tokens from the outputs
        outputs, state = call.step(state, tokens)

    :meth:`start` and :meth:`step` call the model's methods of the same names. The model determines the state
    (such as the keys and values of the tokens so far): any nest of tensors whose shapes and dtypes stay the
    same from step to step, so that a ``tf.while_loop`` can carry it. Models of this package do not have these
    methods yet.

    Attributes:
        model: takes the encoder's inputs, and gives the head's outputs.
        inputs: the encoder's inputs of the batch, int32 [B, T].
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any]) -> None:
        self.model, self.inputs = model, inputs

    @functools.cached_property
    def outputs(self) -> Any:
        """The model's outputs for the whole batch: name -> [B, ...]."""
        return self.model(self.inputs, training=False)

    def start(self) -> tuple[Any, Any]:
        """Read the inputs; returns the outputs for the first token, [B, ...], and the state."""
        return self.model.start(self.inputs)

    def step(self, state: Any, tokens: Any) -> tuple[Any, Any]:
        """Read one more token of each row.

        Args:
            state: of :meth:`start` or the step before.
            tokens: int32 [B], the token that was chosen for each row.
        Returns:
            The outputs for the token after it, [B, ...], and the new state.
        """
        return self.model.step(state, tokens)
