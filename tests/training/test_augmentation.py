"""Inputs that a task masks at random; on replicas and processes: test_exactness.py."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.training.batch_tasks import MaskedTokens, Options
from tests.training.test_batch_loss import Tokens
from tests.training.test_step import assert_equal, batch, repeat, setup, values
from tfpipeline import checkpoints
from tfpipeline.models.inputs import INPUTS, as_second_text, encoder_inputs
from tfpipeline.models.row_noise import RowNoise
from tfpipeline.text import Truncation, WordPieceTokenizer
from tfpipeline.text.vocabulary import special_token_ids
from tfpipeline.training.augmentation import SPECIAL, Augmentation
from tfpipeline.training.inference import Inference
from tfpipeline.training.prediction_graph import PredictionGraph, TextInputs
from tfpipeline.training.step import TrainStep


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(
        tiny.write_checkpoint(tmp_path_factory.mktemp("augment") / "checkpoint", num_hidden_layers=1)
    )


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    return WordPieceTokenizer(checkpoint.vocabulary, checkpoint.tokenizer)


def noise(rows, seed=3, step=7):
    return RowNoise(seed, step, tf.constant(rows, tf.int64))


def test_numbers_hang_on_the_row_alone():
    """Neither on the other rows, nor on how many numbers are drawn, nor on whether the size is known."""
    together = noise([0, 1, 5, 2**40]).uniform(37, 0).numpy()
    alone = [noise([row]).uniform(tf.constant(90), 0).numpy()[0, :37] for row in (0, 1, 5, 2**40)]
    np.testing.assert_array_equal(together, alone)
    others = [noise([0], seed=4), noise([0], step=8), noise([9])]
    drawn = [together[0], *(one.uniform(37, 0).numpy()[0] for one in others), noise([0]).uniform(37, 1)[0]]
    assert len({tuple(np.asarray(numbers)) for numbers in drawn}) == 5


def test_numbers_are_uniform():
    numbers = noise(range(64)).uniform(512, 0).numpy()
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * numbers.size))
    columns = np.corrcoef(numbers[:, :20].T)
    assert np.abs(columns - np.eye(20)).max() < 0.55  # 64 rows: 4.4 standard deviations
    counts = np.bincount(noise(range(64)).integers(512, 7, 0).numpy().ravel())
    assert len(counts) == 7
    assert counts == pytest.approx(numbers.size / 7, abs=4 * np.sqrt(numbers.size / 7))


def augmented(tokenizer, given, rows, step=None):
    """What the task makes of some rows of a batch."""
    augmentation = Augmentation(MaskedTokens(Options()), tokenizer)
    tensors = {name: tf.constant(array) for name, array in given.items()}
    if step is not None:
        return augmentation.train(tensors, 0, tf.constant(step))
    return augmentation.evaluate(tensors, tf.constant(rows, tf.int64))[0]


def test_special_tokens_and_padding_are_left_alone(tokenizer):
    given = batch(rows=40)
    given["input_ids"][:, 0] = tokenizer.vocabulary.index("[CLS]")
    given["input_ids"][::2, 3] = tokenizer.vocabulary.index("[UNK]")
    changed = augmented(tokenizer, given, range(40))
    ids, chosen = changed["input_ids"].numpy(), changed["chosen"].numpy() > 0
    special = (given["input_ids"] < len(tiny.SPECIAL)) | (given["attention_mask"] == 0)
    np.testing.assert_array_equal(changed[SPECIAL], special)
    np.testing.assert_array_equal(ids[~chosen], given["input_ids"][~chosen])
    assert not (chosen & special).any()
    assert (chosen.sum() / (~special).sum()) == pytest.approx(0.4, abs=0.12)
    assert (ids[chosen] == tokenizer.vocabulary.index("[MASK]")).mean() == pytest.approx(0.8, abs=0.15)


def test_special_ids_are_those_of_transformers(checkpoint):
    assert special_token_ids(checkpoint.vocabulary, checkpoint.tokenizer) == [0, 1, 2, 3, 4]


def test_each_step_masks_anew_and_evaluation_always_alike(tokenizer):
    given = batch(rows=9)
    steps = [augmented(tokenizer, given, None, step)["input_ids"].numpy() for step in (0, 0, 1)]
    np.testing.assert_array_equal(steps[0], steps[1])
    assert (steps[0] != steps[2]).any()
    whole = augmented(tokenizer, given, range(9))["input_ids"].numpy()
    assert (whole != steps[0]).any()
    some = augmented(tokenizer, repeat(given, [4, 2]), [4, 2])["input_ids"].numpy()
    np.testing.assert_array_equal(some, whole[[4, 2]])


def make(checkpoint, tokenizer, static=False, **options):
    def step(*arguments):
        return TrainStep(*arguments, static=static, tokenizer=tokenizer)

    return setup(checkpoint, make=step, task=MaskedTokens(Options()), **options)


def test_parts_and_a_second_start_see_the_same_inputs(checkpoint, tokenizer):
    """A resumed run has a training step of its own, which is told how many steps were done."""
    batches = [batch(rows=rows, seed=rows) for rows in (8, 5)]
    model, whole = make(checkpoint, tokenizer)
    for number, given in enumerate(batches):
        whole(given, number)
    ends = [values(model)]
    model, parts = make(checkpoint, tokenizer, accumulation=4)
    parts(batches[0], 0)
    again = TrainStep(
        tf.distribute.get_strategy(),
        model,
        MaskedTokens(Options()),
        parts._optimizer,
        parts._options,
        tokenizer=tokenizer,
    )
    again(batches[1], 1)
    assert_equal(ends[0], values(model))
    model, _ = make(checkpoint, tokenizer)
    other = make(checkpoint, tokenizer, seed=1)[1]
    assert float(other(batches[0], 0)["loss"]) != float(parts(batches[0], 0)["loss"])


def test_scores_do_not_hang_on_the_batches(checkpoint, tokenizer):
    """Rows are masked by their number in the data set, at any width; padding of batches is not scored."""
    given = batch(rows=10)
    model, _ = make(checkpoint, tokenizer)
    found = []
    for size, widths in ((64, None), (4, [12])):
        inputs = TextInputs(tokenizer, Truncation(), pair=False, offsets=False)
        infer = Inference(PredictionGraph(model, MaskedTokens(Options()), inputs), size, widths=widths)
        found.append(infer([None] * 10, Tokens(given), {"label": given["label"]}, "rows"))
    np.testing.assert_array_equal(found[0].predictions["counts"], found[1].predictions["counts"])
    np.testing.assert_allclose(found[0].losses, found[1].losses, rtol=1e-5)
    chosen = augmented(tokenizer, given, range(10))["chosen"].numpy().sum(1)
    np.testing.assert_array_equal(found[0].predictions["counts"][:, 1], chosen)
    assert chosen.sum() > 10


def test_a_task_that_augments_needs_a_tokenizer(checkpoint):
    with pytest.raises(ValueError, match="MaskedTokens augments its inputs, so a tokenizer"):
        Augmentation(MaskedTokens(Options()), None)


class MaskedPairs(MaskedTokens):
    """Masks both texts of a row, each with draws of its own; keeps what it was given as targets."""

    def augment(self, inputs, targets, noise, tokenizer):
        self.given = {"inputs": set(inputs), "targets": set(targets)}
        mask = tokenizer.vocabulary.index(tokenizer.options.mask_token)
        changed = dict(inputs)
        for draw, prefix in enumerate(("", "text_pair/")):
            ids = inputs[prefix + "input_ids"]
            chosen = noise.uniform(tf.shape(ids)[1], draw) < 0.4
            chosen &= ~inputs[prefix + "special_tokens_mask"]
            changed[prefix + "input_ids"] = tf.where(chosen, mask, ids)
        return changed, targets


def test_both_texts_that_are_encoded_separately_are_inputs(tokenizer):
    first, second = batch(rows=30), batch(rows=30, width=6, seed=1)
    second["input_ids"][:, 0] = tokenizer.vocabulary.index("[CLS]")
    given = {**first, **as_second_text(encoder_inputs(second))}
    task = MaskedPairs(Options())
    tensors = {name: tf.constant(array) for name, array in given.items()}
    changed, inputs = Augmentation(task, tokenizer).evaluate(tensors, tf.range(30, dtype=tf.int64))
    names = {*INPUTS, SPECIAL}
    assert task.given == {"inputs": names | {f"text_pair/{name}" for name in names}, "targets": {"label"}}
    assert set(inputs) == task.given["inputs"]
    mask = tokenizer.vocabulary.index("[MASK]")
    for prefix, original in (("", first), ("text_pair/", second)):
        special = (original["input_ids"] < len(tiny.SPECIAL)) | (original["attention_mask"] == 0)
        np.testing.assert_array_equal(changed[prefix + SPECIAL], special)
        masked = changed[prefix + "input_ids"].numpy() == mask
        assert not (masked & special).any()
        assert masked.sum() / (~special).sum() == pytest.approx(0.4, abs=0.15)

    def forgets(inputs, targets, noise, tokenizer):
        return {name: inputs[name] for name in INPUTS}, targets

    task.augment = forgets
    with pytest.raises(ValueError, match=r"MaskedPairs.augment returned no text_pair/input_ids, text_pair/"):
        Augmentation(task, tokenizer).train(tensors, 0, tf.constant(0))
