"""Private names of Keras and TensorFlow: each still does what is relied on, or the test names the version."""

from __future__ import annotations

import ast
import contextlib
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpipeline import _keras_internals, _tensorflow_internals
from tfpipeline.models import Noise

ROOT = Path(__file__).parent.parent
HOMES = ("_keras_internals.py", "_tensorflow_internals.py")


@contextlib.contextmanager
def relied_on(module, name):
    """Whatever fails inside is told as what it means: a release changed a private name."""
    try:
        yield
    except Exception as error:
        home = _keras_internals if module is keras else _tensorflow_internals
        raise AssertionError(
            f"{module.__name__} {module.__version__} changed the private {name} ({type(error).__name__}: "
            f"{error}); "
            f"adapt {home.__name__}, or exclude this version in setup.py"
        ) from error


def test_the_message_names_the_version_and_the_module():
    optimizer = keras.optimizers.AdamW()
    with pytest.raises(AssertionError) as caught, relied_on(keras, "_get_variable_indexes"):
        optimizer._get_variable_indexes(None)
    assert str(caught.value).startswith(
        f"keras {keras.__version__} changed the private _get_variable_indexes (AttributeError: "
    )
    assert str(caught.value).endswith(
        "); adapt tfpipeline._keras_internals, or exclude this version in setup.py"
    )


# Keras.


def two_variables():
    return [keras.Variable(np.ones(shape), name=name) for shape, name in (((2, 3), "kernel"), ((3,), "bias"))]


def test_layers_inside_a_layer():
    class Outer(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.last = keras.layers.Dense(1)
            self.group = {"z": keras.Sequential([keras.layers.ReLU()]), "a": keras.layers.Dense(2)}

    with relied_on(keras, "Layer._flatten_layers"):
        outer = Outer()
        assert _keras_internals.sublayers(outer) == [outer.last, outer.group["z"], outer.group["a"]]


def test_the_place_and_the_decay_of_a_variable():
    with relied_on(keras, "BaseOptimizer._get_variable_index"):
        variables, optimizer = two_variables(), keras.optimizers.AdamW(weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_list=variables[1:])
        optimizer.build(variables)
        assert [_keras_internals.variable_index(optimizer, variable) for variable in variables] == [0, 1]
    with relied_on(keras, "BaseOptimizer._use_weight_decay"):
        assert [_keras_internals.is_decayed(optimizer, variable) for variable in variables] == [True, False]


def test_the_moments_of_adam():
    """After one step from zero: (1 - beta) times the gradient, and times its square."""
    with relied_on(keras, "Adam._momentums or _velocities"):
        variables, optimizer = two_variables(), keras.optimizers.AdamW(beta_1=0.9, beta_2=0.99)
        optimizer.apply([tf.fill((2, 3), 4.0), tf.fill((3,), 2.0)], variables)
        found = [[np.unique(slot) for slot in _keras_internals.moments(optimizer, index)] for index in (0, 1)]
        np.testing.assert_allclose(np.ravel(found), [0.4, 0.16, 0.2, 0.04], rtol=1e-5)


def test_the_slots_of_adafactor():
    """An update writes into the slots that were set: rows and columns of a matrix, all of a vector."""
    with relied_on(keras, "Adafactor._r, _c or _v"):
        variables = two_variables()
        optimizer = keras.optimizers.Adafactor(relative_step=False)
        optimizer.build(variables)
        rows, columns, whole = (
            [tf.Variable(tf.zeros(shape)) for shape in shapes]
            for shapes in ([(2,), ()], [(3,), ()], [(2, 3), (3,)])
        )
        _keras_internals.set_adafactor_slots(optimizer, rows, columns, whole)
        optimizer.apply([tf.ones((2, 3)), tf.ones((3,))], variables)
        for slot in (rows[0], columns[0], *whole):
            np.testing.assert_allclose(slot, 1)  # the mean square of the only gradient


def test_the_rate_and_the_decay_are_the_optimizers_own():
    class Own(_keras_internals.OptimizerHooks, keras.optimizers.SGD):
        @property
        def learning_rate(self):
            return 0.5

    with relied_on(keras, "BaseOptimizer._learning_rate"):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.2])
        optimizer = Own(schedule, weight_decay=0.5)
        assert _keras_internals.schedule_of(optimizer) is schedule
    with relied_on(keras, "BaseOptimizer._apply_weight_decay"):
        variables = two_variables()
        optimizer.apply([tf.ones((2, 3)), tf.ones((3,))], variables)
        for variable in variables:
            np.testing.assert_allclose(variable, 0.5)  # not 0.9 of the schedule, nor 0.25 with the decay


# TensorFlow.


def test_how_long_workers_are_waited_for(monkeypatch):
    """It cannot be set in a process whose TensorFlow runs; its arguments are looked at."""
    given = {}
    context = _tensorflow_internals.context.context()
    with relied_on(tf, "context.configure_coordination_service"):
        parameters = inspect.signature(context.configure_coordination_service).parameters
        monkeypatch.setattr(
            context, "configure_coordination_service", lambda **options: given.update(options)
        )
        _tensorflow_internals.configure_coordination(3, connect_seconds=0.5, lost_seconds=30)
        assert given.keys() <= parameters.keys()
        (job,) = given["coordinated_jobs"]
        assert (job.name, job.num_tasks) == ("worker", 3)
    assert given["cluster_register_timeout_in_ms"] == 500
    assert given["heartbeat_timeout_in_ms"] == given["shutdown_barrier_timeout_in_ms"] == 30_000


