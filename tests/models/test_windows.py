"""Long rows in windows: against plain Python, and against the plain model window by window."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests import tiny
from tests.training import test_step as steps
from tests.training.replicas import mirrored
from tfpipeline import checkpoints
from tfpipeline.models import ClassificationHead, SpanHead, TextModel
from tfpipeline.models.windows import WindowLayout, Windows
from tfpipeline.text import Truncation
from tfpipeline.training.step import TrainStep

CLS, SEP = 2, 3


def row(first, second=None):
    """(ids, token types) of a text, or of a pair, of so many tokens; no two tokens of a text are the same."""
    ids = [CLS, *range(100, 100 + first), SEP]
    types = [0] * len(ids)
    if second is not None:
        ids += [*range(500, 500 + second), SEP]
        types += [1] * (second + 1)
    return ids, types


def batch(rows, width=0):
    width = max(width, *(len(ids) for ids, _ in rows))
    zeros = {
        name: np.zeros((len(rows), width), np.int32)
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    for index, (ids, types) in enumerate(rows):
        zeros["input_ids"][index, : len(ids)] = ids
        zeros["token_type_ids"][index, : len(ids)] = types
        zeros["attention_mask"][index, : len(ids)] = 1
    return {name: tf.constant(array) for name, array in zeros.items()}


def in_python(one, cut, pair):
    """The windows of a row, each (ids, token types), as the definition says."""
    ids, types = one
    prefix = ids[: types.count(0)] if pair else ids[:1]
    body = ids[len(prefix) : -1]
    room = cut.max_length - len(prefix) - 1
    if len(body) <= room:
        return [one]
    found = []
    for number in range(cut.max_windows):
        start = min(number * (room - cut.overlap), len(body) - room)
        window = [*prefix, *body[start : start + room], SEP]
        found.append((window, [0] * len(prefix) + [int(pair)] * (room + 1)))
        if start == len(body) - room:
            break
    return found


def split(inputs, cut, pair, noise=None):
    """The windows of each row, as `in_python` has them."""
    windows, found, _ = Windows(cut, pair).split(inputs, noise)
    real = found.real
    shape = real.shape
    arrays = {name: tensor.numpy().reshape(*shape, -1) for name, tensor in windows.items()}
    found = []
    for index, of_row in enumerate(real.numpy()):
        found.append([])
        for number in np.flatnonzero(of_row):
            mask = arrays["attention_mask"][index, number] > 0
            assert mask[: mask.sum()].all()
            names = ("input_ids", "token_type_ids")
            found[-1].append(tuple(arrays[name][index, number][mask].tolist() for name in names))
        assert not arrays["attention_mask"][index, ~of_row].any()
    return found


def test_a_text_by_hand():
    cut = Truncation(7, "windows", overlap=1, max_windows=3)
    rows = [row(12), row(5), row(0), row(20)]
    found = [[ids for ids, _ in windows] for windows in split(batch(rows), cut, pair=False)]
    assert found == [
        [
            [CLS, 100, 101, 102, 103, 104, SEP],
            [CLS, 104, 105, 106, 107, 108, SEP],
            [CLS, 107, 108, 109, 110, 111, SEP],  # full, so it shares more
        ],
        [[CLS, 100, 101, 102, 103, 104, SEP]],
        [[CLS, SEP]],
        [
            [CLS, 100, 101, 102, 103, 104, SEP],
            [CLS, 104, 105, 106, 107, 108, SEP],
            [CLS, 108, 109, 110, 111, 112, SEP],  # no more windows: the rest is not read
        ],
    ]


def test_a_pair_by_hand():
    cut = Truncation(9, "windows", overlap=1, max_windows=3)
    assert split(batch([row(2, 6), row(5, 1), row(3, 0)]), cut, pair=True) == [
        [
            ([CLS, 100, 101, SEP, 500, 501, 502, 503, SEP], [0] * 4 + [1] * 5),
            ([CLS, 100, 101, SEP, 502, 503, 504, 505, SEP], [0] * 4 + [1] * 5),
        ],
        [row(5, 1)],
        [row(3, 0)],
    ]


def test_windows_that_get_nowhere_are_refused():
    """By the longest prefix that the rows of this model may have."""
    cut = Truncation(13, "windows", overlap=5)
    assert Windows(cut).count(13) == 1
    with pytest.raises(ValueError, match="overlap is 5"):
        Windows(cut, pair=True)
    Windows(dataclasses.replace(cut, max_first_text=2), pair=True)


def test_fewer_windows_are_computed_for_a_bounded_first_text():
    """A question of 12 tokens and its context: room is made for windows behind the longest first text there may be."""
    half = Truncation(384, "windows", overlap=128)
    bounded = dataclasses.replace(half, max_first_text=64)
    found = []
    for tokens in (384, 625, 1107):
        inputs = batch([row(12, tokens - 15)])
        computed = []
        for cut in (half, bounded):
            windows, rows, _ = Windows(cut, pair=True).split(inputs, None)
            computed.append(windows["input_ids"].shape[0])
            assert computed[-1] == Windows(cut, pair=True).count(tokens)
            real = int(tf.reduce_sum(tf.cast(rows.real, tf.int32)))
            assert real == len(in_python(row(12, tokens - 15), cut, pair=True))
        found.append((tokens, real, *computed))
    assert found == [(384, 1, 1, 1), (625, 2, 5, 3), (1107, 4, 8, 5)]


sizes = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=7)


def made(max_length, overlap, most, bound):
    """A cut of that bound and overlap, or of the most that it can have."""
    bound = bound if bound is None else min(bound, (max_length - 3) // 2)
    cut = Truncation(max_length, "windows", overlap=0, max_windows=most, max_first_text=bound)
    return dataclasses.replace(cut, overlap=min(overlap, cut.step(cut.prefix(pair=True)[1]) - 1))


cuts = st.builds(
    made, st.integers(5, 20), st.integers(0, 14), st.integers(1, 6), st.none() | st.integers(1, 8)
)


@given(sizes, st.booleans(), cuts, st.integers(0, 90))
def test_windows_equal_plain_python(sizes, pair, cut, width):
    max_length, most = cut.max_length, cut.max_windows

    def kept(first, second):  # a first text is cut only where its row takes more than one window
        return first if first + second <= max_length - 3 else min(first, cut.first_text)

    rows = [row(kept(first, second), second) if pair else row(first) for first, second in sizes]
    inputs = batch(rows, width)
    want = [in_python(one, cut, pair) for one in rows]
    assert split(inputs, cut, pair) == want
    assert Windows(cut, pair).count(inputs["input_ids"].shape[1]) >= max(map(len, want))
    for one, windows in zip(rows, want):
        assert all(len(ids) == min(len(one[0]), max_length) for ids, _ in windows)
        prefix = cut.prefix(pair)[0] if not pair else one[1].count(0)
        if len(one[0]) <= cut.holds(prefix, most):  # nothing is cut: every token is in some window
            assert set(one[0]) == {token for ids, _ in windows for token in ids}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoints.load(tiny.write_checkpoint(tmp_path_factory.mktemp("windows") / "checkpoint"))


def models(checkpoint, cut, pair=False, pooling="mean"):
    """A model with windows, and one with the same weights and none."""
    encoder = checkpoint.encoder()
    head = ClassificationHead(3, pooling=pooling, seed=1)
    return TextModel(encoder, head, Windows(cut, pair)), TextModel(encoder, head)


def texts(*lengths, pair=0, seed=0):
    """Rows of random tokens of the tiny vocabulary."""
    random = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        ids, types = row(pair, length) if pair else row(length)
        rows.append(([int(random.integers(5, 29)) if token > 3 else token for token in ids], types))
    return rows


CUT = Truncation(12, "windows", overlap=3, max_windows=5)
ROWS = texts(30, 4, 10, 0, 11, 37, 60)


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize(("pair", "bound"), [(0, None), (3, None), (3, 3), (1, 2)])
def test_the_answer_is_that_of_its_windows(checkpoint, pool, pooling, pair, bound):
    cut = Truncation(12, "windows", overlap=2, max_windows=5, pool=pool, max_first_text=bound)
    model, plain = models(checkpoint, cut, bool(pair), pooling)
    rows = texts(30, 4, 10, 0, 11, 37, 60, pair=pair)
    found = model(batch(rows))["logits"].numpy()
    for one, logits in zip(rows, found):
        windows = [plain(batch([window]))["logits"].numpy()[0] for window in in_python(one, cut, bool(pair))]
        np.testing.assert_allclose(logits, getattr(np, pool)(windows, axis=0), atol=2e-6)
    assert len({len(in_python(one, cut, bool(pair))) for one in rows}) > 2


def compiled(model, shape, **options):
    spec = {
        name: tf.TensorSpec(shape, tf.int32) for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    return tf.function(
        lambda inputs: model(inputs)["logits"], input_signature=[spec], autograph=False, **options
    )


def test_eager_compiled_and_xla_answer_the_same(checkpoint):
    model, _ = models(checkpoint, CUT)
    inputs = batch(ROWS)
    want = model(inputs)["logits"].numpy()
    shape = inputs["input_ids"].shape
    for function in (
        compiled(model, [None, None]),
        compiled(model, shape),
        compiled(model, shape, jit_compile=True),
        compiled(model, [None, shape[1]]),
    ):
        np.testing.assert_allclose(function(inputs), want, atol=2e-6)


def test_padding_changes_nothing(checkpoint):
    model, _ = models(checkpoint, CUT)
    narrow, unknown = batch(ROWS), compiled(model, [None, None])
    want = model(narrow)["logits"].numpy()
    for width in (63, 80, 500):
        np.testing.assert_allclose(model(batch(ROWS, width))["logits"], want, atol=2e-6)
        np.testing.assert_allclose(unknown(batch(ROWS, width)), want, atol=2e-6)
    alone = [model(batch([one]))["logits"].numpy()[0] for one in ROWS]
    np.testing.assert_allclose(alone, want, atol=2e-6)


def test_a_bound_that_all_first_texts_keep_changes_no_answer(checkpoint):
    """In batches of any width, alone, and compiled for fixed shapes and for unknown ones."""
    cut = Truncation(12, "windows", overlap=2, max_windows=8)
    rows = [one for size in (1, 2, 3) for one in texts(20, 4, 10, 0, 11, pair=size)]
    want = models(checkpoint, cut, pair=True)[0](batch(rows))["logits"].numpy()
    model, _ = models(checkpoint, dataclasses.replace(cut, max_first_text=3), pair=True)
    assert model.windows.count(26) < Windows(cut, pair=True).count(26)
    for width in (0, 40, 100):
        inputs = batch(rows, width)
        for function in (compiled(model, [None, None]), compiled(model, inputs["input_ids"].shape)):
            np.testing.assert_allclose(function(inputs), want, atol=2e-6)
    alone = [model(batch([one]))["logits"].numpy()[0] for one in rows]
    np.testing.assert_allclose(alone, want, atol=2e-6)


def test_what_fits_is_answered_as_ever_to_the_bit(checkpoint):
    model, plain = models(checkpoint, CUT)
    for rows in (texts(4, 10, 0), texts(3)):
        inputs = batch(rows)
        np.testing.assert_array_equal(model(inputs)["logits"], plain(inputs)["logits"])
        np.testing.assert_array_equal(
            compiled(model, [None, None])(inputs), compiled(plain, [None, None])(inputs)
        )


def test_no_rows(checkpoint):
    model, _ = models(checkpoint, CUT)
    nothing = {
        name: tf.zeros([0, 30], tf.int32) for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    assert model(nothing)["logits"].shape == (0, 3)
    assert compiled(model, [None, None])(nothing).shape == (0, 3)


def test_rows_without_tokens_are_answered(checkpoint):
    """Batches of one size are filled up with them."""
    model, _ = models(checkpoint, CUT)
    inputs = batch(ROWS)
    filled = {name: tf.concat([tensor, tf.zeros_like(tensor[:2])], 0) for name, tensor in inputs.items()}
    found = model(filled)["logits"].numpy()
    np.testing.assert_allclose(found[:-2], model(inputs)["logits"], atol=2e-6)
    assert np.isfinite(found).all()


def test_ids_that_no_tokenizer_of_ours_made_are_answered(checkpoint):
    """A first text too long for a window, no second one, more tokens than the windows hold."""
    random = texts(30, 20, 200)
    rows = [random[0], (random[1][0], [0] * 20 + [1] * 2), random[2], (random[0][0], [1] * 32)]
    for cut in (CUT, dataclasses.replace(CUT, max_first_text=1)):
        model, _ = models(checkpoint, cut, pair=True)
        found = compiled(model, [None, None])(batch(rows))
        assert np.isfinite(found).all()
        np.testing.assert_allclose(model(batch(rows[:1]))["logits"], found[:1], atol=2e-6)


def test_nothing_is_computed_for_windows_that_no_row_has():
    """A short first text leaves more room, so there are fewer windows than the width alone would allow."""
    cut = Truncation(20, "windows", overlap=4, max_windows=8)
    windows = Windows(cut, pair=True)
    inputs = batch([row(1, 30)])
    assert windows.count(34) == 4
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in inputs}
    function = tf.function(
        lambda inputs: windows.split(inputs, None)[1].real, input_signature=[spec], autograph=False
    )
    assert function(inputs).shape == (1, 3)


def test_a_mean_of_equal_numbers_is_that_number():
    """What a head says of every text alike, such as a threshold, must not be shaken by rounding."""
    value = np.float32(0.1)
    real = tf.constant([[True] * 7, [True] * 3 + [False] * 4])
    found = WindowLayout(real, *[tf.zeros([2], tf.int32)] * 4)
    pooled = Windows(CUT).merge({"thresholds": tf.fill([14, 2], value)}, found, 20)["thresholds"]
    assert (pooled.numpy() == value).all()


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_gradient_is_finite_and_that_of_the_real_windows(checkpoint, pool):
    model, _ = models(checkpoint, Truncation(12, "windows", overlap=3, pool=pool))

    def gradient(width):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(batch(ROWS, width))["logits"] ** 2)
        return [
            tf.convert_to_tensor(one)
            for one in tape.gradient(loss, [v.value for v in model.trainable_variables])
        ]

    for narrow, wide in zip(gradient(0), gradient(100)):
        assert np.isfinite(narrow).all()
        np.testing.assert_allclose(wide, narrow, rtol=1e-4, atol=1e-4)


def test_sixteen_bits_are_pooled_in_thirty_two(checkpoint):
    saved = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, _ = models(checkpoint, CUT)
    finally:
        keras.config.set_dtype_policy(saved)
    exact, _ = models(checkpoint, CUT)
    found = model(batch(ROWS))["logits"]
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, exact(batch(ROWS))["logits"], atol=0.1)


# Outputs of tokens: put back where they stand in their row.


def sources(one, cut, pair):
    """Of each of a row's tokens, in plain Python, its window and where it is there.

    What every window has is taken from the first one; of the others each from the window in which its smaller side has
    most tokens, the first of equals.
    """
    ids, types = one
    windows = [window for window, _ in in_python(one, cut, pair)]
    prefix = min(max(types.count(0), 2), cut.prefix(pair)[1]) if pair else 1
    if len(windows) == 1:
        return [(0, place) for place in range(len(ids))]
    found = []
    for place, token in enumerate(ids):
        best, at = -1, (0, place)
        if place == len(ids) - 1:
            at = (0, len(windows[0]) - 1)
        elif place >= prefix:
            for number, window in enumerate(windows):
                within = window[prefix:-1]
                if token in within:  # no two are the same
                    left = within.index(token)
                    poorer = min(left, len(within) - 1 - left)
                    if poorer > best:
                        best, at = poorer, (number, prefix + left)
            assert best >= 0 or place >= cut.holds(prefix, cut.max_windows) - 1
        found.append(at)
    return found


def marked(windows, found):
    """Outputs of tokens, each its window's number and its place in the window, and noise where there is no window."""
    rows, count = found.real.shape
    size = windows["input_ids"].shape[1]
    numbers = np.arange(rows * count) % count
    outputs = np.stack(np.broadcast_arrays(numbers[:, None], np.arange(size)[None]), axis=-1).astype(
        np.float32
    )
    outputs[~found.real.numpy().reshape(-1)] = np.nan
    return outputs


