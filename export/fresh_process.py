"""Run as a script, in a process of its own: loads a SavedModel as any server would and asks it.

    python -I fresh_process.py SAVED_MODEL REQUEST.json FOLDER

Imports nothing of ours, and says so by failing if anything of ours was loaded.
"""

import json
import os
import sys

import numpy as np
import tensorflow as tf


def main() -> None:
    saved_model, request_path, folder = sys.argv[1:]
    with open(request_path, encoding="utf-8") as file:
        asked = json.load(file)
    loaded = tf.saved_model.load(saved_model)
    for signature, values in asked.items():
        function = loaded.signatures[signature]
        _, specs = function.structured_input_signature
        inputs = {name: tf.constant(value, specs[name].dtype) for name, value in values.items()}
        numbers, strings = {}, {}
        for name, tensor in function(**inputs).items():
            array = tensor.numpy()
            if array.dtype != object:
                numbers[f"output {name}"] = (
                    array  # savez has arguments of its own, called file and allow_pickle
                )
            else:  # as JSON: one long string would make every cell of a fixed-width array as long
                texts = [text.decode("utf-8") for text in array.flat]
                strings[name] = {"shape": array.shape, "values": texts}
        np.savez(os.path.join(folder, f"{signature}.npz"), **numbers)
        with open(os.path.join(folder, f"{signature}.json"), "w", encoding="utf-8") as file:
            json.dump(strings, file)
    ours = [module for module in sys.modules if module.partition(".")[0] == "tfpipeline"]
    if ours:
        raise SystemExit(f"our own code was imported: {ours}")


main()
