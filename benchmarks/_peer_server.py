"""A plain gRPC server around ONNX Runtime or PyTorch, as one writes it in an afternoon; see ``serve.py``.

    python -m benchmarks._peer_server onnxruntime|torch FOLDER

It prints its port when it is ready, and ends when its standard input is closed. One method, ``/peer/embed``:
a JSON list of texts -> float32 [B, H] as bytes. Each request is computed by itself, in the thread of its
call, padded to its longest text. FOLDER has a checkpoint in Hugging Face's format, and ``model.onnx`` for
ONNX Runtime.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

METHOD = "/peer/embed"
MOST_TOKENS = 128
CALLS = 64

Embed = Callable[[list[str]], np.ndarray]


def _tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    return BertTokenizerFast.from_pretrained(folder)


def onnxruntime(folder: Path, threads: int) -> Embed:
    """ONNX Runtime in float32."""
    from benchmarks import _onnx

    tokenizer = _tokenizer(folder)
    run = _onnx.runner(folder / "model.onnx", threads)

    def embed(texts: list[str]) -> np.ndarray:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="np")
        return run(tokens["input_ids"], tokens["attention_mask"].sum(1))

    return embed


def torch(folder: Path, threads: int) -> Embed:
    """transformers' BERT in PyTorch, in float32, with mean pooling as sentence-transformers does it."""
    import torch as library
    from transformers import BertModel

    library.set_num_threads(threads)
    tokenizer = _tokenizer(folder)
    model = BertModel.from_pretrained(folder, add_pooling_layer=False)
    model.eval()

    def embed(texts: list[str]) -> np.ndarray:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        with library.inference_mode():
            states = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][:, :, None].float()
            pooled: np.ndarray = ((states * mask).sum(1) / mask.sum(1)).numpy()
        return pooled

    return embed


def main() -> None:
    """Serve until the standard input is closed."""
    import grpc

    kind, folder = sys.argv[1], Path(sys.argv[2])
    embed = {"onnxruntime": onnxruntime, "torch": torch}[kind](folder, os.cpu_count() or 1)
    embed(["ready"])

    def answer(request: bytes, context: Any) -> bytes:
        return embed(json.loads(request)).astype(np.float32).tobytes()

    handler = grpc.method_handlers_generic_handler(
        METHOD.split("/")[1], {METHOD.split("/")[2]: grpc.unary_unary_rpc_method_handler(answer)}
    )
    server = grpc.server(ThreadPoolExecutor(CALLS), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
