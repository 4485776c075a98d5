"""What holds for every method of parameter-efficient fine-tuning."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.models import adapted
from tests.training.test_step import batch
from tfpipeline import checkpoints
from tfpipeline.config import settings
from tfpipeline.errors import UserError
from tfpipeline.models import Noise, peft
from tfpipeline.training import freezing
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.precision import policy
from tfpipeline.training.step import TrainStep

NOISE = Noise(seed=5, step=9)

every = pytest.mark.parametrize("case", adapted.CASES, ids=adapted.called)
every_method = pytest.mark.parametrize("case", adapted.FIRST, ids=adapted.called)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("peft") / "checkpoint"))


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    """With one layer, where a graph is traced."""
    folder = tmp_path_factory.mktemp("shallow") / "checkpoint"
    return checkpoints.load(tiny.write_checkpoint(folder, num_hidden_layers=1))


@every
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_new_one_leaves_outputs_bit_equal(checkpoint, case, precision):
    """Without and with dropout: the encoder's masks do not move."""
    made, plain = (adapted.model(checkpoint, options, precision) for options in (case, None))
    for noise in (None, NOISE):
        np.testing.assert_array_equal(adapted.logits(made, noise), adapted.logits(plain, noise))


@every
def test_trained_weights_matter(checkpoint, case):
    made = adapted.disturb(adapted.model(checkpoint, case))
    assert np.abs(adapted.logits(made) - adapted.logits(adapted.model(checkpoint))).max() > 1e-3


