"""What holds for the project as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfpipeline

ROOT = Path(__file__).parent.parent


def test_changelog_names_the_version():
    newest = re.search(
        r"^## \[([^\]]+)\] - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert newest is not None
    assert newest.group(1) == tfpipeline.__version__


def test_public_names_load():
    assert tfpipeline.__all__ == [
        "PredictClient",
        "UserError",
        "convert",
        "evaluate",
        "export_run",
        "load",
        "serve",
        "train",
    ]
    for name in tfpipeline.__all__:
        assert getattr(tfpipeline, name) is not None, name


def test_import_brings_nothing_heavy():
    code = "import sys, tfpipeline, tfpipeline.cli; print([m for m in ('tensorflow', 'keras', 'numpy', 'pydantic', 'grpc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("link", ["export", "serving"])
def test_links_are_relative(link):
    path = ROOT / "tfpipeline" / link
    assert path.is_symlink()
    assert path.readlink() == Path("..") / link


def test_every_file_named_by_the_readme_is_there():
    text = (ROOT / "README.md").read_text("utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
