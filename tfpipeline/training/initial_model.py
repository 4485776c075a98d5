"""The model that a training starts from: a checkpoint's encoder, with a new head or the checkpoint's own."""

from __future__ import annotations

from tfpipeline.console import say
from tfpipeline.models import TextModel
from tfpipeline.models.neutral import head_of
from tfpipeline.training.run import Run
from tfpipeline.training.run_as_checkpoint import load_checkpoint


def initial_model(run: Run) -> TextModel:
    """Build a run's model with the weights of its checkpoint.

    The head is new, unless the task continues from heads that the checkpoint has (``Task.continues``).

    Args:
        run: a run without weights.
    """
    continues = run.task.continues
    checkpoint = load_checkpoint(run.config.checkpoint, head=bool(continues))
    model = run.build_model(checkpoint.encoder(run.model_config))
    variables = run.task.head_variables(model.head) if continues else {}
    wanted = dict.fromkeys(head for name in variables if (head := head_of(name)) in continues)
    for name, variable in variables.items():
        if head_of(name) in checkpoint.head_names:
            variable.assign(checkpoint.heads[name])
    for head in wanted:
        origin = "is the checkpoint's" if head in checkpoint.head_names else "is new: the checkpoint has none"
        say(f"the {head} head {origin}")
    return model
