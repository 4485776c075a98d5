"""What validation will score, known before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.models import BertEncoder, TextModel
from tfpipeline.training.inference import Inference
from tfpipeline.training.run import Run, policy, windows


def check_best_metric(run: Run) -> None:
    """Refuse a metric of the run file that validation does not give.

    Args:
        run: as :func:`score_names` has it.
    Raises:
        UserError: ``training.best_metric`` is none of the scores.
    """
    metric = run.config.training.best_metric
    if metric is not None and metric != "loss":  # that one, and the task's own, are always there
        require_metric(metric, score_names(run))


def score_names(run: Run) -> list[str]:
    """What the scores of a run's validation rows are called.

    Which there are depends on the task, on what it learnt and on the rows, so a model is scored: an untrained one, the
    smallest that has the run's vocabulary and positions.

    Args:
        run: laid out, with its validation rows; it needs no weights.
    """
    small = dataclasses.replace(
        run.bert_config, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    with policy("float32"):
        head = run.task.head(small, seed=run.config.training.seed)
        model = TextModel(BertEncoder(small), head, windows(run.config))
    examples = run.examples("validation")
    targets = run.task.targets(examples)
    cache = run.token_cache("validation", examples)
    found = Inference(model, run.task)(examples, cache, targets, "names of the scores")
    return list(found.scores(run.task, targets, run.task.weights(examples, training=False)))


def require_metric(metric: str, scores: Iterable[str]) -> None:
    """Raise the sentence for a metric that is none of the scores."""
    scores = list(scores)
    if metric not in scores:
        raise UserError(f'training.best_metric: there is no metric "{metric}"{did_you_mean(metric, scores)}')
