"""Terminals and locales that are not UTF-8: what can't be shown is escaped, and nothing ends in a
traceback.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from tfpipeline import cli, predictors
from tfpipeline.serving.client import predictions

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


class Echo(predictors.Predictor):
    """Answers each text with itself."""

    def predict(self, texts, text_pair=None, adapter=None):
        return [predictions.Regression(float(len(text))) for text in texts]


def run_main(monkeypatch, encoding, *arguments, entered=b""):
    """The command in this process, its streams in an encoding; (exit code, bytes out, bytes err)."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    streams["stdin"] = io.TextIOWrapper(io.BytesIO(entered), encoding=encoding)
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, "argv", ["tfpipeline", *arguments])
    monkeypatch.setattr(predictors, "open_local", lambda *_: Echo())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    for name in ("stdout", "stderr"):
        streams[name].flush()
    return ended.value.code or 0, *(streams[name].buffer.getvalue() for name in ("stdout", "stderr"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_answers_are_json_whatever_the_terminal(monkeypatch, encoding):
    texts = ["é 電影 😀", "plain"]
    code, out, _ = run_main(monkeypatch, encoding, "predict", "--from", "x", *texts)
    assert code == 0
    lines = out.decode(encoding).splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts
    assert ("電影" in lines[0]) == (encoding == "utf-8")


def test_standard_input_is_utf8_where_the_locale_knows_ascii_only(monkeypatch):
    code, out, _ = run_main(monkeypatch, "ascii", "predict", "--from", "x", entered="電影\n".encode())
    assert code == 0
    assert json.loads(out)["text"] == "電影"


def test_errors_are_escaped(monkeypatch):
    code, out, err = run_main(monkeypatch, "ascii", "train", "données.yaml")
    assert (code, out) == (2, b"")
    assert err.startswith(rb"error: cannot read donn\xe9es.yaml: ")


def test_a_name_that_the_system_cannot_have_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")

    def refuse(*_):
        "é".encode("ascii")

    monkeypatch.setattr(cli, "app", lambda **_: refuse())
    code, _, err = run_main(monkeypatch, "ascii", "train", "run.yaml")
    assert code == 2
    assert err == (
        rb"error: the name '\xe9' cannot be given to this system, whose file names are ascii (LC_ALL, LANG, PYTHONUTF8); "
        b"set PYTHONUTF8=1" + os.linesep.encode()
    )


def test_arguments_of_a_c_locale_are_what_was_typed():
    """In a process of its own: the locale is the interpreter's from its start."""
    code = (
        "import sys; from tfpipeline import cli, predictors\n"
        "from tests.cli.test_terminals import Echo\n"
        "predictors.open_local = lambda *_: Echo(); cli.main()"
    )
    command = [sys.executable, "-c", code, "predict", "--from", "x", "電影 é"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **C_LOCALE}, check=True)
    assert json.loads(done.stdout)["text"] == "電影 é"
