"""`tfpipeline train`: fine-tunes a checkpoint as a run file says."""

from __future__ import annotations

import os
import sys
from typing import Optional

import typer

from tfpipeline import terminal
from tfpipeline.commands._tensorflow import load_tensorflow
from tfpipeline.errors import explain_missing_extra


def command(
    run_file: str = typer.Argument(help="A run file (YAML)."),
    overrides: Optional[list[str]] = typer.Option(
        None, "--set", metavar="KEY=VALUE", help="Override a field, e.g. training.epochs=2."
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Print parameters, memory and steps; train and write nothing."
    ),
    workers: Optional[str] = typer.Option(
        None,
        metavar="HOST:PORT,...",
        help="All workers, the same list on each machine; default: those of TF_CONFIG.",
    ),
    index: Optional[int] = typer.Option(None, help="The index of this machine in --workers, starting at 0."),
    wait: float = typer.Option(60.0, min=1, help="Seconds to wait for the other workers."),
    supervise: bool = typer.Option(
        False, "--supervise", help="Restart from the last checkpoint when a worker is lost or killed."
    ),
) -> None:
    """Fine-tune a checkpoint as described in a run file. Run the same command again to resume."""
    with explain_missing_extra():  # the run file is checked before TensorFlow is loaded
        from tfpipeline.training.cluster import find_cluster
        from tfpipeline.training.run_file import read_run_file

        run_config = read_run_file(run_file, [*map(terminal.typed, overrides or [])])
        cluster = find_cluster(workers.split(",") if workers else (), index)
        from tfpipeline.training.lock import check_free

        if not dry_run and (cluster is None or cluster.is_chief):
            check_free(run_config.output)
    if supervise and not dry_run:
        from tfpipeline.training.supervise import supervise as keep_running

        raise typer.Exit(keep_running([word for word in sys.argv[1:] if word != "--supervise"]))
    with explain_missing_extra():
        from tfpipeline.training.rows import read_new_rows, read_rows

        # Workers connect before they read rows: otherwise the first would wait for the slowest disk. A peft
        # section is checked against the checkpoint before rows are read, which takes TensorFlow.
        rows = None
        if run_config.peft is None and (dry_run or cluster is None):
            rows = read_rows(run_config) if dry_run else read_new_rows(run_config)
    load_tensorflow()
    if dry_run:
        from tfpipeline.training.planning import plan

        print(plan(run_config, cluster, rows).text())
        return
    from tfpipeline.training.interruption import Interrupted, WorkersLost
    from tfpipeline.training.loop import train as run
    from tfpipeline.training.supervise import TRY_AGAIN

    try:
        run(run_config, cluster=cluster, wait=wait, rows=rows)
    except Interrupted as stopped:
        print(str(stopped), file=sys.stderr)
        raise typer.Exit(130) from None
    except WorkersLost as lost:
        print(f"error: {lost}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(TRY_AGAIN)  # TensorFlow would wait for the lost worker
