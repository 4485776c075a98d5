"""Checkpoints of TensorFlow 2 made from a list of keys, and keys put into one afterwards."""

from __future__ import annotations

import tensorflow as tf

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def write_tree(prefix, values, aliases=(), shared=()):
    """What ``tf.train.Checkpoint`` leaves for a tree in which each value is at its path.

    Args:
        prefix: of the files.
        values: path -> array; a path is a key without its ending, "/" and "." within a name escaped as there.
        aliases: path -> path of an object or a variable that is in ``values`` under the second.
        shared: paths under which nothing is saved, objects without variables.
    """
    root = tf.train.Checkpoint()
    for path, array in values.items():
        _put(root, path, tf.Variable(array))
    for path, other in dict(aliases).items():
        _put(root, path, _get(root, other))
    for path in shared:
        _put(root, path, tf.train.Checkpoint())
    root.save(str(prefix))
    return f"{prefix}-1"


def _steps(path):
    return [step.replace(".S", "/").replace("..", ".") for step in path.split("/")]


def _get(holder, path):
    for step in _steps(path):
        holder = getattr(holder, step)
    return holder


def _put(holder, path, item):
    *steps, last = _steps(path)
    for step in steps:
        if not hasattr(holder, step):
            setattr(holder, step, tf.train.Checkpoint())
        holder = getattr(holder, step)
    setattr(holder, last, item)


def rewrite(prefix, change):
    """Change the keys of a checkpoint; its tree stays as it is."""
    reader = tf.train.load_checkpoint(str(prefix))
    tensors = {name: tf.constant(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    change(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