def test_custom_gradients_are_forgotten():
    @tf.custom_gradient
    def doubled(x):
        return 2 * x, lambda dy: 3 * dy

    @tf.function
    def graph(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = doubled(x)
        return tape.gradient(y, x)

    with relied_on(tf, "ops.gradient_registry"):
        kept = set(_tensorflow_internals.ops.gradient_registry._registry)
        with _tensorflow_internals.forget_custom_gradients():
            assert graph(tf.constant(1.0)) == 3
            assert len(set(_tensorflow_internals.ops.gradient_registry._registry) - kept) == 1
        assert set(_tensorflow_internals.ops.gradient_registry._registry) == kept
        assert graph(tf.constant(2.0)) == 3
        assert graph(tf.constant([1.0, 2.0])).numpy().tolist() == [3, 3]  # traced again


def test_a_session_without_pythons_checks():
    with relied_on(tf, "Session._call_tf_sessionrun or Tensor._as_tf_output"):
        graph = tf.Graph()
        with graph.as_default():
            x = tf.compat.v1.placeholder(tf.float32, [2])
            y = x * 2
        with tf.compat.v1.Session(graph=graph) as session:
            handles = [_tensorflow_internals.session_handle(tensor) for tensor in (x, y)]
            (found,) = _tensorflow_internals.run_session(
                session, {handles[0]: np.float32([1, 2])}, handles[1:]
            )
            np.testing.assert_array_equal(found, [2, 4])
            with pytest.raises(tf.errors.InvalidArgumentError):  # C++'s; Python's own run would cast
                _tensorflow_internals.run_session(session, {handles[0]: np.int32([1, 2])}, handles[1:])


def test_messages(tmp_path):
    with relied_on(tf, "core.framework.types_pb2 or tensor_pb2"):
        types = _tensorflow_internals.types
        assert types.DataType.Name(tf.int32.as_datatype_enum) == "DT_INT32"
        proto = tf.make_tensor_proto(np.int64([3, 4]))
        assert isinstance(proto, _tensorflow_internals.TensorProto)
        assert proto.dtype == types.DT_INT64
    module = tf.Module()
    module.inner = tf.Module()
    module.inner.weight = tf.Variable(1.0)
    with relied_on(tf, "core.protobuf.saved_model_pb2"):
        tf.saved_model.save(module, str(tmp_path / "model"))
        bytes_ = (tmp_path / "model" / "saved_model.pb").read_bytes()
        (graph,) = _tensorflow_internals.SavedModel.FromString(bytes_).meta_graphs
        assert "VarHandleOp" in {node.op for node in graph.graph_def.node}
    with relied_on(tf, "core.protobuf.trackable_object_graph_pb2"):
        path = tf.train.Checkpoint(root=module).write(str(tmp_path / "checkpoint"))
        stored = tf.train.load_checkpoint(path).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
        nodes = _tensorflow_internals.TrackableObjectGraph.FromString(stored).nodes
        assert "root" in [child.local_name for child in nodes[0].children]
        (key,) = [
            value.checkpoint_key
            for node in nodes
            for value in node.attributes
            if value.name == "VARIABLE_VALUE"
        ]
        assert key == "inner/weight/.ATTRIBUTES/VARIABLE_VALUE"


def test_noise_passes_through_graphs():
    with relied_on(tf, "protocol of __tf_flatten__ and __tf_unflatten__"):
        noise = tf.function(lambda noise: Noise(noise.seed, noise.step + 1))(
            Noise(tf.constant(1), tf.constant(2))
        )
        assert isinstance(noise, Noise)
        assert int(noise.step) == 3
        assert len(tf.nest.flatten(noise)) == 3


# One place for them.


PRIVATE = {
    "_apply_weight_decay",
    "_as_tf_output",
    "_c",
    "_call_tf_sessionrun",
    "_flatten_layers",
    "_get_variable_index",
    "_layers",
    "_learning_rate",
    "_momentums",
    "_r",
    "_use_weight_decay",
    "_v",
    "_velocities",
}


def test_private_names_stay_in_their_modules():
    found, seen = [], set()
    folders = ("tfpipeline", "export", "serving", "benchmarks", "examples")
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert len(paths) > 200
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = set()
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}."}
            elif isinstance(node, ast.Import):
                names = {f"{alias.name}." for alias in node.names}
            elif isinstance(node, ast.Attribute):
                names = {node.attr} & PRIVATE
            elif isinstance(node, ast.FunctionDef):
                names = {node.name} & PRIVATE
            for name in names:
                hidden = ("keras.src.", "tensorflow.python.", "tensorflow.core.", "tensorflow.compiler.")
                if name in PRIVATE or name.startswith(hidden):
                    (
                        seen.add(name)
                        if path.name in HOMES
                        else found.append(f"{path.relative_to(ROOT)}: {name}")
                    )
    assert not found, f"private names of Keras and TensorFlow belong into {' or '.join(HOMES)}: {found}"
    assert seen >= PRIVATE - {"_layers"}
