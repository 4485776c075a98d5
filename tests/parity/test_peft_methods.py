"""LoRA, IA3 and AdaLoRA beside the PEFT library: ``make parity``."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("peft", reason="peft is in an environment of its own: make parity")

import peft as reference
import tensorflow as tf
import torch

from tests.parity import cases, pytorch
from tfpipeline import checkpoints
from tfpipeline.models import BertEncoder, peft

THEIRS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "inner": "intermediate.dense",
    "outer": "output.dense",
}
RANDOM = np.random.default_rng(7)


def pair(tmp_path, options, config):
    """Our encoder and their model in float64, with the same base, and a method whose weights differ."""
    theirs = pytorch.random_model({}, seed=1)
    theirs.save_pretrained(tmp_path)
    pytorch.write_vocabulary(tmp_path, cases.TINY_CONFIG["vocab_size"])
    checkpoint = checkpoints.load(tmp_path)
    ours = BertEncoder(checkpoint.config, dtype="float64")
    ours.assign(checkpoint.tensors)
    peft.attach(ours, options)
    theirs = reference.get_peft_model(theirs.double(), config).double()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if any(part in name for part in ("lora_A", "lora_B", "lora_E", "ia3_l")):
                weight.copy_(torch.from_numpy(RANDOM.normal(0, 0.5, tuple(weight.shape))))
    return ours, theirs.eval()


def variable(encoder, layer, projection, role):
    """Ours, of a projection of a layer."""
    dense = encoder.projections()[_whole(layer, projection)].dense
    last = projection.rpartition("/")[2]
    return getattr(dense.adapter, role.format(last))


def _whole(layer, projection):
    part = "feed_forward" if projection in ("inner", "outer") else "attention"
    return f"layer_{layer}/{part}/{projection.removeprefix('attention/')}"


def module(theirs, layer, projection):
    return theirs.get_submodule(f"base_model.model.encoder.layer.{layer}.{THEIRS[projection]}")


def array(tensor):
    return tensor.detach().numpy()


def assert_equal(ours, theirs):
    inputs = cases.inputs_of(7, cases.TINY_CONFIG["vocab_size"], 2)
    want = pytorch.outputs_of(theirs, inputs)
    outputs = ours(inputs)
    got = [outputs["sequence_output"].numpy(), outputs["pooled_output"].numpy()]
    plain = BertEncoder(ours.config, dtype="float64")
    plain.assign(ours.tensors())
    assert np.abs(plain(inputs)["pooled_output"].numpy() - got[1]).max() > 1e-2
    difference = np.abs(cases.real_tokens(got[0] - want[-2], inputs)).max()
    print(f"{difference:.1e}")
    assert difference < 1e-10
    np.testing.assert_allclose(got[1], want[-1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("stabilized", [False, True])
def test_lora(tmp_path, stabilized):
    options = {
        "method": "lora",
        "projections": ["all"],
        "rank": 3,
        "alpha": 5,
        "ranks": {"layer_1/attention/query": 6},
        "alphas": {"outer": 2.5},
        "rank_stabilized": stabilized,
    }
    config = reference.LoraConfig(
        r=3,
        lora_alpha=5,
        target_modules=r"encoder\..*(query|key|value|dense)",
        rank_pattern={r"encoder\.layer\.1\.attention\.self\.query": 6},
        alpha_pattern={r"encoder\.layer\.\d+\.output\.dense": 2.5},
        use_rslora=stabilized,
    )
    ours, theirs = pair(tmp_path, options, config)
    for layer in (0, 1):
        for projection in THEIRS:
            their = module(theirs, layer, projection)
            variable(ours, layer, projection, "{}_a").assign(array(their.lora_A["default"].weight).T)
            variable(ours, layer, projection, "{}_b").assign(array(their.lora_B["default"].weight).T)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("default", [False, True], ids=["ours", "theirs"])
def test_ia3(tmp_path, default):
    """With our default projections; and with theirs, which multiply the inputs of attention's output too."""
    inputs = ["outer", "attention/output"] if default else ["outer"]
    chosen = r"encoder\..*(key|value|output\.dense)"
    read = r"encoder\..*output\.dense"
    if not default:
        chosen, read = (
            r"encoder\..*(key|value|\d+\.output\.dense)",
            r"encoder\.layer\.\d+\.output\.dense",
        )
    config = reference.IA3Config(target_modules=chosen, feedforward_modules=read)
    ours, theirs = pair(tmp_path, {"method": "ia3", "inputs": inputs}, config)
    for layer in (0, 1):
        for projection in ("key", "value"):
            factors = array(module(theirs, layer, projection).ia3_l["default"])
            dense = ours.projections()[_whole(layer, projection)].dense
            dense.adapter.factors[projection].assign(factors.ravel())
        for projection in inputs:
            factors = array(module(theirs, layer, projection).ia3_l["default"])
            dense = ours.projections()[_whole(layer, projection)].dense
            dense.adapter.input_scale.assign(factors.ravel())
    assert_equal(ours, theirs)


