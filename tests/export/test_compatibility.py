"""Operations and attributes that releases of TensorFlow know."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpipeline._tensorflow_internals import OpList, SavedModel
from tfpipeline.errors import UserError
from tfpipeline.export import compatibility
from tfpipeline.export.generate_op_tables import RELEASES, table
from tfpipeline.export.options import ExportOptions


class Half(tf.Module):
    def __init__(self):
        super().__init__()
        self.plus = tf.Variable([1.0])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")], autograph=False)
    def half(self, x):
        return {"y": tf.cond(tf.size(x) > 0, lambda: x / 2 + self.plus, lambda: x)}


@pytest.fixture
def saved(tmp_path):
    module = Half()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.half})
    return tmp_path / "m"


def change(saved, op, change):
    """Change one node of a function."""
    path = saved / "saved_model.pb"
    proto = SavedModel.FromString(path.read_bytes())
    functions = proto.meta_graphs[0].graph_def.library.function
    node = next(node for function in functions for node in function.node_def if node.op == op)
    change(node)
    path.write_bytes(proto.SerializeToString())


def test_facts_about_releases():
    """By the release notes and the sources: what came when."""
    tables = {release: compatibility.table(release) for release in compatibility.RELEASES}
    assert list(tables) == list(RELEASES)
    assert ["debug_name" in known["VarHandleOp"] for known in tables.values()] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert ["DisableCopyOnRead" in known for known in tables.values()] == [False, True, True, True, True]
    assert ["grad_a" in known["MatMul"] for known in tables.values()] == [False, False, True, True, True]
    assert tables["2.21"]["MatMul"]["transpose_a"] == {"type": "bool", "default": False}
    assert tf.float32.as_datatype_enum in tables["2.6"]["MatMul"]["T"]["allowed"]
    assert compatibility.TABLES.stat().st_size < 100_000


def test_a_table_of_definitions():
    found = table(
        OpList(
            op=[
                {
                    "name": "A",
                    "attr": [
                        {"name": "T", "type": "type", "allowed_values": {"list": {"type": [1, 3]}}},
                        {"name": "s", "type": "string", "default_value": {"s": b"x"}},
                        {"name": "f", "type": "func"},
                    ],
                }
            ]
        ).SerializeToString()
    )
    assert found == {
        "A": {
            "T": {"type": "type", "allowed": [1, 3]},
            "s": {"type": "string", "default": "x"},
            "f": {"type": "func"},
        }
    }


def test_what_savers_and_debuggers_leave_is_removed(saved):
    found = list(compatibility.problems(saved, compatibility.table("2.6")))
    assert {"its VarHandleOp has no attribute debug_name", "it has no operation DisableCopyOnRead"} == set(
        found
    )
    before = (saved / "fingerprint.pb").read_bytes()
    compatibility.make_portable(saved)
    for release in compatibility.RELEASES:
        compatibility.check(saved, release)
    compatibility.check(saved)
    assert (saved / "fingerprint.pb").read_bytes() != before
    loaded = tf.saved_model.load(str(saved))
    assert loaded.signatures["serving_default"](x=tf.constant([4.0]))["y"].numpy().tolist() == [3.0]


def test_every_kind_of_problem_is_named(saved):
    compatibility.make_portable(saved)

    def wrong(node):
        node.attr["T"].type = tf.string.as_datatype_enum
        node.attr["grad_a"].b = True
        node.attr["_note"].b = True

    change(saved, "RealDiv", wrong)
    found = list(compatibility.problems(saved, compatibility.table("2.12")))
    assert sorted(found) == ["its RealDiv has no T string", "its RealDiv has no attribute grad_a"]
    with pytest.raises(
        compatibility.PortabilityError, match=r"TensorFlow 2\.12 cannot run this model: its RealDiv"
    ):
        compatibility.check(saved, "2.12")
    change(saved, "RealDiv", lambda node: node.attr.clear())
    assert list(compatibility.problems(saved, compatibility.table("2.12"))) == [
        "its RealDiv needs the attribute T"
    ]
    change(saved, "RealDiv", lambda node: setattr(node, "op", "Invented"))
    assert list(compatibility.problems(saved, compatibility.table("2.12"))) == [
        "it has no operation Invented"
    ]


def test_an_unknown_release_is_refused_first():
    with pytest.raises(
        UserError, match=r'target_serving is "2\.5"; it must be one of 2\.6, 2\.12, 2\.16, 2\.20, 2\.21'
    ):
        ExportOptions(target_serving="2.5")
