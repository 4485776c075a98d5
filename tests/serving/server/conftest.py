"""Tiny SavedModels with known answers, and a stand-in for tensorflow_model_server."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf


class HalfPlus(tf.Module):
    """x / 2 + plus; upper-cased text; a row that may not be negative; rows of a fixed and of any width."""

    def __init__(self, plus: float) -> None:
        super().__init__()
        self.plus = tf.Variable(plus)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half_plus(self, x):
        return {"y": x / 2 + self.plus}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def upper(self, text):
        return {"upper": tf.strings.upper(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def picky(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
            return {"y": tf.identity(x) + 1}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def row_sums(self, x):
        return {"sum": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def letters(self, text):
        return {"letters": tf.strings.bytes_split(text).to_tensor("-")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def lies(self, x):
        # One row whatever comes in, though the shape says one for each.
        return {"y": tf.ensure_shape(tf.reshape(tf.reduce_sum(x), [tf.minimum(1, tf.size(x))]), [None])}

    def save(self, path: Path) -> None:
        names = ("upper", "picky", "row_sums", "letters", "lies")
        signatures = {name: getattr(self, name) for name in names}
        tf.saved_model.save(self, str(path), {"serving_default": self.half_plus, **signatures})


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved_models")
    for plus in (2, 3):
        HalfPlus(float(plus)).save(folder / f"plus{plus}")
    return folder


@pytest.fixture
def publish(saved_models):
    """Put a saved model into a model directory as a version, the way an export does: copy, then rename."""

    def publish(model_dir: Path, version: int, which: str = "plus2") -> Path:
        model_dir.mkdir(parents=True, exist_ok=True)
        temporary = model_dir / f".tmp-{version}"
        shutil.copytree(saved_models / which, temporary)
        os.rename(temporary, model_dir / str(version))
        return model_dir

    return publish


@pytest.fixture
def eventually():
    """Wait for a condition, or fail."""

    def eventually(condition, seconds: float = 20.0):
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)
        return value

    return eventually


@pytest.fixture
def fake_binary(tmp_path):
    """An executable that answers GetModelStatus as tensorflow_model_server does, and echoes Predict's
    bytes.
    """
    source = Path(__file__).with_name("fake_model_server.py")
    path = tmp_path / "bin" / "tensorflow_model_server"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n" + source.read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
