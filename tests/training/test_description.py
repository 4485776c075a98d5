from __future__ import annotations

from tfpipeline.training.description import as_html, ending
from tfpipeline.training.state import State


def test_the_end_says_how_long_how_well_and_what_next():
    state = State(step=21, best=0.91234, best_step=14, finished="trained 3 epochs", seconds=754)
    assert ending(state, "accuracy", "runs/my run").splitlines() == [
        "trained 3 epochs in 12 min 34 s; best accuracy 0.9123 on validation, after step 14; the run is in "
        "runs/my run",
        "next: tfpipeline evaluate 'runs/my run'",
        "      tfpipeline export 'runs/my run' --to 'models/my run'",
    ]
    assert ending(State(finished="trained 1 step"), "f1", "gs://b/runs/x").splitlines()[::2] == [
        "trained 1 step in 0 s; the run is in gs://b/runs/x",
        "      tfpipeline export gs://b/runs/x --to models/x",
    ]


def test_tables_are_escaped():
    assert as_html("<b>", {"a & b": "<i>"}) == (
        "<table><caption>&lt;b&gt;</caption><tr><th style='text-align:left'>a &amp; b</th>"
        "<td style='text-align:left'>&lt;i&gt;</td></tr></table>"
    )