STEPS, START, FINAL, INTERVAL = 10, 2, 3, 2
CHOSEN = ("query", "value", "inner", "outer")
ROLES = {"{}_a": "lora_A", "{}_lambda": "lora_E", "{}_b": "lora_B"}


def adalora(tmp_path):
    """A pair with AdaLoRA; the library divides alpha by the rank plus 1e-5."""
    options = {
        "method": "adalora",
        "projections": list(CHOSEN),
        "initial_rank": 4,
        "target_rank": 2,
        "alpha": 6 * 4 / (4 + 1e-5),
        "warmup": START,
        "final": FINAL,
        "interval": INTERVAL,
        "beta_1": 0.8,
        "beta_2": 0.6,
    }
    config = reference.AdaLoraConfig(
        init_r=4,
        target_r=2,
        lora_alpha=6,
        tinit=START,
        tfinal=FINAL,
        deltaT=INTERVAL,
        beta1=0.8,
        beta2=0.6,
        total_step=STEPS,
        target_modules=r"encoder\..*(query|value|intermediate\.dense|\d+\.output\.dense)",
    )
    ours, theirs = pair(tmp_path, options, config)
    for layer, projection, our, their in pieces():
        weight = array(getattr(module(theirs, layer, projection), their)["default"])
        variable(ours, layer, projection, our).assign(weight.ravel() if "lambda" in our else weight.T)
    return ours, theirs


def pieces():
    return [
        (layer, projection, our, their)
        for layer in (0, 1)
        for projection in CHOSEN
        for our, their in ROLES.items()
    ]


def test_adalora(tmp_path):
    assert_equal(*adalora(tmp_path))


def test_adaloras_importance_budget_and_choices(tmp_path):
    """With given gradients, and updates of the weights, through a whole training."""
    ours, theirs = adalora(tmp_path)
    ours.adaptation.prepare(STEPS)
    counts = []
    for done in range(1, STEPS + 1):
        gradients = {}
        for layer, projection, our, their in pieces():
            mine = variable(ours, layer, projection, our)
            weight = getattr(module(theirs, layer, projection), their)["default"]
            gradient, change = (RANDOM.normal(0, std, tuple(weight.shape)) for std in (1.0, 0.05))
            weight.grad = torch.from_numpy(gradient)
            with torch.no_grad():
                weight += torch.from_numpy(change)
            shaped = [each.ravel() if "lambda" in our else each.T for each in (gradient, change)]
            gradients[mine.path] = tf.constant(shaped[0])
            mine.assign(mine + shaped[1])
        ours.adaptation.after_step(gradients, tf.constant(done - 1, tf.int64))
        theirs.base_model.update_and_allocate(done)
        kept = 0
        for layer, projection, our, their in pieces():
            weight = array(getattr(module(theirs, layer, projection), their)["default"])
            mine = variable(ours, layer, projection, our).numpy()
            wanted = weight.ravel() if "lambda" in our else weight.T
            np.testing.assert_allclose(mine, wanted, rtol=1e-12, err_msg=f"{done} {layer} {projection} {our}")
            kept += np.count_nonzero(mine) if "lambda" in our else 0
        counts.append(kept)
        allocator = theirs.base_model.rankallocator
        if done < STEPS - FINAL:  # then the library drops them
            assert_same_importance(ours, theirs, allocator)
    # 8 matrices of rank 4: 16 + 16 * (left / 5) ** 3 after 4 and 6 steps.
    assert counts == [32, 32, 32, 19, 32, 16, 16, 16, 16, 16]


def assert_same_importance(ours, theirs, allocator):
    names = {id(weight): name for name, weight in theirs.base_model.model.named_parameters()}
    for layer, projection, our, their in pieces():
        name = names[id(getattr(module(theirs, layer, projection), their)["default"])]
        for role, means in (
            ("{}_sensitivity", allocator.exp_avg_ipt),
            ("{}_uncertainty", allocator.exp_avg_unc),
        ):
            found = variable(ours, layer, projection, role).numpy()
            size = variable(ours, layer, projection, "{}_a").shape[0]
            rows = {"{}_a": slice(0, size), "{}_lambda": slice(size, size + 1), "{}_b": slice(size + 1, None)}
            want = array(means[name])
            want = want.T if our in ("{}_a", "{}_lambda") else want
            np.testing.assert_allclose(found[rows[our]], want, rtol=1e-10, err_msg=f"{name} {role}")
