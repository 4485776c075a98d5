"""Seeds of initial weights. Imports no framework."""

from __future__ import annotations


def seed_of(seed: int, number: int) -> int:
    """A seed for one of many weights, from that of all: neighbouring seeds share none.

    Args:
        seed: of all weights, at least 0.
        number: of the weight, at least 0.
    """
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