@given(sizes, st.booleans(), cuts, st.integers(0, 90))
def test_tokens_come_from_the_window_with_most_around_them(sizes, pair, cut, width):
    most = cut.max_windows
    rows = []
    for first, second in sizes:
        # No row has more tokens than its windows hold: those are what the tokenizer leaves out.
        kept = min(first, cut.first_text)
        held = cut.holds(2 + kept if pair else 1, most) - 3
        rows.append(row(kept, min(second, held - kept)) if pair else row(min(first, held + 1)))
    inputs = batch(rows, width)
    windows = Windows(cut, pair)
    pieces, found, _ = windows.split(inputs, None)
    length = inputs["input_ids"].shape[1]
    merged = windows.merge({"x": tf.constant(marked(pieces, found))}, found, length, {"x": "tokens"})["x"]
    assert merged.shape == (len(rows), length, 2)
    for index, one in enumerate(rows):
        want = sources(one, cut, pair)
        assert merged[index, : len(one[0])].numpy().tolist() == [[*map(float, place)] for place in want]
        # And these are the row's own tokens.
        ids = tf.reshape(pieces["input_ids"], [*found.real.shape, -1])[index].numpy()
        assert [ids[place] for place in want] == one[0]


def test_tokens_by_hand():
    """Two windows of a pair, the second one moved by 2: tokens 502 to 504 are in both."""
    cut = Truncation(9, "windows", overlap=1, max_windows=3)
    # [CLS] 100 101 [SEP] 500 501 502 503 [SEP] and [CLS] 100 101 [SEP] 502 503 504 505 [SEP]
    assert sources(row(2, 6), cut, True) == [
        *[(0, place) for place in range(4)],  # [CLS] 100 101 [SEP]
        (0, 4), (0, 5),  # 500, 501
        (0, 6),  # 502: of the first window one but last, of the second the first
        (1, 5),  # 503: the other way round
        (1, 6), (1, 7),
        (0, 8),  # [SEP]
    ]  # fmt: skip
    # A first text of more than half a window's room, or than its bound, is in rows only that fit.
    fitting = [row(1, 2), row(5, 1), row(6, 0), row(0, 0)]
    inputs = batch([row(2, 6), *fitting])
    for bound in (None, 2):
        windows = Windows(dataclasses.replace(cut, max_first_text=bound), True)
        pieces, found, _ = windows.split(inputs, None)
        merged = windows.merge({"x": tf.constant(marked(pieces, found))}, found, 11, {"x": "tokens"})["x"]
        assert merged[0, :, 0].numpy().tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0]
        assert merged[0, :, 1].numpy().tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 6, 7, 8]
        for index, (ids, _) in enumerate(fitting, 1):
            assert merged[index, : len(ids)].numpy().tolist() == [[0, place] for place in range(len(ids))]


