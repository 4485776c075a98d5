"""A model and one batch, from which a task makes its predictions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Optional

NEAR_TIES = "near_ties"  # the output of a task's ``decode`` that a tolerance asks for


class ModelCall:
    """A model that is ready to be called on one batch, without dropout.

    Most tasks need one call: :attr:`outputs`. It is computed when it is first read, and kept, so that loss
    and predictions share it. A task that generates its answer token by token calls the model for each token::

        logits, state = call.start(width)
        ...  # the body of a tf.while_loop: choose the next tokens from the logits
        logits, state = call.step(state, tokens)

    These methods call the model's methods of the same names (:class:`tfpipeline.models.key_value_cache`). The
    model determines the state, such as the keys and values of the tokens so far: a nest of tensors that a
    ``tf.while_loop`` can carry. Their dtypes and ranks stay the same from step to step, their sizes do not.

    Attributes:
        model: takes the encoder's inputs, and gives the head's outputs.
        inputs: the encoder's inputs of the batch, int32 [B, T].
        tolerance: the largest difference of outputs that counts as rounding. If it is given, a task whose
            ``decode`` chooses, such as tokens, adds ``near_ties``, bool [B]: the rows in which rounding may
            change a choice.
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any], tolerance: Optional[float] = None) -> None:
        self.model, self.inputs, self.tolerance = model, inputs, tolerance

    @functools.cached_property
    def outputs(self) -> Any:
        """The model's outputs for the whole batch: name -> [B, ...]."""
        return self.model(self.inputs, training=False)

    def start(self, width: Any = 1) -> tuple[Any, Any]:
        """Read the sources; returns the logits of the first token, [B, V], and the state.

        Args:
            width: W, the number of candidates of each source (beams, or drawn texts), an int or int32 [].
        """
        return self.model.start(self.inputs, width)

    def step(self, state: Any, tokens: Any) -> tuple[Any, Any]:
        """Read one more token of each candidate.

        Args:
            state: of :meth:`start` or the step before.
            tokens: int32 [B, W], the tokens that were chosen.
        Returns:
            The logits of the tokens after them, [B, W, V], and the new state.
        """
        return self.model.step(state, tokens)

    def reorder(self, state: Any, beams: Any) -> Any:
        """The state in which candidate w of each source goes on from its candidate ``beams[b, w]``, int32 [B,
        W].
        """
        return self.model.reorder(state, beams)

    def keep(self, state: Any, rows: Any) -> Any:
        """The state of these sources only, int32 [B']."""
        return self.model.keep(state, rows)
