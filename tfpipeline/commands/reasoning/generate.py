"""`tfpipeline reasoning generate`: draws problems, and writes them as rows of data."""

from __future__ import annotations

from typing import Optional

import typer

from tfpipeline import paths


def command(
    to: str = typer.Option(..., "--to", help="The .jsonl file to write; it appears once it is complete."),
    sampler: str = typer.Option(
        "rule_priority",
        help="rule_priority, rule_priority_balanced, label_priority, label_priority_hard or random_clauses.",
    ),
    style: str = typer.Option(
        "en-adjectives",
        help="Language and words of the text: en- or zh- with adjectives, colours, names or symbols.",
    ),
    count: int = typer.Option(1000, min=1, help="Number of problems."),
    depths: str = typer.Option("0-6", help="The least and the greatest depth."),
    predicates: str = typer.Option("5-30", help="The least and the greatest number of predicates."),
    seed: int = typer.Option(0, help="Random seed."),
    processes: int = typer.Option(1, min=1, help="Number of processes."),
    checkpoint: Optional[str] = typer.Option(
        None, help="Leave out problems that are longer than this checkpoint, or --max-length, can read."
    ),
    max_length: Optional[int] = typer.Option(
        None, help="The greatest number of tokens; default: the checkpoint's positions."
    ),
) -> None:
    """Draw problems of a sampler, balanced by depth and label.

    The rows have the columns text, text_pair and label, for the task pair, and the problem itself.
    """
    from tfpipeline.reasoning.writing import span, write_problems

    paths.local(to)
    written = write_problems(
        to,
        sampler=sampler,
        style=style,
        count=count,
        depths=span("--depths", depths),
        predicates=span("--predicates", predicates),
        seed=seed,
        processes=processes,
        checkpoint=checkpoint,
        max_length=max_length,
    )
    print(written)