def test_least_and_most_are_those_of_real_windows():
    """The most number by number, the least of the window whose sum is least."""
    real = tf.constant([[True, True, True], [True, False, False], [True, True, False]])
    found = WindowLayout(real, *[tf.zeros([3], tf.int32)] * 4)
    values = tf.Variable(
        [[3.0, 5.0], [1, 7.5], [2, 6], [4, 4], [-9, -9], [-9, 9], [8, -8], [7, -7.5], [-9, 0]]
    )
    cut = Truncation(12, "windows", overlap=3, pool="max")
    with tf.GradientTape() as tape:
        merged = Windows(cut).merge(
            {"least": values, "most": values}, found, 20, {"least": "least", "most": "pool"}
        )
        total = tf.reduce_sum(merged["least"])
    # Of 8 and 8 the first one; the sum of [7, -7.5] is below that of [8, -8], though -8 is less than -7.5.
    assert merged["least"].numpy().tolist() == [[3, 5], [4, 4], [7, -7.5]]
    assert merged["most"].numpy().tolist() == [[3, 7.5], [4, 4], [8, -7.5]]
    gradient = tf.convert_to_tensor(tape.gradient(total, values)).numpy()
    assert gradient.tolist() == [[float(window in (0, 3, 7))] * 2 for window in range(9)]
    poisoned = tf.where(tf.reshape(real, [9, 1]), values, float("nan"))
    again = Windows(cut).merge({"x": poisoned}, found, 20, {"x": "least"})["x"]
    np.testing.assert_array_equal(again, merged["least"])


