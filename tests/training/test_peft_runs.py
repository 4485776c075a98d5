"""Trainings with a ``peft`` section: the same numbers everywhere, resuming, other tasks, and what is refused."""

from __future__ import annotations

import csv
import types
from pathlib import Path

import numpy as np
import pytest

import tfpipeline
from tests import tiny
from tests.training import triples
from tests.training.replicas import mirrored
from tests.training.test_step import assert_equal, batch, setup, values
from tests.training.test_train import At, interrupt, same, weights
from tfpipeline import checkpoints, config
from tfpipeline.errors import UserError
from tfpipeline.models import ClassificationHead, TextModel, peft
from tfpipeline.training import Interrupted, Run, RunConfig, freezing, train
from tfpipeline.training.optimizer import build_optimizer, layer_factors
from tfpipeline.training.planning import plan
from tfpipeline.training.step import TrainStep

LORA = {"method": "lora", "rank": 2, "projections": ["query", "value", "outer"], "dropout": 0.1}
SETTING = f"peft={LORA}"
# A small random encoder that stays as it is needs a while.
LEARNING = {"tensorboard": False, "learning_rate": 0.02, "epochs": 8, "dropout": 0.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peft") / "checkpoint"
    return checkpoints.load(tiny.write_checkpoint(folder, num_hidden_layers=1))


def adapted(checkpoint, strategy=None, xla=False, **options):
    """A fresh model with LoRA, and its training step."""

    def encoder(config=None):
        made = checkpoint.encoder(config)
        peft.attach(made, LORA)
        return made

    def make(strategy, model, task, optimizer, options):
        trained = freezing.select(model, options.freeze)
        with strategy.scope():
            optimizer = build_optimizer(options, model, 100, trained)
        assert len(optimizer.variables) <= 3 + 2 * len(trained)  # no slots of what is frozen
        return TrainStep(strategy, model, task, optimizer, options, trained, static=xla)

    drawn = types.SimpleNamespace(config=checkpoint.config, encoder=encoder)
    return setup(drawn, strategy, make=make, **options)


@pytest.mark.parametrize("task", ["classification", "similarity"])
def test_replicas_parts_and_xla_change_nothing(checkpoint, task):
    """In float64, with dropout, clipping and a ragged batch. Similarity encodes its texts separately and has a
    loss of the whole batch.
    """
    make = {"classification": lambda: None, "similarity": triples.task}[task]
    batches = [batch(rows=rows, seed=number) for number, rows in enumerate((8, 8, 5))]
    divided = {"strategy": mirrored(2), "accumulation": 2, "xla": True}
    if task == "similarity":
        batches = [triples.batch(one, number) for number, one in enumerate(batches[1:])]
        divided = {"accumulation": 2}
    ended, losses = [], []
    for way in ({}, divided):
        model, step = adapted(checkpoint, task=make(), clip_norm=0.05, **way)
        first = values(model)
        losses.append([float(step(one, number)["loss"]) for number, one in enumerate(batches)])
        ended.append(values(model))
        moved = {name for name in first if not np.array_equal(first[name], ended[-1][name])}
        assert {name for name in moved if name.startswith("encoder")} == {
            variable.path for variable in model.adaptation.trained
        }
    np.testing.assert_allclose(*losses, rtol=1e-9)
    assert_equal(*ended)


def live_nodes(step):
    """The operations of a traced step that a result or an effect needs, as TensorFlow prunes it: (operation,
    static shape of its first result).
    """
    (compiled,) = step._compiled.values()
    graph = compiled.get_concrete_function().graph
    definition = graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function for function in definition.library.function}
    found = []

    def walk(nodes, needed):
        nodes, seen = {node.name: node for node in nodes}, set()
        needed = [name.lstrip("^").partition(":")[0] for name in needed]
        while needed:
            node = nodes.get(needed.pop())
            if node is None or node.name in seen:
                continue
            seen.add(node.name)
            needed += [name.lstrip("^").partition(":")[0] for name in node.input]
            shapes = node.attr["_output_shapes"].list.shape
            found.append((node.op, tuple(axis.size for axis in shapes[0].dim) if shapes else None))
            for name in ("body", "f"):
                if function := functions.get(node.attr[name].func.name):
                    walk(
                        function.node_def,
                        [*function.ret.values(), *function.control_ret.values()],
                    )

    results = [tensor.op.name for tensor in graph.outputs] + [op.name for op in graph.control_outputs]
    walk(definition.node, results)
    return found


