"""What holds for the project as a whole."""

from __future__ import annotations

import ast
import fnmatch
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfpipeline

ROOT = Path(__file__).parent.parent


def test_names_of_tests_hold_no_compressed_bytes(request):
    """These hold the time: two workers would call the same test differently, and pytest-xdist would stop."""

    def name(value):
        return request.config.hook.pytest_make_parametrize_id(
            config=request.config, val=value, argname="body"
        )

    assert name(gzip.compress(b"a")) == name(gzip.compress(b"a", mtime=1)) == "body"
    assert name("a" * 300) == name(b"a" * 300) == "body"
    assert name(b"a") is name("a") is name("\x00") is name(1) is None
    for item in request.session.items:
        assert len(item.name) < 500, item.name
        assert "\\x1f\\x8b" not in item.name, item.name


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
        "explain",
        "export_adapters",
        "export_run",
        "load",
        "load_index",
        "predict",
        "serve",
        "train",
    ]
    for name in tfpipeline.__all__:
        assert getattr(tfpipeline, name) is not None, name


def test_import_brings_nothing_heavy():
    code = "import sys, tfpipeline, tfpipeline.cli; print([m for m in ('tensorflow', 'keras', 'numpy', 'pydantic', 'grpc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LAZY = [
    path
    for folder in ("tfpipeline", "export", "serving")
    for path in sorted((ROOT / folder).rglob("__init__.py"))
    if "= attach(" in path.read_text("utf-8")
]


@pytest.mark.parametrize("path", LAZY, ids=lambda path: path.parent.name)
def test_type_checkers_see_what_is_loaded_on_first_use(path):
    """The imports that only they read are the table that Python reads."""
    tree = ast.parse(path.read_text("utf-8"))
    (call,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "attach"
    ]
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    read = {
        alias.asname: node.module for node in block.body for alias in node.names if alias.asname == alias.name
    }
    assert read == ast.literal_eval(call.args[1])


def test_the_public_functions_have_types(tmp_path):
    """As mypy sees them from another project: none is Any."""
    code = [f"reveal_type(tfpipeline.{name})" for name in tfpipeline.__all__]
    code += ["reveal_type(tfpipeline.predict('m', 'one'))", "reveal_type(tfpipeline.predict('m', ['two']))"]
    (tmp_path / "theirs.py").write_text("\n".join(["import tfpipeline", *code]))
    # The project's own modules alone: the others have no types, and take minutes to read.
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        str(tmp_path / "theirs.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(code), done.stdout
    assert not [text for text in revealed if text == "Any"]
    by_name = dict(zip(tfpipeline.__all__, revealed))
    assert by_name["train"].startswith("def (run_file: str | os.PathLike[str] | ")
    assert by_name["train"].endswith("-> tfpipeline.training.run.Run")
    assert by_name["load"].endswith("-> tfpipeline.models.text_model.TextModel")
    assert re.fullmatch(r"tfpipeline[\w.]*\.Prediction", revealed[-2])
    assert re.fullmatch(r"list\[tfpipeline[\w.]*\.Prediction\]", revealed[-1])


def test_the_wheel_has_every_file():
    """Every folder with modules is a package, behind the links too, and what is not Python is package
    data.
    """
    (call,) = [
        node.value
        for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    # With this an editable install is a path, not a finder, which neither mypy nor editors follow.
    assert ast.literal_eval(arguments["package_dir"]) == {"": "."}
    data = ast.literal_eval(arguments["package_data"])
    found = set()
    for folder, folders, names in os.walk(ROOT / "tfpipeline", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        package = ".".join(Path(folder).relative_to(ROOT).parts)
        found.add(package)
        assert "__init__.py" in names, folder
        for name in names:
            patterns = ["*.py", *data.get(package, ())]
            assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), f"{folder}/{name}"
    assert {"tfpipeline.export", "tfpipeline.serving.client", "tfpipeline.checkpoints.formats"} <= found


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
