"""Trains a tiny model in float64 in every way that must give the same result.

A case is a way of training (where, in how many parts, with XLA or not) and a setting (optimizer, clipping,
dropout, a ragged last batch). Its reference is the same setting on one device, whole, without XLA. One
process trains all cases of its kind of place, as starting TensorFlow takes longer than they do.
"""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import numpy as np

WAYS = ("place", "accumulation", "xla", "steps_per_call")
SETTINGS = ("optimizer", "clipping", "dropout", "ragged")
# Every pair of values of two columns is in some row (checked by a test), with few settings: each needs a
# reference. XLA compiles a step again for two steps a call, and for a ragged batch: no row has all three.
CASES = [
    dict(zip((*WAYS, *SETTINGS), row))
    for row in [
        ("one_device", 1, False, 1, "adamw", True, False, False),
        ("one_device", 2, True, 1, "adamw", False, True, True),
        ("one_device", 4, False, 2, "sgd", True, True, False),
        ("two_devices", 1, True, 1, "adamw", False, True, True),
        ("two_devices", 2, False, 1, "sgd", True, True, False),
        ("two_devices", 4, True, 2, "sgd", False, False, False),
        ("two_processes", 1, False, 2, "sgd", True, False, True),
        ("two_processes", 2, True, 2, "adamw", True, False, False),
        ("two_processes", 4, False, 1, "adamw", False, True, True),
    ]
]
# Tasks whose loss hangs on the whole batch, or that change their inputs, in the places where that could
# differ.
TASK_CASES = [
    dict(zip((*WAYS, *SETTINGS, "task"), row))
    for row in [
        ("two_devices", 1, False, 1, "adamw", True, True, True, "in_batch"),
        ("two_devices", 2, True, 1, "adamw", True, True, True, "in_batch"),
        ("two_processes", 2, False, 1, "adamw", True, True, True, "in_batch"),
        ("two_devices", 2, False, 1, "adamw", True, True, False, "separate"),
        ("two_devices", 2, False, 1, "adamw", True, True, True, "similarity"),
        ("two_devices", 2, False, 2, "adamw", True, True, False, "masked_lm"),
        ("two_processes", 1, False, 1, "adamw", True, True, True, "masked_lm"),
        ("two_devices", 2, True, 2, "adamw", True, True, True, "generation"),
    ]
]
# What is tried in float32 too: replicas and XLA.
SINGLE = [{**CASES[3], "precision": "float32"}]


def name(case: dict[str, Any]) -> str:
    return "-".join(str(value) for value in case.values())


def reference(case: dict[str, Any]) -> dict[str, Any]:
    return {**case, "place": "one_device", "accumulation": 1, "xla": False, "steps_per_call": 1}


def train(
    case: dict[str, Any], checkpoint: Any, strategy: Any, precision: str = "float64"
) -> dict[str, np.ndarray]:
    """Weights by path, losses and the outputs on a batch of its own, after 6 steps."""
    from tests.training import triples
    from tests.training.batch_tasks import InBatchNegatives, Options
    from tests.training.separate_task import SeparateNegatives, SeparateOptions
    from tests.training.test_step import batch, setup, values
    from tfpipeline.models.inputs import as_second_text, encoder_inputs
    from tfpipeline.tasks.generation import Generation, GenerationOptions
    from tfpipeline.tasks.masked_lm import MaskedLM, MaskedLMOptions
    from tfpipeline.text import WordPieceTokenizer
    from tfpipeline.training.step import TrainStep

    tasks = {
        "in_batch": InBatchNegatives(Options()),
        "separate": SeparateNegatives(SeparateOptions()),
        "similarity": triples.task(),
        "masked_lm": MaskedLM(MaskedLMOptions(mask_share=0.3)).with_tokenizer(
            checkpoint.vocabulary, checkpoint.tokenizer
        ),
        "generation": Generation(GenerationOptions(max_target_length=6)).with_tokenizer(
            checkpoint.vocabulary, checkpoint.tokenizer
        ),
    }
    tokenizer = WordPieceTokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
    kept: dict[str, Any] = {}

    def remember(*arguments: Any, **keywords: Any) -> TrainStep:
        kept["model"] = arguments[1]
        return TrainStep(*arguments, **keywords, static=case["xla"], tokenizer=tokenizer)

    model, step = setup(
        checkpoint,
        strategy,
        dropout=0.1 if case["dropout"] else 0.0,
        make=remember,
        precision=precision,
        task=tasks.get(case.get("task")),
        accumulation=case["accumulation"],
        optimizer={"name": case["optimizer"]},
        clip_norm=0.05 if case["clipping"] else None,
    )
    rows = [8, 8, 8, 8, 8, 5 if case["ragged"] else 8]
    batches = [batch(rows=count, seed=number) for number, count in enumerate(rows)]
    if case.get("task") == "separate":
        second = [batch(rows=count, width=6, seed=50 + number) for number, count in enumerate(rows)]
        batches = [{**one, **as_second_text(encoder_inputs(two))} for one, two in zip(batches, second)]
    if case.get("task") == "similarity":
        batches = [triples.batch(one, number) for number, one in enumerate(batches)]
    if case.get("task") == "masked_lm":  # words of two tokens
        for one in batches:
            one["word"] = (np.cumsum(one["attention_mask"], 1, np.int32) + 1) // 2 * one["attention_mask"]
    if case.get("task") == "generation":  # targets of different lengths behind sources of two tokens
        for one in batches:
            one["token_type_ids"] = (np.cumsum(one["attention_mask"], 1, np.int32) > 2) * one[
                "attention_mask"
            ]
    losses: list[float] = []
    at = 0
    while at < len(batches):
        group = batches[at : at + case["steps_per_call"]]
        if len({len(one["label"]) for one in group}) > 1:
            group = group[:1]
        losses += [float(loss) for loss in step.many(group, at)["loss"]]
        at += len(group)
    outputs = next(iter(model(encoder_inputs(batch(seed=99))).values()))
    return {"losses": np.array(losses), "outputs": np.asarray(outputs), **values(model)}


def main(
    checkpoint: str, cases: str, out: str, place: str = "", addresses: str = "", index: str = "0"
) -> None:
    from tfpipeline.runtime import import_tensorflow

    tf = import_tensorflow()
    # The ways are compared with one another, so the graph optimizer's time is not spent.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    if place != "two_processes":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from tfpipeline import checkpoints
    from tfpipeline.training.cluster import find_cluster, rendezvous
    from tfpipeline.training.options import TrainingOptions
    from tfpipeline.training.strategy import build_strategy

    strategies = {}
    if place == "two_processes":
        cluster = find_cluster(addresses.split(","), int(index))
        rendezvous(cluster, "the same")
        strategies["two_processes"] = build_strategy("multi_worker", TrainingOptions(), cluster)
    else:
        strategies["one_device"] = build_strategy("one_device", TrainingOptions())
        strategies["two_devices"] = build_strategy("mirrored", TrainingOptions())
        assert strategies["two_devices"].num_replicas_in_sync == 2
    loaded = dataclasses.replace(checkpoints.load(checkpoint))
    for case in json.loads(cases):
        found = train(case, loaded, strategies[case["place"]], case.get("precision", "float64"))
        if index == "0":
            np.savez(Path(out) / f"{name(case)}.npz", **{key.replace("/", "|"): found[key] for key in found})
