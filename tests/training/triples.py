"""Batches of triples for the task similarity, some rows of which have texts, groups and negatives in common."""

from __future__ import annotations

import numpy as np

from tests.training.test_step import batch as tokens
from tfpipeline.data import Example
from tfpipeline.data.text_names import of_text
from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.tasks.similarity import Similarity, SimilarityOptions


def rows(count: int, seed: int) -> list[Example]:
    """Rows with two negatives, one or none; few different texts, so that many are no negatives."""
    random = np.random.default_rng(seed)
    texts = [f"text {number}" for number in range(12)]
    found = []
    for row in range(count):
        first, second, *negatives = random.choice(texts, 4, replace=False)
        named = {f"negative_{number}": text for number, text in enumerate(negatives[: row % 3], 1)}
        group = str(row // 2) if row % 4 else None
        found.append(Example(first, second, group=group, further_texts=named))
    return found


def task() -> Similarity:
    """InfoNCE with everything that it can do."""
    options = SimilarityOptions(symmetric=True, temperature="learnt", dimensions=[12, 5])
    return options.fit(rows(9, 0))


def batch(first: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """A batch of rows whose first texts have these tokens."""
    count = len(first["input_ids"])
    texts = {"text_pair": 6, "negative_1": 7, "negative_2": 4}
    others = {
        name: value
        for number, (text, width) in enumerate(texts.items())
        for name, value in of_text(
            text, encoder_inputs(tokens(rows=count, width=width, seed=50 + 7 * seed + number))
        ).items()
    }
    return {**first, **others, **task().targets(rows(count, seed))}
