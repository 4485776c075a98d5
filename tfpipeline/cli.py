"""The command line: one command for each arrow between a checkpoint and an answer.

Thin wrappers over plain functions. Nothing heavy is imported until a command needs it, so ``--help`` is
instant and ``predict --target`` works with the base installation. Results go to standard output, everything
else to standard error. Exit codes: 0 done, 2 something given can't be used (one sentence says what), 130
interrupted, 75 another worker of the training is gone.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any, Optional

import typer

from tfpipeline import __version__, terminal
from tfpipeline.errors import UserError, explain_missing_extra

app = typer.Typer(
    name="tfpipeline",
    help="A BERT checkpoint becomes a served endpoint: convert, train, evaluate, export, serve, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


_SETTINGS = typer.Option(
    None,
    "--set",
    metavar="KEY=VALUE",
    help="For a checkpoint: settings that its files do not contain, e.g. data.text=review, "
    "text.max_length=128.",
)
_ENCODING = typer.Option(
    None, "--encoding", help="Encoding of a text file: utf-8, utf-16, cp1252, gb18030 ..."
)
_DELIMITER = typer.Option(
    None, "--delimiter", help='Character between the cells of a .csv or .tsv file, e.g. ";".'
)
_SHEET = typer.Option(None, "--sheet", help="Sheet of an .xlsx file; by default the first.")


def _version(asked: bool) -> None:
    if asked:
        print(f"tfpipeline {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


@app.command()
def convert(
    source: str = typer.Argument(
        help="A run, or a checkpoint: a directory, a file in one, a zip or tar, hf://org/name, "
        "gs://bucket/folder."
    ),
    dest: Optional[Path] = typer.Argument(None, help="The directory to write; optional with --check."),
    to: str = typer.Option("google", help="The format to write: google or huggingface."),
    weights: Optional[str] = typer.Option(None, help="Of a run: best (the default), last or initial."),
    overwrite: bool = typer.Option(False, help="Replace DEST if it is there."),
    check: bool = typer.Option(
        False,
        "--check",
        help="Print every tensor with its shape and checksum, and what was left out; compare token ids and, "
        "with PyTorch, "
        "hidden states with transformers.",
    ),
    gelu: Optional[str] = typer.Option(None, help="erf or tanh, to override the files."),
    positions: Optional[int] = typer.Option(None, help="Extend the model to this many positions."),
    add_tokens: Optional[Path] = typer.Option(None, help="A file of tokens to append, one per line."),
) -> None:
    """Write a checkpoint, or a run of train, in the format of another program.

    The format of SOURCE is recognised from its files. Of a run the encoder is written, and the head with its
    labels if the format has a place for it.
    """
    if dest is None and not check:
        raise UserError("say where to write: tfpipeline convert SOURCE DEST; or only look, with --check")
    _tensorflow()
    from tfpipeline import checkpoints
    from tfpipeline.training import load_checkpoint

    tokens = checkpoints.read_tokens(add_tokens) if add_tokens else ()
    word: Any = gelu  # which is checked where it is used
    checkpoint = load_checkpoint(source, weights, gelu=word)
    checkpoint = checkpoints.extend(checkpoint, positions=positions, tokens=tokens)
    if check:
        print(checkpoints.parity_report(checkpoint))
    if dest is not None:
        print(checkpoints.write(checkpoint, dest, to=to, overwrite=overwrite))


@app.command()
def train(
    run_file: Path = typer.Argument(help="A run file (YAML)."),
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

        # Workers meet before they read, or the first would wait for the slowest disk.
        rows = read_rows(run_config) if dry_run else read_new_rows(run_config) if cluster is None else None
    _tensorflow()
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
        os._exit(TRY_AGAIN)  # TensorFlow would wait for the worker that is gone


@app.command()
def evaluate(
    run_directory: str = typer.Argument(metavar="RUN", help="A run directory, or a fine-tuned checkpoint."),
    data: Optional[Path] = typer.Option(None, help="A data file; default: the run's own test rows."),
    baseline: bool = typer.Option(True, help="Also train a cheap baseline on the same rows."),
    to: Optional[Path] = typer.Option(
        None,
        help="The folder to write the report to; default: the run directory. Without it, the report of a "
        "checkpoint is only printed.",
    ),
    overrides: Optional[list[str]] = _SETTINGS,
    encoding: Optional[str] = _ENCODING,
    delimiter: Optional[str] = _DELIMITER,
    sheet: Optional[str] = _SHEET,
) -> None:
    """Score a run before and after fine-tuning, next to a baseline."""
    with explain_missing_extra():
        from tfpipeline.data.records import file_options
        from tfpipeline.training.rows import read_more_rows

        reading = file_options(encoding=encoding, delimiter=delimiter, sheet=sheet)
        rows = None if data is None else read_more_rows(run_directory, data, reading)
    _tensorflow()
    from tfpipeline.evaluation import evaluate as run

    report = run(
        run_directory,
        data,
        baseline=baseline,
        overrides=[*map(terminal.typed, overrides or [])],
        to=to,
        show=print,
        reading=reading,
        rows=rows,
    )
    if to is not None and report.path is None:
        raise typer.Exit(2)


@app.command()
def export(
    run_directory: str = typer.Argument(metavar="RUN", help="A run directory, or a fine-tuned checkpoint."),
    to: Path = typer.Option(..., help="The model's directory, e.g. models/sentiment."),
    weights: str = typer.Option("best", help="best or last."),
    overrides: Optional[list[str]] = _SETTINGS,
) -> None:
    """Publish a run as the next version of a served model, checked against the trained one."""
    if weights not in ("best", "last"):
        raise UserError(f'--weights is "{weights}"; it must be best or last')
    _tensorflow()
    from tfpipeline.export import export_run as run

    print(run(run_directory, to, weights=weights, overrides=[*map(terminal.typed, overrides or [])]))


@app.command()
def serve(
    model_directory: Path = typer.Argument(help="The model's directory, e.g. models/sentiment."),
    name: Optional[str] = typer.Option(None, help="The model's name; default: the name of the directory."),
    host: str = typer.Option("127.0.0.1", help="The address to listen on."),
    port: int = typer.Option(8500, help="The gRPC port."),
    server_binary: Optional[Path] = typer.Option(
        None,
        help="tensorflow_model_server; default: the one on the PATH, else the embedded development server.",
    ),
) -> None:
    """Serve a model with TensorFlow Serving, or with the embedded development server (same API)."""
    with explain_missing_extra("serve"):
        from tfpipeline.serving.server import serve as run

        run(model_directory, name=name, host=host, port=port, server_binary=server_binary)


@app.command()
def predict(
    texts: Optional[list[str]] = typer.Argument(
        None, metavar="[TEXT]...", help="Texts; default: standard input, one text per line."
    ),
    inputs: Optional[list[Path]] = typer.Option(
        None,
        "--input",
        help="A .txt file (one text per line), .csv, .tsv, .xlsx, .jsonl, .parquet, .conll, .conllu or "
        ".json (SQuAD); may be "
        "repeated.",
    ),
    column: str = typer.Option("text", help="The text column of the file."),
    pair_column: Optional[str] = typer.Option(
        None, help="The column of the second text, for models of text pairs."
    ),
    separator: str = typer.Option(
        " ", help='Joins the tokens of cells that are lists of tokens; "" for Chinese.'
    ),
    encoding: Optional[str] = _ENCODING,
    delimiter: Optional[str] = _DELIMITER,
    sheet: Optional[str] = _SHEET,
    pair: Optional[str] = typer.Option(
        None,
        help="The second text for all texts that are not read from a file, e.g. the context of questions.",
    ),
    target: Optional[str] = typer.Option(None, help="HOST:PORT of a server."),
    model: Optional[str] = typer.Option(None, help="The model's name on the server."),
    source: Optional[str] = typer.Option(
        None,
        "--from",
        help="Instead of a server: a run, a SavedModel, a directory of versions, or a fine-tuned checkpoint.",
    ),
    signature: str = typer.Option("serving_default", help="The signature to call."),
    model_version: Optional[int] = typer.Option(None, help="The model version; default: the newest."),
    timeout: float = typer.Option(10.0, help="Seconds to wait for the server's response to a batch."),
    batch_size: int = typer.Option(32, min=1, help="Texts per request."),
) -> None:
    """Print a prediction for each text, one JSON line each, from a server, a SavedModel or a run."""
    if (target is None) == (source is None):
        raise UserError(
            "choose a model: --target HOST:PORT --model NAME, or --from PATH (a run, a SavedModel or a "
            "checkpoint)"
        )
    if target is not None and model is None:
        raise UserError("--target needs the model's name: --model NAME")
    if source is not None and model_version is not None:
        raise UserError("--model-version is for a server; give --from the folder of the version")
    if texts and inputs:
        raise UserError("texts were given both as arguments and with --input; choose one")
    if not texts and not inputs and sys.stdin.isatty():
        raise UserError("no texts: give them as arguments, with --input FILE, or on standard input")
    if inputs and pair is not None:
        raise UserError(
            "--pair is for texts that come from no file; name the column of the second ones with "
            "--pair-column"
        )
    if pair_column is not None and not inputs:
        raise UserError(
            "--pair-column is for the rows of files; give the second text of texts that come from no file "
            "with --pair alone"
        )
    from tfpipeline import prediction_inputs, predictors
    from tfpipeline.data.records import FileOptions, file_options

    reading = FileOptions(**file_options(encoding=encoding, delimiter=delimiter, sheet=sheet))
    columns = [column, *([pair_column] if pair_column else [])]
    rows = prediction_inputs.read(
        texts or [], inputs or [], columns, reading, separator, terminal.typed(pair or "")
    )
    has_pairs = bool(pair_column) or pair is not None
    escape = not terminal.is_utf8(sys.stdout.encoding)
    if inputs:  # a file that can't be read is named before a model is loaded
        first = list(itertools.islice(rows, 1))
        rows = itertools.chain(first, rows)
    if target is not None:
        options = {"signature": signature, "version": model_version, "timeout": timeout}
        predictor: predictors.Predictor = predictors.ServerPredictor(target, str(model), **options)
    else:
        predictor = predictors.open_local(str(source), signature)
    with predictor:
        for batch in prediction_inputs.batches(rows, batch_size):
            pairs = [second for _, second in batch]
            answers = predictor.predict([text for text, _ in batch], pairs if has_pairs else None)
            for (text, second), answer in zip(batch, answers):
                given = {"text": text, **({"text_pair": second} if has_pairs else {})}
                print(json.dumps({**given, **answer.to_dict()}, ensure_ascii=escape), flush=True)


def _tensorflow() -> Any:
    from tfpipeline.console import notice

    with explain_missing_extra(), notice("loading TensorFlow"):
        from tfpipeline.runtime import import_tensorflow

        return import_tensorflow()


def main() -> None:
    """The ``tfpipeline`` command."""
    from tfpipeline.serving.client import ClientError

    terminal.escape_what_cannot_be_shown()
    try:
        with explain_missing_extra():
            app(prog_name="tfpipeline")
    except (UserError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except UnicodeEncodeError as error:  # what is printed is escaped; this is a file's name
        if terminal.is_utf8(sys.getfilesystemencoding()):
            raise
        print(
            f"error: the name {error.object!r} cannot be given to this system, whose file names are "
            f"{sys.getfilesystemencoding()} (LC_ALL, LANG, PYTHONUTF8); set PYTHONUTF8=1",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
