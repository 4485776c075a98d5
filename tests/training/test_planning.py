from __future__ import annotations

import numpy as np
import pytest

from tests import tiny
from tests.training import faults
from tfpipeline import cli, config
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig, ClassificationHead, TextModel, peft
from tfpipeline.training import RunConfig, freezing, train
from tfpipeline.training.activations import activation_bytes
from tfpipeline.training.planning import Plan, plan


def test_it_says_what_the_training_then_does(tiny_run):
    options = {"epochs": 3, "warmup": 5, "freeze": "first:1", "log_every": 1, "keep_optimizer": True}
    run_config = tiny_run(train=200, layers=2, **options)
    found = plan(run_config)
    run = train(run_config)
    state = run.store.state("last")
    assert found.total_steps == state["step"] == 3 * found.steps_per_epoch
    assert found.rows == {name: len(run.examples(name)) for name in ("train", "validation", "test")}
    lengths = run.token_cache("train", run.examples("train")).lengths
    assert (found.mean_tokens, found.longest) == (pytest.approx(lengths.mean()), lengths.max())
    model = run.model("last")
    assert found.parameters == model.count_params()
    frozen = sum(
        variable.value.shape.num_elements()
        for variable in [
            *model.encoder.embeddings.variables,
            *model.encoder.blocks[0].variables,
            *model.encoder.pooler.variables,
        ]
    )
    assert found.trained == found.parameters - frozen
    assert found.warmup == 5
    step = run.path / "checkpoints" / run.store.index()["last"]
    header = int.from_bytes((step / "optimizer.safetensors").read_bytes()[:8], "little") + 8
    assert found.slots == (step / "optimizer.safetensors").stat().st_size - header


def test_tokens_fed_by_hand(tmp_path):
    """Texts of 3 to 14 tokens in batches of 4 of one window: each batch is padded to a multiple of 8."""
    path = tiny.write_run_file(tmp_path, batch_size=4, bucket_window=1024)
    words = [["good", "bad"][index % 2] + " the" * (index % 12) for index in range(24)]
    tiny.write_csv(
        tmp_path / "train.csv", [(text, ["x", "y"][index % 2]) for index, text in enumerate(words)]
    )
    overrides = ["data.split.by=random", "data.test=null", f"data.validation={tmp_path}/train.csv"]
    found = plan(config.load(path, RunConfig, overrides))
    lengths = np.sort([3 + index % 12 for index in range(24)])
    fed = sum(4 * -(-int(part.max()) // 8) * 8 for part in lengths.reshape(-1, 4))
    assert found.fed == pytest.approx(fed / lengths.sum())


def test_memory_grows_as_it_should(tiny_run):
    one = plan(tiny_run("a"))
    assert one.slots == pytest.approx(2 * one.gradients, rel=0.01)  # AdamW's two moments
    sgd = plan(tiny_run("b", optimizer="sgd"))
    assert sgd.slots == pytest.approx(sgd.gradients, rel=0.01)
    parts = plan(tiny_run("c", accumulation=4))
    assert parts.activations * 4 == one.activations
    half = plan(tiny_run("d", precision="mixed_bfloat16"))
    assert 0.5 < half.activations / one.activations < 0.7  # layer normalisation stays in float32
    assert half.weights == one.weights
    double = plan(tiny_run("e", precision="float64"))
    assert double.activations == 2 * one.activations


def kept(freeze, method=None, layers=3):
    """The bytes that a step keeps, in tensors of the size of hidden states: 4 rows of 8 tokens, hidden size
    16.
    """
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=8, type_vocab_size=2, hidden_act="gelu_erf", layer_norm_eps=1e-12, pooler=False,
    )  # fmt: skip
    model = TextModel(config.encoder(), ClassificationHead(3))
    if method is not None:
        peft.attach(model.encoder, method)
    trained = freezing.select(model, freeze)
    return activation_bytes(model.encoder, trained, 4, 8) / (4 * 4 * 8 * 16)


def test_what_a_step_keeps_by_hand():
    """In a block, [B, T, H] of 16, so [B, T, I] is 4 of them and [B, N, T, T] is 1.

    Attention keeps its input, the scaled query, key and value, its output by head and by token, its weights
    before and after dropout, and the mask of the dropout behind it. The feed-forward part keeps its input,
    three of [B, T, I] around GELU, and a mask. A layer normalisation keeps its normalised input, and [B, T]
    of scales.
    """
    normalisation = 1 + 1 / 16
    block = (1 + 3 + 2 + 2 + 1) + (1 + 3 * 4 + 1) + 2 * normalisation
    one, three = kept([], layers=1), kept([])
    assert three - one == pytest.approx(2 * block)
    assert kept(["all"]) == 0
    # Nothing of the first two blocks; the third keeps all of its own.
    assert kept(["first:2"]) == pytest.approx(block)
    assert kept(["re:embeddings|layer_0|layer_1"]) == pytest.approx(block)
    # Frozen matrices need no input: neither the output by token, nor what the feed-forward part reads and what
    # GELU gives.
    # LoRA keeps its input, what it makes of it (two projections of rank 2), and its matrix [4, 48].
    lora = {"method": "lora", "rank": 2, "projections": ["re:layer_2/attention/(query|value)"]}
    assert kept([], lora) == pytest.approx(block - 1 - 1 - 4 + 4 / 16 + 4 * 48 / (4 * 8 * 16))
    # Only the gradient of the biases passes through the blocks.
    assert kept([], {"method": "bitfit", "biases": ["layer_2/outer"]}) == pytest.approx(1 + normalisation)


@pytest.mark.parametrize(("number", "s", "on"), [(1, "", "one device"), (2, "s", "2 replicas (mirrored)")])
def test_numbers_and_their_words(number, s, on):
    found = Plan(
        rows={"train": 8}, mean_tokens=5.0, longest=9, notes=[], fed=1.0, parameters=9, trained=9, steps_per_epoch=4,
        total_steps=4 * number, warmup=0, batch_size=2, replicas=number, parts=1, strategy="mirrored", precision="float32",
        optimizer="adamw", learning_rate=0.1, schedule="linear", weights=1, gradients=1, slots=1, activations=1,
    ).text()  # fmt: skip
    assert f"batch       2 on {on}, float32; " in found
    assert f"(4 per epoch, {number} epoch{s})" in found


def test_the_command_prints_and_writes_nothing(tmp_path, capsys):
    run_file = tiny.write_run_file(tmp_path, strategy="one_device")
    before = sorted(path for path in tmp_path.rglob("*"))
    cli.app(["train", str(run_file), "--dry-run"], standalone_mode=False)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["rows", "parameters", "batch", "steps", "memory"]
    assert lines["batch"].startswith("16 on one device, float32; ")
    assert lines["rows"].startswith("train 108, validation 12, test 30; ")
    assert lines["steps"].startswith(
        "21 (7 per epoch, 3 epochs), 2 of them warm-up; adamw, learning rate 0.01, linear"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 15, "accumulation": 2}, "does not divide among"),
        ({"freeze": "first:9"}, "first:9"),
        ({"callbacks": [{"name": "Nothing"}]}, 'keras.callbacks has no "Nothing"'),
        ({"warmup": 1000}, r"training\.warmup is 1000 steps"),
    ],
)
def test_it_finds_what_the_training_would(tiny_run, changes, message):
    with pytest.raises(UserError, match=message):
        plan(tiny_run(**changes))


