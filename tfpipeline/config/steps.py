"""A number of training steps, as a number or as a share of all steps."""

from __future__ import annotations

from typing import Annotated, Union

import pydantic


def _whole_or_share(value: Union[int, float]) -> Union[int, float]:
    if value >= 1 and value != int(value):
        raise ValueError("is neither a whole number of steps nor a share below 1")
    return int(value) if value >= 1 else float(value)


# In a run file: a whole number of steps or, below 1, a share of all steps.
StepsOrShare = Annotated[Union[int, float], pydantic.AfterValidator(_whole_or_share)]


def steps_of(value: float, total: int) -> int:
    """The number of steps that a :data:`StepsOrShare` means in a training of ``total`` steps."""
    return round(value * total) if value < 1 else int(value)