@settings(max_examples=15)  # each compiles by XLA
@given(st.data())
def test_the_least_equals_plain_python(data):
    """Value and gradient, of outputs of any shape, in every kind of graph; what stands where no window is counts nowhere."""
    counts = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    room = max(counts) + data.draw(st.integers(0, 2))
    shape = data.draw(st.sampled_from([(), (1,), (2,), (2, 3)]))
    real = np.arange(room) < np.array(counts)[:, None]
    numbers = st.sampled_from([-1e30, -3.0, -0.5, 0.25, 1.0, 4.0, 1e30])  # sums of equals are not rare
    values = data.draw(arrays(np.float32, (len(counts), room, *shape), elements=numbers))
    chosen = []
    for row, count in enumerate(counts):
        sums = [values[row, window].sum() for window in range(count)]
        chosen.append(sums.index(min(sums)))
    want = values[np.arange(len(counts)), chosen]
    slopes = np.zeros_like(values)
    slopes[np.arange(len(counts)), chosen] = want
    values[~real] = data.draw(st.sampled_from([np.nan, -np.inf, 0.0]))
    found = WindowLayout(tf.constant(real), *[tf.zeros([len(counts)], tf.int32)] * 4)

    def merge(outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            merged = Windows(CUT).merge({"x": outputs}, found, 20, {"x": "least"})["x"]
            total = tf.reduce_sum(merged * tf.stop_gradient(merged))
        return merged, tf.convert_to_tensor(tape.gradient(total, outputs))

    outputs = tf.constant(values.reshape(-1, *shape))
    spec = [tf.TensorSpec([None, *shape])]
    for way in (
        merge,
        tf.function(merge, autograph=False, input_signature=spec),
        tf.function(merge, autograph=False, jit_compile=True),
    ):
        merged, gradient = way(outputs)
        np.testing.assert_array_equal(merged, want)
        np.testing.assert_array_equal(gradient, slopes.reshape(outputs.shape))


@pytest.mark.parametrize("pair", [False, True])
def test_gradients_reach_the_tokens_that_were_taken(pair):
    rows = [row(3, length) if pair else row(length) for length in (30, 4, 0, 11, 33)]
    cut = Truncation(12, "windows", overlap=2, max_windows=8)
    windows, inputs = Windows(cut, pair), batch(rows)
    pieces, found, _ = windows.split(inputs, None)
    count, size = found.real.shape[1], pieces["input_ids"].shape[1]
    outputs = tf.Variable(tf.random.stateless_normal([len(rows) * count, size, 2], [1, 2]))
    weights = tf.random.stateless_normal([*inputs["input_ids"].shape, 2], [3, 4])
    weights *= tf.cast(inputs["attention_mask"], tf.float32)[:, :, None]
    with tf.GradientTape() as tape:
        merged = windows.merge({"x": outputs}, found, inputs["input_ids"].shape[1], {"x": "tokens"})["x"]
        total = tf.reduce_sum(merged * weights)
    want = np.zeros(outputs.shape, np.float32)
    for index, one in enumerate(rows):
        for place, (number, within) in enumerate(sources(one, cut, pair)):
            want[index * count + number, within] += weights[index, place].numpy()
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(total, outputs)), want, atol=1e-6)


