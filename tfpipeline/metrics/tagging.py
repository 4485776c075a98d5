"""Scores for one tag per word. N rows, each with as many tags as words.

Rows of weight 0 are excluded. Every other row counts once, because seqeval does not support weights. Averages
include what occurs in the right or in the predicted tags. What is never predicted has precision 0; what never
occurs has recall 0. If no entities (or words) exist and none were predicted, each score is 1. So a perfect
model has 1 everywhere.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import chain
from typing import Any, Optional

import numpy as np
from scipy import sparse
from seqeval.metrics import sequence_labeling  # type: ignore[import-untyped]
from sklearn import metrics

from tfpipeline.errors import UserError
from tfpipeline.metrics._rows import counted, weights_of
from tfpipeline.metrics.intervals import Interval, bootstrap, mean_where, ratio

Tags = list[list[str]]

_DIGITS = 4
# Tags that seqeval reads: E and S end entities in schemes other than BIO; a bare letter has the type "_".
_BARE = ("O", "B", "I", "E", "S")
_KINDS = ("B-", "I-", "E-", "S-")


def compute(
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    weights: Optional[np.ndarray] = None,
    *,
    entities: bool,
) -> dict[str, float]:
    """``precision``, ``recall`` and ``f1`` (entities only), ``macro_f1``, ``token_accuracy``, and each F1 as
    ``f1/NAME``.

    An entity is right if its type and both its ends are right. Precision, recall and F1 are over all
    entities, ``macro_f1`` is the mean F1 over types, and ``f1/PER`` is the F1 of one type. As in conlleval,
    an entity may begin with ``I-``. Without entities, ``macro_f1`` and ``f1/TAG`` are the F1 of the tags,
    over all words. ``token_accuracy`` is the share of words with the right tag.

    Args:
        truth: N sequences of tags.
        predicted: N sequences of the same lengths; "" for a word without a prediction.
        weights: float [N], at least 0; 1 by default.
        entities: whether the tags are entities in BIO, ``B-PER``, ``I-PER`` and ``O``.
    Raises:
        UserError: no row has a weight above 0, or a tag is not in BIO format.
    """
    truth, predicted = _checked(truth, predicted, weights, entities)
    if entities:
        precision, recall, f1, _ = _entity_scores(truth, predicted, "micro")
        names, by_name = _types(truth, predicted), _entity_scores(truth, predicted, None)[2]
        micro = [float(score) for score in (precision, recall, f1)] if names else [1.0] * 3
        scores = dict(zip(("precision", "recall", "f1"), micro))
    else:
        names, by_name = _names(truth, predicted), np.zeros(0)
        if names:
            by_name = metrics.f1_score(*_words(truth, predicted), labels=names, average=None, zero_division=0)
        scores = {}
    scores["macro_f1"] = float(by_name.mean()) if names else 1.0
    scores["token_accuracy"] = _accuracy(truth, predicted)
    return {**scores, **{f"f1/{name}": float(score) for name, score in zip(names, by_name)}}


def confidence_intervals(
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    weights: Optional[np.ndarray] = None,
    *,
    entities: bool,
) -> dict[str, Interval]:
    """95 % intervals of all metrics; rows are resampled, not words, because the words of a row hang together.
    Arguments and errors as for :func:`compute`.
    """
    truth, predicted = _checked(truth, predicted, weights, entities)
    names = _types(truth, predicted) if entities else _names(truth, predicted)
    places = {name: place for place, name in enumerate(names)}
    size = len(names)
    added = sparse.lil_array((len(truth), 3 * size + 2))
    for row, (want, got) in enumerate(zip(truth, predicted)):
        parts = [_found(tags, entities) for tags in (want, got)]
        for first, found in zip(range(0, 3 * size, size or 1), (parts[0] & parts[1], *parts)):
            for kind, *_ in found:
                if kind in places:
                    added[row, first + places[kind]] += 1
        added[row, -2] = sum(map(operator.eq, want, got))
        added[row, -1] = len(want)

    def statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
        right, true, answered = np.split(sums[:, : 3 * size], 3, axis=1)
        f1, occur = ratio(2 * right, true + answered), true + answered > 0
        scores = {
            "macro_f1": mean_where(f1, occur, 1.0),
            "token_accuracy": ratio(sums[:, -2], sums[:, -1], otherwise=1.0),
        }
        if entities:
            nothing = np.where(occur.any(-1), 0.0, 1.0)
            hits, wanted, given = (part.sum(-1) for part in (right, true, answered))
            scores["precision"] = np.maximum(ratio(hits, given), nothing)
            scores["recall"] = np.maximum(ratio(hits, wanted), nothing)
            scores["f1"] = np.maximum(ratio(2 * hits, wanted + given), nothing)
        return {**scores, **{f"f1/{name}": column for name, column in zip(names, f1.T)}}

    return bootstrap(added.tocsr(), statistics)


def report(
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    weights: Optional[np.ndarray] = None,
    *,
    entities: bool,
) -> str:
    """seqeval's table of types or scikit-learn's table of tags, and token accuracy; as :func:`compute`."""
    truth, predicted = _checked(truth, predicted, weights, entities)
    text = ""
    if entities and _types(truth, predicted):
        text = sequence_labeling.classification_report(truth, predicted, digits=_DIGITS, zero_division=0)
    elif not entities and (names := _names(truth, predicted)):
        text = metrics.classification_report(
            *_words(truth, predicted), labels=names, digits=_DIGITS, zero_division=0
        )
    table = text.rstrip("\n") or f"no {'entities' if entities else 'words'}"
    return f"{table}\n\ntoken accuracy {_accuracy(truth, predicted):.{_DIGITS}f}\n"


def _found(tags: list[str], entities: bool) -> set[tuple[str, int, int]]:
    """A row's entities, or its words: (type or tag, first word, last word)."""
    if entities:
        return set(sequence_labeling.get_entities(tags))
    return {(tag, place, place) for place, tag in enumerate(tags)}


