"""Checks whether a release of TensorFlow supports all operations and attributes of a SavedModel.

A server refuses a graph with an unknown operation, or an unknown attribute of a known one; newer releases add
attributes with defaults. The tables in ``op_tables.json.xz`` list what each release supports. They are made
from the releases' own definitions by ``generate_op_tables.py``.

The tables do not say which types an operation's CPU kernels support.
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
    """The requested release cannot run the exported graph."""


def check_release(release: str | None) -> None:
    """Refuse a release without a table.

    Raises:
        UserError: there is no table of the release.
    """
    if release is not None and release not in RELEASES:
        raise UserError(f'target_serving is "{release}"; it must be one of {", ".join(RELEASES)}')


def installed_release() -> str:
    """The release of the installed TensorFlow, such as "2.21"."""
    import tensorflow as tf

    return ".".join(tf.__version__.split(".")[:2])


# Attributes and operations of TensorFlow's own savers and debuggers that older servers do not support.
_DEBUG_ATTRIBUTES = {"VarHandleOp": ("debug_name",)}  # unknown to 2.12
_SAVING_OPERATIONS = frozenset(
    {"DisableCopyOnRead"}
)  # unknown to 2.6; in the function that writes checkpoints


def make_portable(saved_model: Path) -> None:
    """Remove parts of a SavedModel that no request needs and older releases refuse.

    TensorFlow gives each variable a name for debugging, an attribute that 2.12 does not know. In the function
    that saves variables it adds an operation without outputs, for which 2.6 refuses the whole graph.
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
        if node.op in _SAVING_OPERATIONS:  # not removed, because other operations depend on it
            node.op = "NoOp"
            del node.input[:]
            node.attr.clear()


def check(saved_model: Path, release: str | None = None) -> None:
    """Refuse a SavedModel that a release of TensorFlow cannot load.

    Args:
        saved_model: its directory.
        release: one of :data:`RELEASES`; by default the installed one, which is not checked if it has no
            table.
    Raises:
        PortabilityError: it has operations or attributes that the release does not know; names the first
            ones.
    """
    release = release or installed_release()
    if release not in RELEASES:
        return
    unsupported = list(dict.fromkeys(problems(saved_model, table(release))))
    if unsupported:
        more = f"; and {len(unsupported) - 3} more" if len(unsupported) > 3 else ""
        raise PortabilityError(
            f"TensorFlow {release} cannot run this model: {'; '.join(unsupported[:3])}{more}; choose another "
            "--target-serving, or export with an older TensorFlow"
        )


def problems(saved_model: Path, known: dict[str, Any]) -> Iterator[str]:
    """List what a release does not support in a SavedModel, in all nodes of all graphs and functions.

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
        if name.startswith("_"):  # hints to the runtime, which any operation may have
            continue
        if name not in known:
            yield f"its {node.op} has no attribute {name}"
            continue
        if value.WhichOneof("value") == "placeholder":  # set by the caller of the function
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
    """An ``AttrValue`` in JSON form, where values are compared; None for shapes, tensors and functions."""
    kind = value.WhichOneof("value")
    if kind == "list":
        lists = [getattr(value.list, field) for field in ("s", "i", "f", "b", "type")]
        return [_text(one) for values in lists for one in values]
    return _text(getattr(value, kind)) if kind in ("s", "i", "f", "b", "type") else None


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


@functools.cache
def table(release: str) -> dict[str, Any]:
    """The table of a release: operation -> attribute -> ``type``, ``default`` and ``allowed``.

    ``default`` exists only if the attribute has one, ``allowed`` only if not all values are allowed.
    """
    tables: dict[str, Any] = json.loads(lzma.decompress(TABLES.read_bytes()))
    return dict(tables[release])
