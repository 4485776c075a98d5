"""The tokenizer inside a SavedModel, loaded where our code is not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.text.conftest import reference_tokenizer
from tests.text.test_exactness import adversarial
from tfpipeline.text import TokenizerOptions, WordPieceTokenizer

# Run by an interpreter that knows TensorFlow and nothing of ours.
LOADER = """
import json, sys
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow.core.protobuf import saved_model_pb2

folder = sys.argv[1]
saved = saved_model_pb2.SavedModel()
with open(folder + "/saved_model.pb", "rb") as file:
    saved.ParseFromString(file.read())
graph = saved.meta_graphs[0].graph_def
functions = {function.signature.name for function in graph.library.function}
nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
ops = sorted({node.op for node in nodes} - functions)
unknown = [op for op in ops if op_def_registry.get(op) is None]
loaded = tf.saved_model.load(folder)
texts = json.load(sys.stdin)
answer = {k: v.numpy().tolist() for k, v in loaded.signatures["serving_default"](text=tf.constant(texts)).items()}
alone = loaded.signatures["serving_default"](text=tf.constant(texts[:1]))["input_ids"].numpy().tolist()
none = loaded.signatures["serving_default"](text=tf.constant([], tf.string))["input_ids"].shape.as_list()
placed = sorted({node.device for function in graph.library.function for node in function.node_def
                 if node.op in ("GatherV2", "Where", "SelectV2", "Cumsum", "TensorScatterUpdate", "Maximum")})
print(json.dumps({"placed": placed, "answer": answer, "alone": alone, "none": none, "ops": ops, "unknown": unknown,
                  "ours": [m for m in sys.modules if m.startswith("tfpipeline")]}))
"""


class Served(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text):
        return self.tokenizer(text, max_length=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, english):
    folder = tmp_path_factory.mktemp("saved") / "1"
    served = Served(WordPieceTokenizer(english, TokenizerOptions()))
    tf.saved_model.save(served, folder, signatures=served.serve)
    return folder


def test_answers_without_our_code(folder, english, tmp_path):
    texts = ["Hello, unaffable wörld!", "", *adversarial(700, seed=8)]
    result = subprocess.run(
        [sys.executable, "-I", "-c", LOADER, str(folder)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["ours"] == []
    assert found["unknown"] == []
    assert {"UnicodeDecode", "LookupTableFindV2"} <= set(found["ops"])  # the list is not empty by mistake
    assert not [op for op in found["ops"] if "Py" in op]
    want = reference_tokenizer(english, TokenizerOptions())(
        texts, truncation=True, max_length=40, padding=True
    )
    assert found["answer"] == {name: want[name] for name in want}
    assert found["alone"] == [want["input_ids"][0][: sum(want["attention_mask"][0])]]
    assert found["none"] == [0, 2]
    assert found["placed"] == ["/device:CPU:0"]  # nothing goes to an accelerator and back


def test_two_vocabularies_in_one_process(folder, english, tmp_path):
    """Tables are resources with names; a server holds several versions at once."""
    turned = (*english[:1000], *reversed(english[1000:]))
    other = Served(WordPieceTokenizer(turned, TokenizerOptions()))
    tf.saved_model.save(other, tmp_path / "2", signatures=other.serve)
    loaded = [tf.saved_model.load(path) for path in (folder, tmp_path / "2")]
    text = "hello unaffable world"
    for vocabulary, model in zip((english, turned), loaded):
        want = reference_tokenizer(vocabulary, TokenizerOptions())([text])["input_ids"]
        assert model.serve(tf.constant([text]))["input_ids"].numpy().tolist() == want


def test_tables_are_saved_once(folder):
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 3_000_000


def test_tables_are_no_weights(folder, english):
    """Else they would turn up among the weights of the model that the tokenizer is part of."""
    assert WordPieceTokenizer(english, TokenizerOptions()).variables == ()
    assert (folder / "variables" / "variables.data-00000-of-00001").stat().st_size < 10_000