@every
@pytest.mark.filterwarnings(  # Keras's own saving, with NumPy 2.4
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
def test_options_and_weights_survive_keras_files(checkpoint, case, tmp_path):
    made = adapted.disturb(adapted.model(checkpoint, case))
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert settings(loaded.adaptation.options) == settings(made.adaptation.options)
    assert loaded.adaptation.get_config() == made.adaptation.get_config()
    paths = [[variable.path for variable in each.adaptation.trained] for each in (made, loaded)]
    assert paths[0] == paths[1] != []
    np.testing.assert_array_equal(adapted.logits(loaded), adapted.logits(made))


@every
def test_a_copy_from_its_configuration_starts_with_the_same_weights(checkpoint, case):
    made = adapted.model(checkpoint, case, seed=8)
    copy = type(made).from_config(made.get_config())
    for one, other in zip(made.adaptation.added, copy.adaptation.added, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


@every
def test_gradients_are_finite_differences(shallow, case):
    """Of each variable along a random direction, with dropout."""
    made = adapted.disturb(adapted.model(shallow, case), std=0.2)
    random = np.random.default_rng(1)
    weights = tf.constant(random.normal(size=(3, 3)))
    given = {name: tf.constant(value) for name, value in adapted.inputs().items()}

    @tf.function(autograph=False)
    def loss():
        return tf.reduce_sum(made(given, training=True, noise=NOISE)["logits"] * weights)

    variables = made.adaptation.trained
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([variable.value for variable in variables])
        value = loss.python_function()
    gradients = tape.gradient(value, [variable.value for variable in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        before, direction = variable.numpy(), random.normal(size=variable.shape)
        ends = []
        for size in (1e-5, -1e-5):
            variable.assign(before + size * direction)
            ends.append(float(loss()))
        variable.assign(before)
        found = np.sum(gradient * direction)
        np.testing.assert_allclose(
            found, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7, err_msg=variable.path
        )


@every
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_merged_is_unmerged_or_is_refused(checkpoint, case, precision, tolerance):
    made = adapted.disturb(adapted.model(checkpoint, case, precision), std=0.1)
    before = adapted.logits(made)
    if not made.mergeable:
        with pytest.raises(UserError) as caught:
            made.merge()
        assert str(caught.value) == (
            f"a model with peft.method {case['method']} cannot be merged into the encoder, because it adds layers "
            "of its own; methods that can are lora, adalora, ia3 and bitfit"
        )
        assert made.adaptation is not None
        np.testing.assert_array_equal(adapted.logits(made), before)
        return
    assert made.merge() is made
    assert made.adaptation is None
    plain = adapted.model(checkpoint, precision=precision)
    assert [variable.path for variable in made.variables] == [variable.path for variable in plain.variables]
    np.testing.assert_allclose(adapted.logits(made), before, rtol=0, atol=tolerance * np.abs(before).max())


@every
def test_dropout_sites_are_unique(checkpoint, case):
    made = adapted.model(checkpoint, case)
    sites = [layer.site for layer in adapted.all_layers(made.encoder) if hasattr(layer, "rate")]
    sites += [layer.site for layer in adapted.all_layers(made.head) if hasattr(layer, "site")]
    assert len(sites) > 5
    assert len(set(sites)) == len(sites)
    if "dropout" in case:
        own = [layer.dropout.site for layer in made.adaptation.layers.values()]
        assert set(own) <= set(sites)


@pytest.mark.parametrize("case", [case for case in adapted.CASES if "dropout" in case], ids=adapted.called)
def test_its_dropout_depends_on_the_noise_and_is_off_in_evaluation(checkpoint, case):
    without, with_dropout = (
        adapted.disturb(adapted.model(checkpoint, {**case, "dropout": rate}, dropout=0.0))
        for rate in (0.0, 0.2)
    )
    expected = adapted.logits(without)
    np.testing.assert_array_equal(adapted.logits(with_dropout), expected)
    np.testing.assert_array_equal(adapted.logits(without, NOISE), adapted.logits(without, Noise(5, 10)))
    dropped = [adapted.logits(with_dropout, noise) for noise in (NOISE, NOISE, Noise(5, 10))]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    for other in (expected, dropped[2]):
        assert np.abs(dropped[0] - other).max() > 1e-4


@every_method
def test_head_and_method_are_trained_and_nothing_else(checkpoint, case):
    made = adapted.model(checkpoint, case)
    chosen = [variable.path for variable in freezing.select(made, [])]
    expected = [*made.adaptation.trained, *made.head.trainable_variables]
    assert sorted(chosen) == sorted(variable.path for variable in expected)
    assert len(made.head.trainable_variables) >= 2
    assert not any("pooler" in path for path in chosen)


def frozen_products(step, shapes):
    """Operations of a traced step, other than reads, whose results have one of these shapes."""
    (compiled,) = step._compiled.values()
    found = []
    for operation in compiled.get_concrete_function().graph.get_operations():
        if operation.type in ("MatMul", "UnsortedSegmentSum", "Sum", "AddN", "BatchMatMulV2"):
            found += [operation.name for each in operation.outputs if each.shape in shapes]
    return found


def trained(checkpoint, case):
    with policy("float64"):
        made = adapted.model(checkpoint, case)
        options = TrainingOptions(precision="float64", learning_rate=0.01, warmup=0.0)
        if made.adaptation is not None:
            made.adaptation.prepare(20)
        variables = freezing.select(made, [])
        optimizer = build_optimizer(options, made, 20, variables)
    task = adapted.task(0.1)
    step = TrainStep(tf.distribute.OneDeviceStrategy("/cpu:0"), made, task, optimizer, options, variables)
    return made, optimizer, step


# Of kernels and embeddings of the encoder; no matrix of a method has one of these.
KERNELS = [(16, 48), (16, 16), (16, 32), (32, 16), (len(tiny.VOCABULARY), 16), (40, 16), (2, 16)]


def test_full_training_computes_gradients_of_kernels_and_embeddings(shallow):
    """Or the next test would find nothing whatever happens."""
    _, _, step = trained(shallow, None)
    step(batch(), 0)
    assert len(frozen_products(step, KERNELS)) >= 6


@every_method
def test_frozen_weights_have_no_slots_no_gradients_and_do_not_change(shallow, case):
    made, optimizer, step = trained(shallow, case)
    variables = freezing.select(made, [])
    names = {variable.path.replace("/", "_") for variable in variables}
    slots = [variable for variable in optimizer.variables if variable.name.endswith(("momentum", "velocity"))]
    assert len(slots) == 2 * len(variables)
    assert {slot.name.removesuffix("_momentum").removesuffix("_velocity") for slot in slots} == names
    before = {variable.path: variable.numpy() for variable in made.variables}
    for number in range(3):
        step(batch(seed=number), number)
    assert frozen_products(step, KERNELS) == []
    paths = {variable.path for variable in variables}
    state = {variable.path for variable in made.adaptation.added} - paths
    for variable in made.variables:
        if variable.path in paths:
            moved = np.abs(variable.numpy() - before[variable.path]).max()
            assert moved > 1e-5, variable.path
        elif variable.path not in state:
            np.testing.assert_array_equal(variable, before[variable.path], err_msg=variable.path)


def test_every_method_says_what_it_is():
    assert peft.names() == ["adalora", "adapters", "bitfit", "ia3", "lora", "prefix"]
    for name in peft.names():
        options = peft.find(name)()
        assert options.method == name
        assert options.version >= 1