MEMORY = """
import json
from tfpipeline.runtime import import_tensorflow
tf = import_tensorflow()
import numpy as np
from benchmarks._measure import peak_mb
from tests.training.test_step import setup
from tfpipeline.models import BertConfig, BertEncoder
from tfpipeline.training import freezing
from tfpipeline.training.activations import activation_bytes
from tfpipeline.training.global_batch import WEIGHTS
from tfpipeline.training.optimizer import build_optimizer
from tfpipeline.training.step import TrainStep

config = BertConfig(vocab_size=100, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512,
                    hidden_act="gelu_erf", max_position_embeddings=256, type_vocab_size=2, layer_norm_eps=1e-12,
                    hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, initializer_range=0.02, pooler=True)

class Drawn:
    config = config
    def encoder(self, _=None):
        return BertEncoder(config)

def adapted(strategy, model, task, optimizer, options):
    trained = freezing.select(model, ["first:2"])
    return TrainStep(strategy, model, task, build_optimizer(options, model, 100, trained), options, trained)

def most(step, rows, width):
    batch = {name: np.ones((rows, width), np.int32) for name in ("input_ids", "token_type_ids", "attention_mask")}
    batch.update({"label": np.zeros(rows, np.int32), WEIGHTS: np.ones(rows, np.float32)})
    for number in range(2):
        float(step(batch, number)["loss"])
    return peak_mb() * 2**20

found = []
for make, freeze in ((adapted, ["first:2"]), (TrainStep, [])):
    model, step = setup(Drawn(), precision="float32", make=make)
    before = most(step, 2, 16) if not found else before
    trained = freezing.select(model, freeze)
    found += [most(step, 64, 256) - before, activation_bytes(model.encoder, trained, 64, 256)]
print(json.dumps(found))
"""


def test_memory_of_activations_is_about_what_a_step_takes():
    import json
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, env=faults.ENVIRONMENT, check=True
    )
    top, planned_top, measured, planned = json.loads(done.stdout.splitlines()[-1])
    assert 0.7 < measured / planned < 1.5
    assert 0.7 < top / planned_top < 1.5  # of the last layer alone
    assert 2 < planned / planned_top < 4