@pytest.mark.parametrize("pair", [False, True])
def test_tokens_are_put_back_in_every_kind_of_graph(pair):
    rows = [row(3, length) if pair else row(length) for length in (30, 4, 0, 11, 33)]
    windows, inputs = Windows(Truncation(12, "windows", overlap=2), pair), batch(rows)
    shape = inputs["input_ids"].shape

    def merge(inputs):
        pieces, found, _ = windows.split(inputs, None)
        width = tf.shape(inputs["input_ids"])[1] if inputs["input_ids"].shape[1] is None else shape[1]
        number = tf.cast(pieces["input_ids"], tf.float16)[:, :, None] + tf.constant([0, 1], tf.float16)
        outputs = {"ids": number, "least": tf.cast(pieces["input_ids"][:, 1], tf.float64)}
        return windows.merge(outputs, found, width, {"ids": "tokens", "least": "least"})

    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in inputs}
    ways = [
        merge,
        tf.function(merge, autograph=False),
        tf.function(merge, autograph=False, jit_compile=True),
        tf.function(merge, input_signature=[spec], autograph=False),
    ]
    mask = inputs["attention_mask"].numpy() > 0
    for way in ways:
        merged = way(inputs)
        assert (merged["ids"].dtype, merged["least"].dtype) == (tf.float32, tf.float64)
        ids = inputs["input_ids"].numpy()[mask]
        np.testing.assert_array_equal(merged["ids"].numpy()[mask], np.stack([ids, ids + 1], axis=-1))
        assert merged["least"].shape == [5]
    # Shapes that are known stay known, as XLA needs them.
    static = {name: tf.TensorSpec(shape, tf.int32) for name in inputs}
    outputs = tf.function(merge, autograph=False).get_concrete_function(static).structured_outputs
    assert outputs["ids"].shape == (*shape, 2)


