"""Determines the names of the validation scores before training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.models import TextModel
from tfpipeline.training.inference import Inference
from tfpipeline.training.model_settings import windows
from tfpipeline.training.precision import policy
from tfpipeline.training.rows import read_targets
from tfpipeline.training.run import Run
from tfpipeline.training.state import NO_SCORES


class ScoreNames:
    """The names of the scores of a run's validation rows. They are computed only if a name is asked for that
    not every run has.

    Args:
        run: a run whose directory has been laid out, with validation rows; it needs no weights.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._names: list[str] | None = None

    def __contains__(self, name: object) -> bool:
        return name in ("loss", self._run.task.scorer.best_metric) or name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def _all(self) -> list[str]:
        if self._names is None:
            self._names = _validated(self._run) or score_names(self._run)
        return self._names


def check_best_metric(run: Run, names: ScoreNames | None = None) -> None:
    """Reject a metric in the run file that validation does not compute.

    Args:
        run: the run, as for :class:`ScoreNames`.
        names: the names of the run's scores.
    Raises:
        UserError: ``training.best_metric`` is not among the scores.
    """
    metric = run.config.training.best_metric
    names = names or ScoreNames(run)
    if metric is not None and metric not in names:
        require_metric(metric, names)


def score_names(run: Run) -> list[str]:
    """The names of the scores of a run's validation rows.

    They depend on the task, on what it learnt from the training rows, and on the validation rows. Therefore
    the :func:`smallest_model` is scored.

    Args:
        run: the run, as for :class:`ScoreNames`.
    """
    examples = run.examples("validation")
    targets, weights = read_targets(run.task, examples)
    cache = run.token_cache("validation", examples)
    infer, decode = Inference(run.graph(smallest_model(run))), run.task.decoded_in_validation
    if decode is not None:  # one row of them gives the names, and decoding takes long
        decode = min(decode, 1)
    predictions = infer(examples, cache, targets, "names of the scores", decode=decode)
    return list(predictions.scores(run.task, targets, weights))


def smallest_model(run: Run) -> TextModel:
    """An untrained model of a run's kind, the smallest that has its vocabulary and positions."""
    small = run.model_config.smallest()
    with policy("float32"):
        head = run.task.head(small, seed=run.config.training.seed)
        return TextModel(small.encoder(), head, windows(run.truncation, run.has_joint_pairs))


def require_metric(metric: str, scores: Iterable[str]) -> None:
    """Raise a UserError if a metric is not among the scores."""
    scores = list(scores)
    if metric not in scores:
        raise UserError(f'training.best_metric: there is no metric "{metric}"{did_you_mean(metric, scores)}')


def _validated(run: Run) -> list[str]:
    """The names in the history of a run; empty before its first validation."""
    if "last" not in run.store.index():
        return []
    history = run.store.state("last")["history"]
    # The last validation may have decoded no answers (``Task.decoding_interval``).
    return [name for name in dict.fromkeys(itertools.chain(*history)) if name not in NO_SCORES]
