"""Shared by all tests: quiet TensorFlow, reproducible hypothesis."""

from __future__ import annotations

import gc
import os
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import hypothesis
import pytest

hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("tests")

with warnings.catch_warnings():  # what TensorFlow's own import warns of is not ours to mend
    warnings.simplefilter("ignore")
    from tfpipeline.runtime import import_tensorflow

    tensorflow = import_tensorflow()

# TensorFlow's own objects are no garbage. Tracing a graph makes many more: looking through all of them at
# Python's own rate takes a fifth of a session's time.
gc.collect()
gc.freeze()
gc.set_threshold(20_000, 10, 10)

from tests.shared import shared  # noqa: E402, F401 - fixtures of all folders
from tests.warm_process import cold_process, warm_process  # noqa: E402, F401

# TensorFlow's graph optimizer takes a quarter of the time of these folders, and hardly speeds up models of
# this size. The others run with it, as the product does: their subject is a graph that is served, or numbers
# that two processes have to share.
_WITHOUT_GRAPH_OPTIMIZER = {"checkpoints", "data", "evaluation", "metrics", "models", "tasks", "text"}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
    options = {"disable_meta_optimizer": folder in _WITHOUT_GRAPH_OPTIMIZER}
    tensorflow.config.optimizer.set_experimental_options(options)


def pytest_collection_modifyitems(items):
    """First the tests that wait for minutes on processes of their own: other tests run meanwhile."""
    items.sort(key=lambda item: not item.path.match("training/test_exactness.py"))
