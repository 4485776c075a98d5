"""Reads Google checkpoints with bert4keras and asks them; a process of its own, as it wants Keras 2.

    python bert4keras_reader.py DIRECTORY ...

Each directory holds a checkpoint and ``inputs.npz``; its hidden states are written beside it,
``outputs.npy``.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

os.environ |= {"TF_KERAS": "1", "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from bert4keras.backend import keras, set_gelu  # noqa: E402
from bert4keras.models import build_transformer_model  # noqa: E402

for directory in map(Path, sys.argv[1:]):
    config = directory / "bert_config.json"
    set_gelu(json.loads(config.read_text()).get("gelu", "tanh"))
    model = build_transformer_model(str(config), str(directory / "bert_model.ckpt"))
    with np.load(directory / "inputs.npz") as inputs:
        outputs = model.predict([inputs["input_ids"], inputs["token_type_ids"]], verbose=0)
    np.save(directory / "outputs.npy", outputs)
    keras.backend.clear_session()
