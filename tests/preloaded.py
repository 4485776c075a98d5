"""What processes of :mod:`tests.forked` begin with; its import starts neither threads nor the runtime."""

from __future__ import annotations

import gc

from tfpipeline.runtime import import_tensorflow

import_tensorflow()

import sklearn.metrics  # noqa: E402, F401

import tfpipeline.commands.train  # noqa: E402
import tfpipeline.training.loop  # noqa: E402, F401

gc.collect()
gc.freeze()  # TensorFlow's own objects are no garbage