class Words(keras.layers.Layer):
    """An encoder whose outputs are of each token alone, wherever it stands and whatever is around."""

    pooler = None

    def __init__(self, size):
        super().__init__()
        self.table = self.add_weight(shape=(600, size), initializer="random_normal", name="table")

    def call(self, inputs, noise=None):
        ids, types = inputs["input_ids"], inputs["token_type_ids"]
        return {"sequence_output": tf.gather(self.table, ids) + tf.cast(types, tf.float32)[:, :, None]}

    def compute_output_shape(self, shapes):
        return {"sequence_output": (*shapes["input_ids"], self.table.shape[1])}

    def parts(self):
        return []


@pytest.mark.parametrize("pair", [False, True])
def test_words_that_see_no_others_are_scored_in_windows_as_in_the_whole(pair):
    encoder, head = Words(6), SpanHead(threshold=0.3, seed=4)
    rows = [row(3, length) if pair else row(length) for length in (30, 4, 0, 11, 55)]
    inputs, mask = batch(rows, 70), batch(rows, 70)["attention_mask"].numpy() > 0
    want = TextModel(encoder, head)(inputs)
    for cut in (Truncation(12, "windows", overlap=2, max_windows=20), Truncation(30, "windows", overlap=12)):
        found = TextModel(encoder, head, Windows(cut, pair))(inputs)
        np.testing.assert_allclose(found["span"].numpy()[mask], want["span"].numpy()[mask], atol=1e-6)
        np.testing.assert_allclose(found["none"], want["none"], atol=1e-6)
        assert found["threshold"].numpy().tolist() == [np.float32(0.3)] * 5
    assert np.ptp(want["none"][:, 0]) < 1e-6  # [CLS] is the same in each
    assert np.std(want["span"].numpy()[mask]) > 1e-3