@pytest.mark.parametrize("way", [{}, {"accumulation": 2}, {"xla": True}], ids=["plain", "parts", "XLA"])
def test_no_gradient_of_a_frozen_weight_is_computed(checkpoint, way):
    frozen = {(16, 48), (16, 32), (32, 16)}  # query, key and value; inner; outer
    made = []
    for build in (setup, adapted):
        if build is setup and "xla" in way:
            continue
        _, step = build(checkpoint, **way)
        step(batch(rows=4), 0)
        nodes = live_nodes(step)
        assert len(nodes) > 200
        products = {shape for operation, shape in nodes if operation == "MatMul"}
        tables = {shape for operation, shape in nodes if operation != "ReadVariableOp"}
        made.append((products & frozen, (len(tiny.VOCABULARY), 16) in tables))
    assert made[-1] == (set(), False)
    if len(made) == 2:  # or this test would say nothing
        assert made[0] == (frozen, True)


def test_layers_have_their_own_learning_rates(tmp_path):
    two = checkpoints.load(tiny.write_checkpoint(tmp_path / "checkpoint"))
    model = TextModel(two.encoder(), ClassificationHead(3, pooling="mean"))
    peft.attach(model.encoder, LORA)
    factors = layer_factors(model, 0.5)
    of = {variable.path: factors[variable.path] for variable in freezing.select(model, [])}
    assert {factor for path, factor in of.items() if "layer_1" in path} == {0.5}
    assert {factor for path, factor in of.items() if "layer_0" in path} == {0.25}
    assert {factor for path, factor in of.items() if "head" in path} == {1.0}


@pytest.fixture(scope="module")
def lora(shared):
    """A trained run, which tests leave as it is."""

    def fill(folder):
        train(tiny.write_run_file(folder, **LEARNING), [SETTING])

    return Run(shared.folder("lora", [LORA, LEARNING], fill) / "run")


def test_a_run_stopped_and_resumed_ends_as_another_one(lora, tiny_run):
    """Bit for bit."""
    settings = tiny_run(**LEARNING)
    with pytest.raises(Interrupted):
        train(settings, [SETTING], callbacks=[At(10, interrupt)])
    assert Run(settings.output).store.state("last")["step"] == 10
    resumed = train(settings, [SETTING])
    for role in ("last", "best"):
        assert same(weights(lora.path, role), weights(resumed.path, role))


def test_the_start_says_how_many_are_trained(tiny_run, capsys):
    settings = tiny_run(tensorboard=False, steps=1)
    model = train(settings, [SETTING]).model("last")
    trained = freezing.count(freezing.select(model, []))
    # Low-rank matrices [16, 2] and [2, 16] of two projections, [32, 2] and [2, 16] of one; the head.
    assert trained == 2 * (32 + 32) + (64 + 32) + 16 * 3 + 3
    assert (
        f"{model.count_params():,} parameters, of which {trained:,} are trained (" in capsys.readouterr().err
    )
    found = plan(settings, overrides=[SETTING])
    assert (found.parameters, found.trained) == (model.count_params(), trained)


def test_before_and_after(lora):
    report = tfpipeline.evaluate(lora, lora.config.data.train, baseline=False)
    assert [entry.name for entry in report.entries] == ["before fine-tuning", "after fine-tuning"]
    before, after = (entry.scores["loss"] for entry in report.entries)
    assert after < 0.8 * before
    first, last = weights(lora.path, "initial"), weights(lora.path)
    moved = {name for name in last if not np.array_equal(first.get(name), last[name])}
    assert {"/lora/" in name or name.startswith("head/") for name in moved} == {True}


