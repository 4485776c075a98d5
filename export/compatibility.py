"""Whether a release of TensorFlow knows all operations of a SavedModel, with the attributes that they have.

A server refuses a graph that has an operation it does not know, or an attribute of one, which newer releases
add with a default. The tables of ``op_tables.json.xz`` say what each release knows; they are made of the
releases' own definitions by ``generate_op_tables.py``.

What the tables do not say is which types an operation's CPU kernels have.
"""

from __future__ import annotations

import functools
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpipeline.errors import UserError

TABLES = Path(__file__).with_name("op_tables.json.xz")
RELEASES = ("2.6", "2.12", "2.16", "2.20", "2.21")


class PortabilityError(UserError):
    """The release that was asked for cannot run the exported graph."""


def check_release(release: str | None) -> None:
    """Refuse a release that there is no table of.

    Raises:
        UserError: there is none.
    """
    if release is not None and release not in RELEASES:
        raise UserError(f'target_serving is "{release}"; it must be one of {", ".join(RELEASES)}')


def installed_release() -> str:
    """The release of the installed TensorFlow, such as "2.21"."""
    import tensorflow as tf

    return ".".join(tf.__version__.split(".")[:2])


# What TensorFlow writes for its own savers and debuggers, and older servers do not know.
_DEBUG_ATTRIBUTES = {"VarHandleOp": ("debug_name",)}  # unknown to 2.12
_SAVING_OPERATIONS = frozenset(
    {"DisableCopyOnRead"}
)  # unknown to 2.6; in the function that writes checkpoints


def make_portable(saved_model: Path) -> None:
    """Remove from a SavedModel what answers no request and older releases refuse.

    TensorFlow gives each variable a name for debugging, an attribute unknown to 2.12, and the function
    that saves variables an operation without outputs, for which 2.6 refuses the whole graph.
    """
    from tfpipeline._tensorflow_internals import SavedModel, write_fingerprint

    path = saved_model / "saved_model.pb"
    proto = SavedModel.FromString(path.read_bytes())
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            _strip(nodes)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    write_fingerprint(saved_model)


def _strip(nodes: Any) -> None:
    for node in nodes:
        for name in _DEBUG_ATTRIBUTES.get(node.op, ()):
            node.attr.pop(name, None)
        if node.op in _SAVING_OPERATIONS:  # not taken out, as others wait for it
            node.op = "NoOp"
            del node.input[:]
            node.attr.clear()


def check(saved_model: Path, release: str | None = None) -> None:
    """Refuse a SavedModel that a release of TensorFlow cannot load.

    Args:
        saved_model: its directory.
        release: one of :data:`RELEASES`; by default the installed one, which needs no check if there is no
            table of it.
    Raises:
        PortabilityError: it has operations or attributes that the release does not know; the first ones.
    """
    release = release or installed_release()
    if release not in RELEASES:
        return
    found = list(dict.fromkeys(problems(saved_model, table(release))))
    if found:
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise PortabilityError(
            f"TensorFlow {release} cannot run this model: {'; '.join(found[:3])}{more}; choose another "
            "--target-serving, or export with an older TensorFlow"
        )


def problems(saved_model: Path, known: dict[str, Any]) -> Iterator[str]:
    """What a release does not know of a SavedModel: all nodes of all graphs and functions.

    Args:
        saved_model: its directory.
        known: the release's :func:`table`.
    """
    from tfpipeline._tensorflow_internals import SavedModel

    proto = SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    for meta_graph in proto.meta_graphs:
        library = meta_graph.graph_def.library.function
        functions = {function.signature.name for function in library}
        nodes = [*meta_graph.graph_def.node, *(node for function in library for node in function.node_def)]
        for node in nodes:
            if node.op not in functions:
                yield from _node_problems(node, known.get(node.op))


def _node_problems(node: Any, known: dict[str, Any] | None) -> Iterator[str]:
    if known is None:
        yield f"it has no operation {node.op}"
        return
    for name, value in node.attr.items():
        if name.startswith("_"):  # notes for the runtime, which any operation may have
            continue
        if name not in known:
            yield f"its {node.op} has no attribute {name}"
            continue
        if value.WhichOneof("value") == "placeholder":  # set by whoever calls the function
            continue
        allowed = known[name].get("allowed")
        values = plain(value)
        for one in values if isinstance(values, list) else [values]:
            if allowed is not None and one not in allowed:
                yield f"its {node.op} has no {name} {_shown(known[name], one)}"
    for name, attribute in known.items():
        if name not in node.attr and "default" not in attribute:
            yield f"its {node.op} needs the attribute {name}"


def _shown(attribute: dict[str, Any], value: Any) -> str:
    if attribute["type"].removeprefix("list(").removesuffix(")") == "type":
        import tensorflow as tf

        return tf.as_dtype(value).name
    return str(value)


def plain(value: Any) -> Any:
    """An ``AttrValue`` as JSON has it, as far as values are compared: None for shapes, tensors, functions."""
    kind = value.WhichOneof("value")
    if kind == "list":
        lists = [getattr(value.list, field) for field in ("s", "i", "f", "b", "type")]
        return [_text(one) for values in lists for one in values]
    return _text(getattr(value, kind)) if kind in ("s", "i", "f", "b", "type") else None


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


@functools.cache
def table(release: str) -> dict[str, Any]:
    """What a release knows: operation -> attribute -> ``type``, ``default`` and ``allowed``.

    The latter two are there where the attribute has a default, and where not all values are allowed.
    """
    tables: dict[str, Any] = json.loads(lzma.decompress(TABLES.read_bytes()))
    return dict(tables[release])
