"""`tfpipeline search`: prints the best rows of an index for each query."""

from __future__ import annotations

import json
import sys
from typing import Optional

import typer

from tfpipeline import terminal
from tfpipeline.commands import _options as options
from tfpipeline.errors import UserError, visible


def command(
    queries: Optional[list[str]] = typer.Argument(
        None, metavar="[QUERY]...", help="Texts; default: standard input, one query per line."
    ),
    k: int = typer.Option(10, "--k", "-k", help="The number of rows to find for each query."),
    target: Optional[str] = typer.Option(None, help="HOST:PORT of a server."),
    model: Optional[str] = typer.Option(None, help="The model's name on the server."),
    source: Optional[str] = typer.Option(
        None, "--from", help="Instead of a server: an index, a SavedModel or a directory of versions."
    ),
    run: Optional[str] = typer.Option(
        None, help="With an index: the run or checkpoint that embeds queries; default: the one that made it."
    ),
    model_version: Optional[int] = typer.Option(None, help="The model version; default: the newest."),
    timeout: float = typer.Option(10.0, help="Seconds to wait for the server's response to a batch."),
    as_json: bool = typer.Option(False, "--json", help="Print the hits of each query as one line of JSON."),
) -> None:
    """Search for each query, on a server, in a SavedModel that was exported with --index, or in an index."""
    options.check_model(
        target,
        model,
        source,
        model_version,
        "choose where to search: --target HOST:PORT --model NAME, or --from PATH (an index or a model "
        "exported with --index)",
    )
    if k < 1:
        raise UserError(f"-k is {k}; ask for 1 row or more")
    if not queries and sys.stdin.isatty():
        raise UserError("no queries: give them as arguments, or on standard input")
    from tfpipeline import prediction_inputs
    from tfpipeline.search import open_searcher

    escape = not terminal.is_utf8(sys.stdout.encoding)
    rows = prediction_inputs.of_arguments(queries, None) if queries else None
    call = {} if target is None else {"version": model_version, "timeout": timeout}
    with open_searcher(source, target=target, model=model or "", run=run, **call) as searcher:
        given = prediction_inputs.of_standard_input(None) if rows is None else rows
        for batch in prediction_inputs.batches(given, 32):
            texts = [row.texts["text"] for row in batch]
            for text, hits in zip(texts, searcher.search(texts, k)):
                if as_json:
                    found = {"query": text, "hits": [hit.to_dict() for hit in hits]}
                    print(json.dumps(found, ensure_ascii=escape), flush=True)
                    continue
                print(visible(text))
                for hit in hits:
                    kept = "".join(f"  {name}: {cell}" for name, cell in hit.columns.items() if cell)
                    print(visible(f"  {hit.score:.4f}  {hit.id}  {hit.text}{kept}"), flush=True)
                if not hits:
                    print("  nothing: the index has no rows", flush=True)