def test_a_run_starts_from_what_another_one_has_learnt(lora, tiny_run):
    settings = tiny_run(tensorboard=False, steps=1)
    run = train(settings, [f"checkpoint={lora.path}", "peft=ia3"])
    merged = lora.model("best").merge().encoder.tensors()
    base = checkpoints.load(f"{lora.path.parent}/checkpoint").encoder().tensors()
    got = run.model("initial").encoder.tensors()
    for name, expected in merged.items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)
    changed = {name for name in merged if not np.array_equal(merged[name], base[name])}
    assert changed == {
        f"layer_0/{name}/kernel" for name in ("attention/query", "attention/value", "feed_forward/outer")
    }


def test_training_in_sixteen_bits(tiny_run):
    settings = tiny_run(precision="mixed_bfloat16", **LEARNING)
    run = train(settings, [SETTING])
    history = run.store.state("last")["history"]
    assert history[-1]["train_loss"] < 0.85 * history[0]["train_loss"]
    kept = {array.dtype for name, array in weights(run.path).items() if "seed_generator" not in name}
    assert kept == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (["text.long=windows", "text.max_length=12", "text.overlap=3"], ["label"]),
        (["task={name: multitask, heads: {mood: classification, again: classification}}"], ["mood", "again"]),
    ],
    ids=["windows", "multitask"],
)
def test_other_trainings(tiny_run, tmp_path, options, columns):
    settings = tiny_run(**LEARNING)
    for path, seed in ((settings.data.train, 1), (settings.data.test, 2)):
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = [[text, *[label] * len(columns)] for text, label in tiny.texts(120, seed=seed)]
            csv.writer(file).writerows([["text", *columns], *rows])
    raw = config.settings(settings)
    if "label" not in columns:
        raw["data"] = {"train": settings.data.train, "test": settings.data.test}
        raw["task"] = {}
    run = train(config.resolve(raw, RunConfig, [*options, SETTING], source="test"))
    history = run.store.state("last")["history"]
    assert history[-1]["train_loss"] < 0.85 * history[0]["train_loss"]
    assert run.model("best").adaptation.options.method == "lora"


@pytest.mark.parametrize("start", [train, lambda settings, overrides: plan(settings, overrides=overrides)])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["peft=lorra"], 'unknown method "lorra"; did you mean "lora"?'),
        (["peft.rank=4"], "peft: method is missing; choose one of adalora, adapters, bitfit, ia3, lora, prefix"),
        (["peft={method: lora, rank: 17}"], "the rank of layer_0/attention/query is 17, but its matrix is 16 x 16"),
        (["peft={method: lora, projections: [quary]}"], 'matches no projection of the encoder; did you mean "query"?'),
        (["peft={method: lora, alpha: 0}"], "must be a number other than 0"),
        (["peft=lora", "training.freeze=first:1"], "first:1 freezes encoder/layer_0/attention/qkv/lora/query_a, which peft"),
        (["peft=bitfit", "training.freeze=all"], "all freezes encoder/embeddings/norm/bias, which peft.method bitfit trains"),
        (["peft=bitfit", "training.freeze=re:qkv"], "re:qkv freezes encoder/layer_0/attention/qkv/bias, which peft.method"),
        (["peft=lora", "training.gradual_unfreezing=true"], "which peft.method lora keeps frozen; remove one of the two"),
    ],
)  # fmt: skip
def test_what_is_refused_before_rows_are_read(tiny_run, monkeypatch, start, overrides, message):
    from tfpipeline.training import planning, starting

    settings = tiny_run()

    def read(*arguments):
        raise AssertionError("rows were read")

    monkeypatch.setattr(starting, "read_rows", read)
    monkeypatch.setattr(planning, "read_rows", read)
    with pytest.raises(UserError) as refused:
        start(settings, overrides)
    assert message in str(refused.value)
    assert not Path(settings.output).exists()


def test_what_agrees_with_a_method_is_no_error(tiny_run):
    """``freeze: all`` freezes what LoRA does not train; a pattern may be meant for the head."""
    settings = tiny_run()
    everything = plan(settings, overrides=[SETTING]).trained
    assert plan(settings, overrides=[SETTING, "training.freeze=all"]).trained == everything
    assert plan(settings, overrides=[SETTING, "training.freeze=re:head"]).trained == everything - 51