def span_models(checkpoint, cut, pair):
    encoder, head = checkpoint.encoder(), SpanHead(threshold=0.3, seed=1)
    plain = TextModel(encoder, head)
    head.dense.kernel.assign(np.random.default_rng(0).normal(0, 1, head.dense.kernel.shape))
    return TextModel(encoder, head, Windows(cut, pair)), plain


@pytest.mark.parametrize(("pair", "bound"), [(0, None), (3, None), (3, 3)])
def test_the_spans_scores_are_those_of_its_windows(checkpoint, pair, bound):
    """Each token's from the plain model's answer to the one window that is right for it; the least "none" of all."""
    cut = Truncation(12, "windows", overlap=2, max_windows=6, max_first_text=bound)
    model, plain = span_models(checkpoint, cut, bool(pair))
    kernel = model.head.dense.kernel
    # What starts answers ends few: seldom are both least in one window.
    kernel.assign(tf.stack([kernel[:, 0], kernel[:, 1] / 2 - kernel[:, 0]], axis=1))
    fits = cut.holds(1, 6) - 2
    lengths = (16, 4, 3, 0, 11, 15) if pair else (30, 4, 10, 0, 11, fits)
    rows = [row(pair, length) if pair else row(length) for length in lengths]

    def known(ids):  # distinct tokens, within the tiny vocabulary's 29
        return [token if token < 5 else 5 + token % 24 for token in ids]

    small = [(known(ids), types) for ids, types in rows]
    found, mixed = model(batch(small)), False
    for index, (one, same) in enumerate(zip(rows, small)):
        pieces = [(known(ids), types) for ids, types in in_python(one, cut, bool(pair))]
        outputs = [plain(batch([piece])) for piece in pieces]
        want = [outputs[number]["span"][0, place] for number, place in sources(one, cut, bool(pair))]
        np.testing.assert_allclose(found["span"][index, : len(same[0])], want, atol=5e-6)
        nones = np.array([output["none"][0] for output in outputs])
        least = nones.sum(1).argmin()
        np.testing.assert_allclose(found["none"][index], nones[least], atol=5e-6)
        mixed |= bool((nones.min(0) < nones[least] - 1e-4).any())
    assert len({len(in_python(one, cut, bool(pair))) for one in rows}) > 2
    assert mixed  # the least start and the least end are of two windows somewhere
    assert np.ptp(found["span"]) > 1