def _entity_scores(truth: Tags, predicted: Tags, average: Optional[str]) -> tuple[Any, ...]:
    """Precision, recall, F1 and support: numbers, or without an average, arrays [types], sorted by type."""
    scores: tuple[Any, ...] = sequence_labeling.precision_recall_fscore_support(
        truth, predicted, average=average, zero_division=0
    )
    return scores


def _types(truth: Tags, predicted: Tags) -> list[str]:
    """The types of the entities that occur, sorted."""
    entities = map(sequence_labeling.get_entities, (truth, predicted))
    return sorted({kind for kind, _, _ in chain.from_iterable(entities)})


def _names(truth: Tags, predicted: Tags) -> list[str]:
    """The tags that occur, sorted, without "", which marks words without a prediction."""
    return sorted(set().union(*_words(truth, predicted)) - {""})


def _words(truth: Tags, predicted: Tags) -> tuple[list[str], list[str]]:
    """The tags of all words in one list each."""
    return list(chain.from_iterable(truth)), list(chain.from_iterable(predicted))


def _accuracy(truth: Tags, predicted: Tags) -> float:
    right = [one == two for one, two in zip(*_words(truth, predicted))]
    return sum(right) / len(right) if right else 1.0


def _checked(
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    weights: Optional[np.ndarray],
    entities: bool,
) -> tuple[Tags, Tags]:
    """The rows that count, as the lists that seqeval requires."""
    lengths = np.array([len(tags) for tags in truth], np.int64)
    weights = weights_of(lengths, weights)
    if lengths.tolist() != [len(tags) for tags in predicted] or weights.shape != lengths.shape:
        raise ValueError(
            f"{len(truth)} rows of right tags, {len(predicted)} of answered ones and {len(weights)} weights "
            f"do not fit "
            "together, or the tags of a row do not"
        )
    _, rows, _ = counted(lengths, np.arange(len(truth)), weights)
    kept = [list(truth[row]) for row in rows], [list(predicted[row]) for row in rows]
    if entities:
        for tag in sorted(set().union(*_words(*kept))):
            # seqeval would only warn, and take the first letter as the kind.
            if tag not in _BARE and not tag.startswith(_KINDS):
                raise UserError(f'the tag "{tag}" is not a BIO tag; expected "O", or "B-" or "I-" and a type')
    return kept
