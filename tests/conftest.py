"""Shared by all tests: quiet TensorFlow, several devices, reproducible hypothesis, stable names."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import warnings

import hypothesis
import pytest

from tests.shared import shared  # noqa: F401 - fixtures of all folders
from tests.warm_process import cold_process, warm_process  # noqa: F401

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Compiling takes a third of the time without LLVM's optimizations, fusion emitters and parts that are compiled
# in parallel: code that runs once has no use of them.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
gc.disable()  # until TensorFlow is imported

hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, print_blob=True, max_examples=50
)
# Others each time: `make soak`.
hypothesis.settings.register_profile("random", deadline=None, print_blob=True, max_examples=300)
hypothesis.settings.load_profile("tests")

# TensorFlow's graph optimizer takes a quarter of a short training's time, and hardly speeds up models of the
# tests' size. These folders run with it, as the product does: their subject is a graph that is served.
_WITH_GRAPH_OPTIMIZER = {"cli", "contract", "serving"}


def pytest_configure(config):
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        gc.enable()
        return  # this process only hands out tests: its workers would wait for its TensorFlow
    with warnings.catch_warnings():  # what TensorFlow's own import warns of is not ours to mend
        warnings.simplefilter("ignore")
        from tfpipeline.runtime import import_tensorflow

        tensorflow = import_tensorflow()
    # Replicas train on devices of their own, which can only be made before TensorFlow starts.
    (cpu,) = tensorflow.config.list_physical_devices("CPU")
    tensorflow.config.set_logical_device_configuration(
        cpu, [tensorflow.config.LogicalDeviceConfiguration()] * 3
    )
    # Many tests load the same few vocabularies in turn. The product keeps the last four tokenizers.
    from tfpipeline.text import sharing

    sharing._build = functools.lru_cache(maxsize=8)(sharing._build.__wrapped__)
    # TensorFlow's own objects are no garbage. Tracing a graph makes many more: looking through all of them at
    # Python's own rate takes a fifth of a session's time.
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    import tensorflow

    folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
    # What other processes compute, which have the optimizer, is compared with it.
    compared = {"undisturbed", "cold_process"} & set(item.fixturenames)
    spared = folder not in _WITH_GRAPH_OPTIMIZER and not compared
    options = {"disable_meta_optimizer": spared}
    tensorflow.config.optimizer.set_experimental_options(options)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Free what a module leaves: workers that keep it leave no memory for the processes that tests start."""
    result = yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        _return_free_memory()
    return result


def _return_free_memory():
    """Tensors of many threads leave holes all over the heap; only Linux's C library can give them back."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def pytest_collection_modifyitems(items):
    """First the tests that wait for minutes on processes of their own: other tests run meanwhile."""
    items.sort(key=lambda item: not item.path.match("training/test_exactness.py"))


def pytest_make_parametrize_id(config, val, argname):
    """Name what is no plain text by its argument and number.

    A compressed body holds the time, so that each worker would give the test another name.
    """
    if isinstance(val, (bytes, bytearray, memoryview)):
        plain = bytes(val).isascii() and bytes(val).decode("ascii").isprintable()
    elif isinstance(val, str):
        plain = True
    else:
        return None
    return None if plain and len(val) <= 200 else argname
