"""Shared by all tests: quiet TensorFlow, reproducible hypothesis."""

from __future__ import annotations

import os
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import hypothesis

hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("tests")

with warnings.catch_warnings():  # what TensorFlow's own import warns of is not ours to mend
    warnings.simplefilter("ignore")
    from tfpipeline.runtime import import_tensorflow

    import_tensorflow()
