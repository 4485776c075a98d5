"""Hard negatives for the task ``similarity``: texts that a model takes for right ones by mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpipeline._lazy import attach

if TYPE_CHECKING:  # what the table below loads on first use, for type checkers and editors
    from tfpipeline.mining.choosing import Choice as Choice
    from tfpipeline.mining.negatives import Mined as Mined
    from tfpipeline.mining.negatives import mine as mine
    from tfpipeline.mining.teacher import Teacher as Teacher

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Choice": "tfpipeline.mining.choosing",
        "Mined": "tfpipeline.mining.negatives",
        "Teacher": "tfpipeline.mining.teacher",
        "mine": "tfpipeline.mining.negatives",
    },
)
