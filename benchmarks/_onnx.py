"""Writes BERT as an ONNX file, from this package's weights, to measure ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np


class _Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._node, self._tensor = helper.make_node, numpy_helper.from_array
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._tensor(np.array(value, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, output: Optional[str] = None, **attributes: Any) -> str:
        output = output or f"{operation}_{len(self.nodes)}"
        self.nodes.append(self._node(operation, list(inputs), [output], **attributes))
        return output


def write(config: Any, tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write an encoder with mean pooling, as PyTorch's exporter writes one.

    Args:
        config: of a BERT with GELU by erf.
        tensors: its weights by neutral name.
        path: the file. Inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, int64 [B, T]; output:
            ``embedding``, float32 [B, H].
    """
    from onnx import TensorProto, helper, save

    if config.hidden_act != "gelu_erf" or config.norm_first or config.causal:
        raise ValueError("only BERT with GELU by erf is written")
    graph = _Graph()
    add, constant = graph.add, graph.constant
    hidden, heads, size = config.hidden_size, config.num_attention_heads, config.head_size

    def ints(*values: int) -> str:
        return constant(values, np.int64)

    def norm(x: str, name: str) -> str:
        scale, bias = constant(tensors[f"{name}/scale"]), constant(tensors[f"{name}/bias"])
        return add("LayerNormalization", x, scale, bias, axis=-1, epsilon=config.layer_norm_eps)

    def dense(x: str, name: str, *shape: int) -> str:
        kernel, bias = tensors[f"{name}/kernel"].reshape(shape), tensors[f"{name}/bias"].reshape(-1)
        return add("Add", add("MatMul", x, constant(kernel)), constant(bias))

    width = add("Gather", add("Shape", "input_ids"), ints(1), axis=0)
    position = add("Slice", constant(tensors["embeddings/position"]), ints(0), width, ints(0))
    x = add("Gather", constant(tensors["embeddings/word"]), "input_ids")
    x = add("Add", x, add("Gather", constant(tensors["embeddings/token_type"]), "token_type_ids"))
    x = norm(add("Add", x, position), "embeddings/norm")
    real = add("Cast", "attention_mask", to=TensorProto.FLOAT)
    masked = add("Mul", add("Sub", constant(1.0), real), constant(-1e9))
    masked = add("Unsqueeze", masked, ints(1, 2))
    split = ints(0, 0, heads, size)
    for index in range(config.num_hidden_layers):
        attention, feed = f"layer_{index}/attention", f"layer_{index}/feed_forward"

        def by_head(
            role: str, axes: list[int], x: str = x, under: str = attention, split: str = split
        ) -> str:
            return add(
                "Transpose", add("Reshape", dense(x, f"{under}/{role}", hidden, hidden), split), perm=axes
            )

        scores = add("MatMul", by_head("query", [0, 2, 1, 3]), by_head("key", [0, 2, 3, 1]))
        scores = add("Add", add("Div", scores, constant(size**0.5)), masked)
        mixed = add("MatMul", add("Softmax", scores, axis=-1), by_head("value", [0, 2, 1, 3]))
        mixed = add("Reshape", add("Transpose", mixed, perm=[0, 2, 1, 3]), ints(0, 0, hidden))
        x = norm(add("Add", dense(mixed, f"{attention}/output", hidden, hidden), x), f"{attention}/norm")
        inner = dense(x, f"{feed}/inner", hidden, config.intermediate_size)
        below = add("Add", add("Erf", add("Div", inner, constant(2**0.5))), constant(1.0))
        inner = add("Mul", add("Mul", inner, below), constant(0.5))
        x = norm(
            add("Add", dense(inner, f"{feed}/outer", config.intermediate_size, hidden), x), f"{feed}/norm"
        )
    real = add("Unsqueeze", real, ints(2))
    total = add("ReduceSum", add("Mul", x, real), ints(1), keepdims=0)
    add("Div", total, add("ReduceSum", real, ints(1), keepdims=0), output="embedding")

    given = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"])
        for name in ("input_ids", "token_type_ids", "attention_mask")
    ]
    answer = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", hidden])]
    made = helper.make_graph(graph.nodes, "bert", given, answer, graph.constants)
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def runner(path: Path, threads: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of ``input_ids`` [B, T] and ``lengths`` [B] that runs ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Otherwise its threads would keep spinning while the next way is timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def ask(input_ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        ids = input_ids.astype(np.int64)
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        given = {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "attention_mask": mask}
        answer: np.ndarray = session.run(None, given)[0]
        return answer

    return ask
