"""Run as a script, in a process of its own: loads a SavedModel as any server would and asks it.

    python -I fresh_process.py SAVED_MODEL REQUEST.json ANSWER.npz

Imports nothing of ours, and says so by failing if anything of ours was loaded.
"""

import json
import sys

import numpy as np
import tensorflow as tf


def main() -> None:
    saved_model, request_path, answer_path = sys.argv[1:]
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    function = tf.saved_model.load(saved_model).signatures[request["signature"]]
    _, specs = function.structured_input_signature
    inputs = {name: tf.constant(value, specs[name].dtype) for name, value in request["inputs"].items()}
    answers = {}
    for name, tensor in function(**inputs).items():
        value = tensor.numpy()
        # Fixed-width UTF-8 instead of objects, so that the file needs no pickle to be read.
        answers[name] = np.char.decode(value.astype("S"), "utf-8") if value.dtype == object else value
    ours = [module for module in sys.modules if module.partition(".")[0] == "tfpipeline"]
    if ours:
        raise SystemExit(f"our own code was imported: {ours}")
    np.savez(answer_path, **answers)  # type: ignore[arg-type] # none is called allow_pickle


main()
