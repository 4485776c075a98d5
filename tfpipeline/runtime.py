"""Imports TensorFlow without its start-up lines, and hides nothing else.

TensorFlow writes to standard error from C++ before its own log level takes effect ("oneDNN custom operations
are on", "Could not find cuda drivers", "failed call to cuInit" on a machine without a GPU). Standard error is
captured while TensorFlow is imported and finds its devices. Lines known to be harmless are dropped, and all
others are passed on. If the import fails, everything is passed on.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from typing import Any

from tfpipeline.errors import UserError

_HARMLESS = re.compile(
    r"All log messages before absl::InitializeLog"
    r"|oneDNN custom operations are on"
    r"|cudart_stub\.cc.*(Could not find cuda drivers|GPU will not be used)"
    r"|cpu_feature_guard\.cc"
    r"|^To enable the following instructions:"
    r"|cuda_platform\.cc.*failed call to cuInit"
    r"|Unable to register cu(FFT|DNN|BLAS) factory"
    r"|TF-TRT Warning: Could not find TensorRT"
    r"|computation_placer already registered"
)


def use_tensorflow_backend() -> None:
    """Make Keras run on TensorFlow, whatever KERAS_BACKEND or keras.json say; call this before Keras is
    imported.

    Raises:
        UserError: Keras is already imported, with another backend.
    """
    keras = sys.modules.get("keras")
    if keras is not None:
        backend = keras.config.backend()
        if backend != "tensorflow":
            raise UserError(
                f"Keras was imported with the backend {backend}, and tfpipeline needs tensorflow; set "
                "KERAS_BACKEND=tensorflow before Keras is imported"
            )
        return
    asked = os.environ.get("KERAS_BACKEND", "tensorflow")
    if asked != "tensorflow":
        print(f"KERAS_BACKEND={asked} is ignored: tfpipeline runs Keras on TensorFlow", file=sys.stderr)
    os.environ["KERAS_BACKEND"] = "tensorflow"


def harmless(line: str) -> bool:
    """Whether a line on standard error is one of TensorFlow's usual start-up lines."""
    return bool(_HARMLESS.search(line))


def import_tensorflow() -> Any:
    """Import TensorFlow quietly; returns the module. Call it before anything else that imports it.

    If the user has set ``TF_CPP_MIN_LOG_LEVEL`` to 0, nothing is hidden.

    Raises:
        UserError: Keras is imported with another backend, or its settings file stops TensorFlow.
    """
    use_tensorflow_backend()
    if "tensorflow" in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        import tensorflow

        return tensorflow
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    saved = os.dup(2)
    failed = True
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            import tensorflow

            # Looks for devices, which prints as well; unlike list_logical_devices it does not start
            # the runtime, after which logical devices and collectives can no longer be configured.
            tensorflow.config.list_physical_devices()
            failed = False
        except KeyboardInterrupt:
            failed = False
            raise
        except AssertionError as error:  # TensorFlow's own copy of Keras 2 asserts what it reads there
            settings = os.path.join(
                os.environ.get("KERAS_HOME", os.path.expanduser("~/.keras")), "keras.json"
            )
            if not os.path.exists(settings):
                raise
            failed = False
            raise UserError(
                f"TensorFlow cannot be imported with the settings in {settings}, such as its floatx; "
                f"correct or "
                "remove that file"
            ) from error
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for raw in caught.read().splitlines(keepends=True):
                if failed or not harmless(raw.decode("utf-8", "replace")):
                    os.write(2, raw)
    return tensorflow
