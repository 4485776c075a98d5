from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path

import pytest

from tfpipeline import errors
from tfpipeline.errors import MissingExtraError, alike, did_you_mean, explain_missing_extra, visible

ROOT = Path(__file__).resolve().parent.parent


def missing(module, extra=None):
    with pytest.raises(MissingExtraError) as caught, explain_missing_extra(extra):
        raise ModuleNotFoundError(name=module)
    return str(caught.value)


@pytest.mark.parametrize(
    ("module", "asked", "package", "extra"),
    [
        ("yaml", None, "PyYAML", "train"),
        ("keras.ops", None, "Keras", "train"),
        ("tensorflow_serving.apis", None, "tensorflow-serving-api", "serve"),
        ("tensorflow", "serve", "TensorFlow", "serve"),
        ("openpyxl", None, "openpyxl", "excel"),
    ],
)
def test_a_missing_extra_names_its_pip_line(monkeypatch, tmp_path, module, asked, package, extra):
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "tfpipeline" / "errors.py"))
    assert missing(module, asked) == (
        f"{package} is not installed; install the `{extra}` extra (Python 3.11 to 3.13): "
        f"pip install 'tfpipeline[{extra}]'"
    )


def test_the_pip_line_of_a_checkout_is_that_of_the_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert missing("yaml").endswith(f"pip install -e {shlex.quote(f'{ROOT}[train]')}")
    monkeypatch.chdir(ROOT)
    assert missing("yaml").endswith("pip install -e '.[train]'")


@pytest.mark.parametrize("version", [(3, 9), (3, 10), (3, 14)])
def test_a_python_without_the_extra_is_told_so(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    assert f"needs Python 3.11 to 3.13, while this is Python 3.{version[1]};" in missing("yaml")


def test_every_package_of_an_extra_has_its_pip_line():
    """And `serve` needs nothing but what its extra installs."""
    lists = {}
    for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("BASE", "TRAIN", "SERVE"):
            names = [re.match(r"[\w-]+", text)[0].lower() for text in ast.literal_eval(node.value)]
            lists[node.targets[0].id] = set(names)
    called = {name: errors._PACKAGE_OF.get(name, name).lower() for name in errors._EXTRA_OF}
    reports = {"tensorboard", "pillow"}  # only TensorFlow and matplotlib import them
    assert lists["TRAIN"] - reports - set(called.values()) == set()
    assert lists["SERVE"] - set(called.values()) == set()
    imported = set()
    for path in (ROOT / "serving" / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    needed = {called[name] for name in imported & set(called)}
    assert needed == lists["SERVE"]


def test_other_missing_modules_stay_errors_of_ours():
    with pytest.raises(ModuleNotFoundError), explain_missing_extra():
        raise ModuleNotFoundError(name="tfpipeline.nonsense")


def test_did_you_mean():
    assert did_you_mean("epoch", ["epochs", "seed"]) == '; did you mean "epochs"?'
    assert did_you_mean("xyz", ["epochs", "seed"]) == "; known: epochs, seed"
    assert did_you_mean("xyz", []) == ""


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (" label", '" label" (with a blank before it)'),
        ("label ", '"label " (with a blank after it)'),
        ("label\u00a0", '"label\\u00a0" (with a no-break space (U+00A0) after it)'),
        ("\ufefflabel\t", '"\\ufefflabel\\t" (with a zero width no-break space (U+FEFF) before it and a tab after it)'),
        ("la\u200bbel", '"la\\u200bbel"'),
        ("\x7flabel", '"\\u007flabel" (with a control character (U+007F) before it)'),
        ("ＬＡＢＥＬ", '"ＬＡＢＥＬ"'),
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_shown(known, found):
    assert did_you_mean("label", ["labels", known]) == f"; did you mean {found}?"


def test_visible_texts_stay_as_they_are():
    assert visible('naïve 猫 😀 e\u0301 "a b"  \\') == 'naïve 猫 😀 e\u0301 "a b"  \\'
    assert visible("a\r\n\u2028\U000e0001\ud800") == "a\\r\\n\\u2028\\U000e0001\\ud800"


def test_what_is_alike():
    assert alike(" Ａ\u00a0b\u200b ") == alike("a   B") == "a b"
    assert alike("ab") != alike("a b")
