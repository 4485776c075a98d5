"""A script for a separate process: loads a SavedModel as any server would, and runs its signatures.

    python -I fresh_process.py SAVED_MODEL REQUEST.json FOLDER [WARMUP_REQUESTS]

It imports nothing of this package, and fails if anything of it was loaded. Warm-up requests are replayed
first, as in a server. ``prediction_logs.py``, which reads them, depends on no other module of this package.
"""

import json
import os
import runpy
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf


def replay(path: str, signatures: Mapping[str, Any]) -> None:
    logs = runpy.run_path(os.path.join(os.path.dirname(__file__), "prediction_logs.py"))
    for number, (signature, inputs) in enumerate(logs["read"](path), 1):
        try:
            function = signatures[signature]
            _, specs = function.structured_input_signature
            function(**{name: tf.io.parse_tensor(value, specs[name].dtype) for name, value in inputs.items()})
        except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
            raise SystemExit(f"warm-up request {number} of signature {signature} fails: {error}") from error


def main() -> None:
    saved_model, request_path, folder, *warmup_requests = sys.argv[1:]
    with open(request_path, encoding="utf-8") as file:
        asked = json.load(file)
    loaded = tf.saved_model.load(saved_model)
    for path in warmup_requests:
        replay(path, loaded.signatures)
    for signature, values in asked.items():
        function = loaded.signatures[signature]
        _, specs = function.structured_input_signature
        inputs = {name: tf.constant(value, specs[name].dtype) for name, value in values.items()}
        numbers, strings = {}, {}
        for name, tensor in function(**inputs).items():
            array = tensor.numpy()
            if array.dtype != object:
                numbers[f"output {name}"] = array  # savez has arguments called file and allow_pickle
            else:  # as JSON: in a fixed-width array, one long string would make every cell as long
                texts = [text.decode("utf-8") for text in array.flat]
                strings[name] = {"shape": array.shape, "values": texts}
        np.savez(os.path.join(folder, f"{signature}.npz"), **numbers)
        with open(os.path.join(folder, f"{signature}.json"), "w", encoding="utf-8") as file:
            json.dump(strings, file)
    ours = [module for module in sys.modules if module.partition(".")[0] == "tfpipeline"]
    if ours:
        raise SystemExit(f"our own code was imported: {ours}")


main()