@pytest.mark.parametrize("pair", [0, 3])
def test_a_row_of_one_window_is_scored_as_without_windows(checkpoint, pair):
    model, plain = span_models(checkpoint, CUT, bool(pair))
    short, long = texts(4, 5, 0, pair=pair), texts(30, 25, pair=pair)
    alone, mixed = plain(batch(short)), model(batch([*short, *long]))
    mask = batch(short)["attention_mask"].numpy() > 0
    width = mask.shape[1]
    np.testing.assert_allclose(mixed["span"][:3, :width][mask], alone["span"][mask], atol=2e-6)
    np.testing.assert_allclose(mixed["none"][:3], alone["none"], atol=2e-6)
    by_itself = model(batch(short))
    for name, values in alone.items():
        np.testing.assert_array_equal(by_itself[name], values)


@pytest.mark.parametrize("pair", [False, True])
def test_spans_of_rows_that_no_tokenizer_of_ours_made_are_finite(checkpoint, pair):
    """Without tokens, with more of them than the windows hold, with a first text too long for a window."""
    model, _ = span_models(checkpoint, Truncation(12, "windows", overlap=3, max_windows=3), pair)
    random = texts(30, 20, 200, 5)
    rows = [random[0], (random[1][0], [0] * 20 + [1] * 2), random[2], (random[0][0], [1] * 32), random[3]]
    inputs = {name: tf.concat([tensor, tensor[:1] * 0], 0) for name, tensor in batch(rows).items()}
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in inputs}
    found = tf.function(model, input_signature=[spec], autograph=False)(inputs)
    assert found["span"].shape == (6, 202, 2)
    assert np.isfinite(found["span"]).all()
    assert np.isfinite(found["none"]).all()
    alone = model(batch(rows[4:]))  # their neighbours do not see it
    np.testing.assert_allclose(found["span"][4, :7], alone["span"][0], atol=2e-6)


def test_training_is_the_same_on_replicas_in_parts_and_with_xla(tmp_path):
    """In float64, dropout on: a window's masks depend on its place in the global batch, nothing else."""
    checkpoint = checkpoints.load(tiny.write_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1))
    one, two = tf.distribute.OneDeviceStrategy("/cpu:0"), mirrored(2)

    def trained(strategy, parts, xla, pool):
        def make(strategy, model, *rest):
            model.windows = Windows(Truncation(8, "windows", overlap=1, max_windows=4, pool=pool))
            return TrainStep(strategy, model, *rest, static=xla)

        model, step = steps.setup(checkpoint, strategy, make=make, accumulation=parts)
        losses = [
            float(step(steps.batch(rows=count, width=19, seed=number), number)["loss"])
            for number, count in enumerate([8, 8, 5])
        ]
        return {"losses": np.array(losses), **steps.values(model)}

    for pool in ("mean", "max"):
        want = trained(one, 1, False, pool)
        assert np.ptp(want["losses"]) > 1e-3
        # How windows are pooled has nothing to do with replicas and parts: both at once is enough for the
        # second one.
        cases = [(one, 4, False), (one, 2, True), (two, 1, False)] if pool == "mean" else [(one, 1, True)]
        for case in [*cases, (two, 2, False)]:
            found = trained(*case, pool)
            for name, array in want.items():
                np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-9, err_msg=f"{case} {name}")
