"""Measures what pre-training is worth, and writes the tables of README.md.

    python -m examples.pretraining.measure chinese     # pre-trains, then fine-tunes from both starts
    python -m examples.pretraining.measure verses      # MiniLM on the King James Version

``--set`` changes the pre-training and ``--fine-tune`` the fine-tuning, for a shorter measurement. Stopped and
started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.checkpoints import checkpoint
from examples.measure import read_json
from examples.pretraining.prepare import prepare
from tfpipeline.errors import UserError
from tfpipeline.files import write_text

HERE = Path(__file__).parent
FOLDER = Path("demo/pretraining")
SENTIMENT = HERE.with_name("chinese_sentiment") / "run.yaml"
BEFORE, AFTER = "before fine-tuning", "after fine-tuning"


def chinese(seeds: int, changes: Sequence[str], of_tuning: Sequence[str]) -> list[str]:
    """The table of the Chinese example: test accuracy from random weights and from pre-trained ones."""
    import tfpipeline

    pretrained = tfpipeline.train(HERE / "chinese.yaml", list(changes))
    starts = {"random weights": [], "pre-trained": [f"checkpoint={pretrained.path}"]}
    found: dict[str, list[float]] = {name: [] for name in starts}
    for seed in range(seeds):
        for name, start in starts.items():
            output = FOLDER / f"sentiment-{name.partition(' ')[0]}-{seed}"
            own = [f"output={output}", f"training.seed={seed}", *start, *of_tuning]
            run = tfpipeline.train(SENTIMENT, own)
            if not (run.path / "report.json").is_file():
                tfpipeline.evaluate(run)
            scores = read_json(run.path / "report.json")["scores"]
            found[name].append(float(scores[AFTER]["accuracy"]))
    lines = ["| start | test accuracy |", "|---|---|"]
    lines += [f"| {name} | {_spread(values)} |" for name, values in found.items()]
    gains = [after - before for before, after in zip(*found.values())]
    return [*lines, f"| gain, seed by seed | {_spread(gains)} |"]


def verses(changes: Sequence[str]) -> list[str]:
    """The table of the verses: perplexity on held-out books."""
    import tfpipeline

    checkpoint("minilm")
    run = tfpipeline.train(HERE / "verses.yaml", list(changes))
    if not (run.path / "report.json").is_file():
        tfpipeline.evaluate(run)
    scores = read_json(run.path / "report.json")["scores"]
    lines = ["| model | perplexity | accuracy |", "|---|---|---|"]
    names = {BEFORE: "before: MiniLM with a new head", AFTER: "after"}
    return lines + [
        f"| {names.get(name, name)} | {own['perplexity']:,.1f} | {own['accuracy']:.3f} |"
        for name, own in scores.items()
    ]


def _spread(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main(arguments: list[str] | None = None) -> None:
    """Measure one of the two, and write its table."""
    parser = argparse.ArgumentParser(prog="python -m examples.pretraining.measure", description=main.__doc__)
    parser.add_argument("name", choices=["chinese", "verses"])
    parser.add_argument("--seeds", type=int, default=3, help="of the fine-tuning")
    parser.add_argument("--set", action="append", default=[], help="a setting of the pre-training")
    parser.add_argument("--fine-tune", action="append", default=[], help="a setting of the fine-tuning")
    given = parser.parse_args(arguments)
    try:
        prepare(FOLDER)
        if given.name == "chinese":
            lines = chinese(given.seeds, given.set, given.fine_tune)
        else:
            lines = verses(given.set)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    readme = HERE / "README.md"
    before, start, rest = readme.read_text("utf-8").partition(f"<!-- {given.name} -->")
    _, end, after = rest.partition(f"<!-- /{given.name} -->")
    write_text(readme, "\n".join([f"{before}{start}", *lines, f"{end}{after}"]))
    print(readme)


if __name__ == "__main__":
    main()
