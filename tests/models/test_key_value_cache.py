"""Prefix language models: what a token sees, and generation with a cache of keys and values."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.models import numpy_bert
from tests.models.pre_norm import PreNormConfig
from tests.models.test_serving_form import encoder, layout, ragged  # noqa: F401 - a fixture
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig, ClassificationHead, GenerationHead, TextModel
from tfpipeline.models.architectures import serving_form
from tfpipeline.models.kernels import Noise
from tfpipeline.training.precision import policy

TOKENS, ROWS, MASK = 48, 50, 4  # the embeddings have two more rows than the vocabulary
LENGTHS, TARGET, WIDTH = [5, 9, 1, 12], 3, 3
OBJECTIVES = ("causal", "masked")


@functools.cache
def model(objective, config=BertConfig, precision="float32", **changed):
    with policy(precision):
        head = GenerationHead(
            ROWS,
            tokens=TOKENS,
            mask_id=MASK if objective == "masked" else None,
            most_tokens=8,
            hidden_act="gelu_erf",
            layer_norm_eps=1e-12,
            stddev=0.3,
        )
        made = TextModel(encoder(config, **changed), head)
    made.head.bias.assign(np.random.default_rng(3).normal(size=ROWS))
    return made


def tokens(lengths, seed):
    random = np.random.default_rng(seed)
    return [random.integers(5, TOKENS, length, np.int32) for length in lengths]


def inputs(rows, types=None, width=None, **more):
    """Rows of tokens as a batch, padded with [CLS]."""
    width = width or max(map(len, rows))
    batch = {"attention_mask": ragged([len(row) for row in rows], width)}
    given = {"input_ids": rows, "token_type_ids": types or [row * 0 for row in rows], **more}
    for name, values in given.items():
        batch[name] = np.stack([np.pad(row, (0, width - len(row)), constant_values=1) for row in values])
    return {name: tf.constant(array, tf.int32) for name, array in batch.items()}


def whole(made, sources, targets):
    """The logits of the token behind each row, [B, V], from all of its tokens at once."""
    end = [] if made.head.mask_id is None else [MASK]
    rows = [
        np.concatenate([source, target, end]).astype(np.int32) for source, target in zip(sources, targets)
    ]
    types = [np.int32(np.arange(len(row)) >= len(source)) for row, source in zip(rows, sources)]
    return made(inputs(rows, types, causal_mask=types))["logits"][:, 0].numpy()


def check(made, form, tolerance):
    """Each step's logits are those of the whole rows, with other beams each time, and without the first row
    in the end.
    """
    sources, written = tokens(LENGTHS, 0), [[[] for _ in range(WIDTH)] for _ in LENGTHS]
    logits, cache = form.start(inputs(sources), WIDTH)
    gaps = [logits - whole(made, sources, [[]] * len(sources))]
    for step in range(TARGET):
        chosen = np.array(tokens([WIDTH] * len(sources), 10 + step))
        written = [[[*old, new] for old, new in zip(*row)] for row in zip(written, chosen)]
        logits, cache = form.step(cache, tf.constant(chosen))
        assert logits.shape == (len(sources), WIDTH, TOKENS)
        each = [(source, beam) for source, row in zip(sources, written) for beam in row]
        gaps.append(logits - whole(made, *zip(*each)).reshape(logits.shape))
        beams = np.random.default_rng(20 + step).integers(0, WIDTH, [len(sources), WIDTH])
        written = [[row[beam] for beam in new] for row, new in zip(written, beams)]
        cache = form.reorder(cache, tf.constant(beams, tf.int32))
        if step == 1:
            kept = [3, 1, 2]
            cache = form.keep(cache, tf.constant(kept))
            sources, written = [sources[row] for row in kept], [written[row] for row in kept]
    assert max(np.abs(gap).max() for gap in gaps) < tolerance


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_a_cache_changes_no_logits(objective, precision, tolerance):
    made = model(objective, precision=precision)
    check(made, made, tolerance)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.5)])
def test_a_cache_changes_no_logits_of_a_served_model(objective, precision, tolerance):
    made = model(objective)
    check(made, made.for_serving(precision), tolerance)


@pytest.mark.parametrize("config", [PreNormConfig, functools.partial(BertConfig)])
def test_other_encoders_generate_too(config):
    """One that reads from left to right anyway, and one with a single token type."""
    made = model("masked", config, type_vocab_size=1)
    for form in (made, made.for_serving()):
        check(made, form, 1e-4)


def test_bfloat16_is_rounded_and_not_another_model():
    made, rows = model("causal"), inputs(tokens(LENGTHS, 0))
    (logits, _), (rounded, _) = made.start(rows), made.for_serving("bfloat16").start(rows)
    assert 1e-4 < np.abs(logits - rounded).max() < 0.5 < logits.numpy().std()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("served", [False, True])
def test_a_batch_is_its_rows_one_by_one_whatever_is_behind_the_source(objective, served):
    """Padding, or the target of a row that is evaluated."""
    made = model(objective)
    form = made.for_serving() if served else made
    sources = tokens(LENGTHS, 0)
    chosen = tf.constant(np.array(tokens([2] * len(sources), 1)))

    def logits(batch, rows=slice(None)):
        first, cache = form.start(batch, tf.constant(2))
        return np.concatenate([first[:, None], form.step(cache, chosen[rows])[0]], axis=1)

    want = logits(inputs(sources))
    rows = [np.concatenate([source, target]) for source, target in zip(sources, tokens([3, 7, 4, 2], 2))]
    types = [np.int32(np.arange(len(row)) >= len(source)) for row, source in zip(rows, sources)]
    np.testing.assert_allclose(logits(inputs(rows, types, width=20)), want, atol=1e-5)
    for row, source in enumerate(sources):
        one = slice(row, row + 1)
        np.testing.assert_allclose(logits(inputs([source]), one), want[one], atol=1e-5)


def test_no_row_is_left():
    made = model("masked")
    _, cache = made.start(inputs(tokens(LENGTHS, 0)), 2)
    logits, cache = made.step(made.keep(cache, tf.zeros([0], tf.int32)), tf.zeros([0, 2], tf.int32))
    assert logits.shape == (0, 2, TOKENS)


def test_a_loop_in_a_graph_carries_the_cache():
    """A greedy choice, token by token, is that of the whole rows."""
    made, sources = model("causal"), tokens(LENGTHS, 0)
    form = made.for_serving()

    @tf.function(input_signature=[{name: tf.TensorSpec([None, None], tf.int32) for name in inputs(sources)}])
    def generate(batch):
        logits, cache = form.start(batch)

        def body(written, logits, cache):
            chosen = tf.argmax(logits, -1, tf.int32)[:, None]
            logits, cache = form.step(cache, chosen)
            return tf.concat([written, chosen], 1), logits[:, 0], cache

        loop = (tf.zeros([tf.shape(logits)[0], 0], tf.int32), logits, cache)
        open_sizes = tf.nest.map_structure(lambda tensor: tf.TensorShape([None] * tensor.shape.rank), loop)
        return tf.while_loop(lambda *_: True, body, loop, open_sizes, maximum_iterations=TARGET)[0]

    found = generate(inputs(sources)).numpy()
    assert found.shape == (len(sources), TARGET)
    for length in range(TARGET):
        want = whole(made, sources, found[:, :length]).argmax(-1)
        np.testing.assert_array_equal(found[:, length], want)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_cache_takes_what_arithmetic_says(precision):
    """The sources' keys and values once, those of each candidate's tokens, and a few numbers beside."""
    made = model("causal")
    form = made.for_serving(precision)
    sources = tokens(LENGTHS, 0)
    _, cache = form.start(inputs(sources), WIDTH)
    for _ in range(TARGET):
        _, cache = form.step(
            form.reorder(cache, tf.zeros([4, WIDTH], tf.int32)), tf.ones([4, WIDTH], tf.int32)
        )
    config, rows = made.encoder.config, len(sources)
    numbers = rows * (max(LENGTHS) + TARGET * WIDTH) * config.hidden_size
    size = {"float32": 4, "bfloat16": 2}[precision]
    stored = tf.nest.flatten([cache.source, cache.target])
    assert sum(tensor.dtype.size * int(tf.size(tensor)) for tensor in stored) == (
        2 * config.num_hidden_layers * numbers * size
    )
    beside = [cache.source_bias, cache.lengths, cache.seen]
    assert sum(int(tf.size(tensor)) for tensor in beside) < 10 * rows * (max(LENGTHS) + TARGET * WIDTH)


# What a token sees, when whole rows are read.

CAUSAL = np.array([[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0, 1], [0] * 7])


@pytest.mark.usefixtures("layout")
def test_a_causal_mask_is_that_of_an_independent_implementation():
    own = encoder()
    rows = tokens([7] * 4, 0)
    batch = inputs(rows, width=8, causal_mask=list(np.int32(CAUSAL)))
    arrays = {name: tensor.numpy() for name, tensor in batch.items()}
    states, pooled = numpy_bert.encode(own.config, own.tensors(), **arrays)
    for form in (own, serving_form(own), serving_form(own, "bfloat16")):
        rounded = form is not own and form.precision == tf.bfloat16
        found = form(batch)
        tolerance = 0.3 if rounded else 1e-5
        assert np.abs(found["sequence_output"] - states[-1])[:, :7].max() < tolerance
        assert np.abs(found["pooled_output"] - pooled).max() < tolerance
    arrays["causal_mask"] = arrays["causal_mask"] * 0
    states, _ = numpy_bert.encode(own.config, own.tensors(), **arrays)
    changed = np.abs(own(batch)["sequence_output"] - states[-1])[:, :7].max(axis=(1, 2))
    assert (changed[:3] > 0.1).all()
    assert changed[3] < 1e-5


def test_a_causal_mask_of_zeros_changes_no_bit():
    own, batch = encoder(), inputs(tokens([7, 4], 0))
    with_mask = {**batch, "causal_mask": tf.zeros([2, 7], tf.int32)}
    for form in (own, serving_form(own)):
        want, found = form(batch), form(with_mask)
        for name in want:
            np.testing.assert_array_equal(found[name], want[name])


def test_the_written_gradient_of_a_causal_mask_is_the_automatic_one():
    with policy("float64"):
        own = encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    batch = inputs(tokens([7] * 4, 0), causal_mask=list(np.int32(CAUSAL)))
    variables = [variable.value for variable in own.trainable_variables]
    gradients = []
    for options in ({}, {"training": True, "noise": Noise(seed=1, step=0)}):
        with tf.GradientTape() as tape:
            out = own(batch, **options)["sequence_output"]
            total = tf.reduce_sum(tf.sin(3 * out))
        gradients.append(tape.gradient(total, variables, unconnected_gradients="zero"))
    for one, other in zip(*gradients):
        np.testing.assert_allclose(
            tf.convert_to_tensor(one), tf.convert_to_tensor(other), rtol=1e-9, atol=1e-12
        )


# The head.


def test_the_head_gives_the_log_probabilities_of_given_tokens():
    made = model("causal")
    positions = np.array([[0, 2, 3, -1], [-1, -1, 1, 0]], np.int32)
    ids = np.array([[5, 47, 0, 3], [3, 49, 7, 8]], np.int32)
    batch = inputs(tokens([5, 5], 0))
    batch["predicted_positions"] = tf.constant(positions)
    logits = made(batch)["logits"].numpy().astype(np.float64)
    assert logits.shape == (2, 4, TOKENS)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found = made({**batch, "predicted_ids": tf.constant(ids)})
    assert set(found) == {"log_probabilities", "mean_log_probabilities"}
    for row, column in zip(*np.where(positions >= 0)):
        want = log_probabilities[row, column]
        assert found["log_probabilities"][row, column].numpy() == pytest.approx(
            want[ids[row, column]], abs=1e-5
        )
        assert found["mean_log_probabilities"][row, column].numpy() == pytest.approx(want.mean(), abs=1e-5)
    for values in found.values():
        assert (values.numpy()[positions < 0] == 0).all()


def test_a_model_leaves_room_for_what_it_writes():
    made = model("causal")
    assert made.limits.width == made.encoder.config.max_position_embeddings - 8


class NoCacheConfig(BertConfig):
    generates = False


def test_models_that_cannot_generate_say_so():
    batch = inputs(tokens([3], 0))
    made = TextModel(
        encoder(NoCacheConfig), model("causal").head.from_config(model("causal").head.get_config())
    )
    with pytest.raises(
        UserError, match=r"test_key_value_cache cannot write texts: its encoder has no key-value"
    ):
        made.start(batch)
    classifier = TextModel(encoder(), ClassificationHead(3))
    for form in (classifier, classifier.for_serving()):
        with pytest.raises(UserError, match="the head ClassificationHead, which cannot write texts"):
            form.start(batch)
