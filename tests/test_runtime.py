from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tfpipeline.errors import UserError
from tfpipeline.runtime import harmless, import_tensorflow, use_tensorflow_backend

ROOT = Path(__file__).parent.parent


def test_importing_prints_nothing_and_leaves_the_runtime_to_be_configured():
    """Logical devices can still be made: tests, and collectives, must configure before the runtime starts."""
    code = (
        "from tfpipeline.runtime import import_tensorflow as f; tf = f(); cpu = "
        "tf.config.list_physical_devices('CPU')[0]; "
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2); "
        "import keras; keras.ops.ones(2) + tf.ones(2); print(len(tf.config.list_logical_devices('CPU')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


def fake_keras(backend):
    return types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: backend))


def test_keras_of_another_backend_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", fake_keras("jax"))
    for ask in (use_tensorflow_backend, import_tensorflow):
        with pytest.raises(
            UserError, match="Keras was imported with the backend jax, and tfpipeline needs tensorflow"
        ):
            ask()
    monkeypatch.setitem(sys.modules, "keras", fake_keras("tensorflow"))
    use_tensorflow_backend()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (None, ""),
        ("tensorflow", ""),
        ("jax", "KERAS_BACKEND=jax is ignored: tfpipeline runs Keras on TensorFlow\n"),
    ],
)
def test_the_backend_is_tensorflow_whatever_the_environment_says(monkeypatch, capsys, asked, said):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", asked or "")
    if asked is None:
        monkeypatch.delenv("KERAS_BACKEND")  # then keras.json says what the backend is
    use_tensorflow_backend()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert capsys.readouterr().err == said
    use_tensorflow_backend()
    assert capsys.readouterr().err == ""


def test_settings_of_keras_that_stop_tensorflow_are_named(monkeypatch, tmp_path):
    (tmp_path / "tensorflow.py").write_text("assert False")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    with pytest.raises(AssertionError):
        import_tensorflow()
    (tmp_path / "keras.json").write_text('{"floatx": "bfloat16"}')
    with pytest.raises(UserError, match=rf"with the settings in {tmp_path}/keras\.json"):
        import_tensorflow()


def test_ctrl_c_during_the_import_shows_no_start_up_lines(monkeypatch, tmp_path, capfd):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'oneDNN custom operations are on\\nreal\\n')\nraise KeyboardInterrupt"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    with pytest.raises(KeyboardInterrupt):
        import_tensorflow()
    assert capfd.readouterr().err == "real\n"


def test_every_package_with_keras_in_it_sets_the_backend():
    """A package's own file runs before any module of it, and so before Keras is imported."""
    folders = {
        path.parent
        for folder in ("tfpipeline", "export", "serving")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) keras", path.read_text("utf-8"), re.MULTILINE)
        and path.name != "_keras_internals.py"  # imported by modules of such packages only
    }
    assert len(folders) >= 4
    for folder in folders:
        # Its own file, or that of a package around it, which runs earlier still.
        around = [
            path / "__init__.py" for path in (folder, *folder.parents) if (path / "__init__.py").exists()
        ]
        texts = [path.read_text("utf-8") for path in around if path.parent != ROOT / "tfpipeline"]
        assert any("\nuse_tensorflow_backend()" in text for text in texts), folder


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01 00:00:00.1: E tensorflow/core/framework/op_kernel.cc:1] OOM when allocating tensor",
        "E0000 00:00:1.2 3 cuda_platform.cc:52] out of memory",
        "Traceback (most recent call last):",
    ],
)
def test_real_errors_are_shown(line):
    assert not harmless(line)
