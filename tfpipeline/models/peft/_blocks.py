"""The blocks of an encoder, to which methods add whole layers."""

from __future__ import annotations

from typing import Any

from tfpipeline.errors import UserError
from tfpipeline.models.layers import EncoderBlock


def blocks(encoder: Any, method: str) -> list[EncoderBlock]:
    """The encoder's blocks, from bottom to top.

    Args:
        encoder: the encoder.
        method: the name of the method, for messages.
    Raises:
        UserError: its blocks are layers of its own, which have no places for added layers.
    """
    found = [part.layer for part in encoder.parts() if part.role == "block"]
    if not found or not all(isinstance(block, EncoderBlock) for block in found):
        raise UserError(
            f"the blocks of the architecture {encoder.config.architecture} are not of the class "
            f"EncoderBlock, which peft.method {method} needs; use bitfit"
        )
    return found
