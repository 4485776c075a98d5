"""The base installation on the oldest Python: what needs no TensorFlow, installed as a user installs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OLDEST = "3.9"
PARTS = ("tfpipeline", "export", "serving", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def find_python() -> str | None:
    """A Python of the oldest supported version: on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{OLDEST}"), *sorted(pyenv.glob(f"versions/{OLDEST}.*/bin/python"))]
    for candidate in filter(None, candidates):
        # A shim of pyenv's is on the PATH also where its version is not chosen, and fails.
        asked = [candidate, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.stdout.strip() == OLDEST:
            return str(candidate)
    return None


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of programs of an environment with the base installation."""
    python = find_python()
    if python is None:
        pytest.skip(f"there is no Python {OLDEST} on the PATH, nor among pyenv's")
    folder = tmp_path_factory.mktemp("base")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / "copy" / part, symlinks=True)
        else:
            shutil.copy(ROOT / part, folder / "copy")
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / "bin"
    command = [programs / "python", "-m", "pip", "install", "--quiet", "--no-compile", folder / "copy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution found" in done.stderr and "ConnectionError" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return programs


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


CLIENT = """
import sys
import tfpipeline
from tfpipeline.serving.client import AsyncPredictClient, TensorSpec
with tfpipeline.PredictClient(sys.argv[1], model="echo") as client:
    pass
print(sys.version_info[:2], sorted(name for name in ("tensorflow", "keras", "pydantic") if name in sys.modules))
"""


def test_the_thin_client_and_the_commands(installed, tmp_path):
    done = run(installed / "python", "-c", CLIENT, "127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(3, 9) []"
    shown = run(installed / "tfpipeline", "predict", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "--target" in shown.stdout
    (tmp_path / "run.yaml").touch()
    for arguments, sentence in (
        (("predict", "--target", "127.0.0.1:9", "--model", "m", "x"), "127.0.0.1:9 cannot be reached"),
        (("bench-serving", "--target", "127.0.0.1:9", "--model", "m", "x"), "127.0.0.1:9 cannot be reached"),
        (("train", "run.yaml"), "the `train` extra needs Python 3.11 to 3.13"),
    ):
        refused = run(installed / "tfpipeline", *arguments, cwd=tmp_path)
        assert refused.returncode == 2, refused.stderr
        assert sentence in refused.stderr
        assert "Traceback" not in refused.stderr


def test_every_module_is_valid_there(installed, tmp_path):
    """Also of those that only later versions can import: an error names the extra, not a line of code."""
    site = run(installed / "python", "-c", "import tfpipeline; print(tfpipeline.__path__[0])", cwd=tmp_path)
    folder = Path(site.stdout.strip())
    assert folder.is_relative_to(installed.parent)
    compiled = run(installed / "python", "-m", "compileall", "-q", "-f", folder, cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stdout


PAGES = ("README.md", "docs/client.md", "docs/explanations.md", "docs/tutorial.md")
TYPES = """
from typing import Union

from tfpipeline.serving.client import (
    AsyncPredictClient, Classification, MultiLabel, PredictClient, Prediction, QuestionAnswering, Regression,
    RowResult, Tagging,
)

with PredictClient("localhost:8500", model="m") as client:
    classified: list[Classification] = client.classify(["a"])
    tagged: list[Tagging] = client.tag(["a"])
    read: list[QuestionAnswering] = client.answer(["a"], ["b"])
    numbers: list[Regression] = client.predict(["a"], expect=Regression)
    anything: list[Prediction] = client.predict(["a"])
    for row in client.predict_stream(["a"], expect=MultiLabel):
        labels: list[str] = row.result().labels


async def main(client: AsyncPredictClient, rows: list[RowResult[Regression]]) -> Union[float, str]:
    async for row in client.predict_stream(["a"], expect=Regression):
        rows.append(row)
    return (await client.predict(["a"], expect=Regression))[0].value + (await client.classify(["a"]))[0].probability
"""
WRONG = """
from tfpipeline.serving.client import PredictClient, Tagging

client = PredictClient("localhost:8500", model="m")
print(client.predict(["a"])[0].label)
print(client.classify(["a"])[0].entities)
print(client.predict(["a"], expect=Tagging)[0].label)
print(client.predict(["a"], expect=str))
print(client.classify(3))
"""


def test_what_the_documentation_shows_type_checks(installed, tmp_path):
    """With mypy --strict, where nothing but this package is installed: README's and the pages' snippets."""
    shown = {}
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
        shown_here = [
            block for block in blocks if page == "README.md" or "tfpipeline.serving.client" in block
        ]
        for number, block in enumerate(shown_here):
            shown[f"{Path(page).stem}_{number}.py"] = block
    assert len(shown) >= 10
    for name, text in {**shown, "types.py": TYPES, "wrong.py": WRONG}.items():
        (tmp_path / f"shown_{name}").write_text(text, "utf-8")
    files = sorted(path.name for path in tmp_path.glob("shown_*.py"))
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "python"]
    # mypy no longer checks for Python 3.9; the files of the package are valid there (see above).
    done = run(*command, "--python-version", "3.10", *files, cwd=tmp_path)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line for line in errors if not line.startswith("shown_wrong.py")] == []
    assert {int(line.split(":")[1]) for line in errors} == {5, 6, 7, 8, 9}, done.stdout + done.stderr
