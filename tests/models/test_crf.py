"""The conditional random field, beside a plain listing of all sequences."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpipeline.models import crf
from tfpipeline.models.crf import Transitions

_FAR = 100  # a lead of as much or more is one and the same


@dataclasses.dataclass
class Case:
    """Inputs, as NumPy arrays."""

    emissions: np.ndarray
    tags: np.ndarray
    mask: np.ndarray
    between: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def arrays(self, dtype=None):
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return [value.astype(dtype) if dtype and value.dtype.kind == "f" else value for value in values]

    def rows(self, *index):
        return dataclasses.replace(
            self, emissions=self.emissions[index], tags=self.tags[index], mask=self.mask[index]
        )


def draw(rows, width, size, seed=0, spread=2.0):
    """Random numbers; the masks have holes, and some are empty."""
    rng = np.random.default_rng([seed, rows, width, size])
    return Case(
        rng.normal(size=(rows, width, size)) * spread,
        rng.integers(size, size=(rows, width), dtype=np.int32),
        rng.random((rows, width)) < rng.choice([0.0, 0.5, 0.8, 1.0], size=(rows, 1)),
        rng.normal(size=(size, size)) * spread,
        rng.normal(size=size) * spread,
        rng.normal(size=size) * spread,
    )


def everything(emissions, tags, mask, between, start, end):
    """All functions' results, and the gradient of a weighted sum of the rows' negative log-likelihoods."""
    parts = [tf.convert_to_tensor(part) for part in (emissions, between, start, end)]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        transitions = Transitions(*parts[1:])
        partition = crf.log_partition(parts[0], mask, transitions)
        score = crf.sequence_score(parts[0], tags, mask, transitions)
        # Weights of 1, 2, 3: no two rows count alike.
        loss = tf.reduce_sum((partition - score) * tf.cumsum(tf.ones_like(score)))
    found = {"log_partition": partition, "sequence_score": score}
    found["marginals"] = crf.marginals(parts[0], mask, transitions)
    found["viterbi"], found["best"], lead = crf.viterbi(parts[0], mask, transitions)
    found["lead"] = tf.minimum(lead, _FAR)  # of what is forbidden, in some way
    for name, gradient in zip(
        ("emissions", "between", "start", "end"), tape.gradient(loss, parts), strict=True
    ):
        found[f"d_{name}"] = tf.convert_to_tensor(gradient)
    return found


def run(case, dtype=None):
    return {name: tensor.numpy() for name, tensor in everything(*case.arrays(dtype)).items()}


def listed(case):
    """The same by the definition: every sequence of every row."""
    rows, width, size = case.emissions.shape
    found = {
        "log_partition": np.zeros(rows),
        "sequence_score": np.zeros(rows),
        "marginals": np.zeros((rows, width, size)),
        "viterbi": np.zeros((rows, width), np.int32),
        "best": np.zeros(rows),
        "lead": np.zeros((rows, width)),
        "d_emissions": np.zeros((rows, width, size)),
        "d_between": np.zeros((size, size)),
        "d_start": np.zeros(size),
        "d_end": np.zeros(size),
    }
    for row in range(rows):
        own = np.flatnonzero(case.mask[row])
        if not len(own):
            continue
        # From the lowest to the highest, the last tag counting most.
        sequences = [tags[::-1] for tags in itertools.product(range(size), repeat=len(own))]
        scores = np.array(
            [
                sum(case.emissions[row, own, tags])
                + sum(case.between[tags[:-1], tags[1:]])
                + case.start[tags[0]]
                + case.end[tags[-1]]
                for tags in map(np.array, sequences)
            ]
        )
        right = sequences.index(tuple(case.tags[row, own]))
        top = scores.max()
        total = top + np.log(np.exp(scores - top).sum())
        found["log_partition"][row], found["sequence_score"][row] = total, scores[right]
        found["best"][row], found["viterbi"][row, own] = top, sequences[int(np.argmax(scores))]
        every = np.array(sequences)
        for place, position in enumerate(own):
            others = scores[every[:, place] != found["viterbi"][row, position]]
            found["lead"][row, position] = min(top - others.max(initial=-np.inf), _FAR)
        # What is expected less what is there.
        expected = np.exp(scores - total)
        for tags, share in zip(sequences, expected, strict=True):
            found["marginals"][row, own, tags] += share
        expected[right] -= 1
        for tags, share in zip(sequences, expected * (row + 1), strict=True):
            found["d_emissions"][row, own, tags] += share
            np.add.at(found["d_between"], (tags[:-1], tags[1:]), share)
            found["d_start"][tags[0]] += share
            found["d_end"][tags[-1]] += share
    return found


def assert_close(found, want, atol, rtol=0.0):
    assert found.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_allclose(found[name], array, rtol=rtol, atol=atol, err_msg=name)


def assert_same_bits(found, want):
    assert found.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@functools.cache
def graph(size, dtype):
    """:func:`everything` in a graph, traced once for rows of any number and width."""
    shapes = [[None, None, size], [None, None], [None, None], [size, size], [size], [size]]
    dtypes = [dtype, tf.int32, tf.bool, dtype, dtype, dtype]
    return tf.function(everything, input_signature=list(map(tf.TensorSpec, shapes, dtypes)))


def compiled(case, how):
    """:func:`run`, in a graph of unknown sizes or with XLA."""
    if how == "xla":
        function = tf.function(everything, jit_compile=True)
    else:
        function = graph(case.emissions.shape[2], tf.as_dtype(case.emissions.dtype))
    return {name: tensor.numpy() for name, tensor in function(*map(tf.constant, case.arrays())).items()}


@settings(max_examples=30)
@given(st.integers(0, 3), st.integers(0, 5), st.integers(1, 3), st.integers(0, 99))
def test_equals_the_listing(rows, width, size, seed):
    case = draw(rows, width, size, seed)
    assert_close(compiled(case, "graph"), listed(case), atol=1e-9)


def test_the_listing_has_teeth():
    """Each part of the inputs matters to each result that it should matter to."""
    case = draw(4, 5, 3, seed=1)
    want = listed(case)
    assert case.mask.any(axis=1).sum() == 3
    assert not case.mask.all(axis=1).all()
    for name in ("emissions", "between", "start", "end"):
        assert np.abs(want[f"d_{name}"]).max() > 0.1
        other = run(dataclasses.replace(case, **{name: getattr(case, name)[..., ::-1]}))
        for result in ("log_partition", "sequence_score", "marginals", "best", "lead"):
            assert np.abs(other[result] - want[result]).max() > 0.01, (name, result)


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_of_equal_sequences_the_lowest_wins(how):
    rng = np.random.default_rng(3)
    case = draw(12, 4, 3, seed=3)
    for name in ("emissions", "between", "start", "end"):
        setattr(case, name, rng.integers(2, size=getattr(case, name).shape).astype(np.float32))
    want = listed(case)
    found = run(case) if how == "eager" else compiled(case, how)
    np.testing.assert_array_equal(found["viterbi"], want["viterbi"])
    np.testing.assert_array_equal(found["best"], want["best"])
    np.testing.assert_array_equal(found["lead"], want["lead"])
    assert (want["lead"][case.mask] == 0).any()
    highest = dataclasses.replace(
        case,
        emissions=case.emissions[..., ::-1],
        between=case.between[::-1, ::-1],
        start=case.start[::-1],
        end=case.end[::-1],
    )
    assert (2 - listed(highest)["viterbi"] != want["viterbi"])[case.mask].mean() > 0.2  # many are equal


@pytest.mark.parametrize("how", ["graph", "xla"])
@pytest.mark.parametrize("shape", [(13, 7, 5), (1, 7, 5), (3, 1, 2), (0, 4, 3), (3, 0, 3)])
def test_compiled_as_eager(shape, how):
    case = draw(*shape)
    assert_close(compiled(case, how), run(case), rtol=1e-6, atol=1e-9)


def test_rows_do_not_see_each_other():
    case = draw(13, 9, 4)
    together = compiled(case, "graph")
    for row in range(13):
        alone = compiled(case.rows(slice(row, row + 1)), "graph")
        for name in ("log_partition", "sequence_score", "marginals", "best", "lead"):
            np.testing.assert_allclose(alone[name][0], together[name][row], rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(alone["viterbi"][0], together["viterbi"][row])


@pytest.mark.parametrize("how", ["eager", "graph"])
def test_positions_outside_change_no_bit(how):
    """Neither what is there, nor how many there are, in a row or to its right."""

    def compute(case):
        return run(case, np.float32) if how == "eager" else compiled(Case(*case.arrays(np.float32)), how)

    case = draw(13, 9, 4)
    want = compute(case)
    assert np.abs(want["d_between"]).max() > 0.1
    spoilt = case.emissions.copy(), case.tags.copy()
    spoilt[0][~case.mask] = np.resize([np.nan, np.inf, -np.inf, 1e30], spoilt[0][~case.mask].shape)
    spoilt[1][~case.mask] = np.resize([-100, 4, 2**31 - 1], (~case.mask).sum())
    spoilt = dataclasses.replace(case, emissions=spoilt[0], tags=spoilt[1])
    assert_same_bits(compute(spoilt), want)

    places = [0, 3, 4, 5, 8, 10, 11, 12, 15]  # of 21
    wide = Case(
        np.full((13, 21, 4), np.nan),
        np.full((13, 21), 77, np.int32),
        np.zeros((13, 21), bool),
        *case.arrays()[3:],
    )
    wide.emissions[:, places], wide.tags[:, places] = case.emissions, case.tags
    wide.mask[:, places] = case.mask
    found = compute(wide)
    for name in ("marginals", "viterbi", "lead", "d_emissions"):
        assert not np.delete(found[name], places, axis=1).any()
        found[name] = found[name][:, places]
    assert_same_bits(found, want)


@pytest.mark.parametrize(
    ("forbidden", "dtype", "how"),
    [
        *itertools.product([-np.inf, -1e9, -1e12, -3e38], [np.float32, np.float64], ["eager"]),
        (-np.inf, np.float32, "graph"),
        (-np.inf, np.float32, "xla"),
        (-1e12, np.float32, "xla"),
    ],
)
def test_forbidden_transitions(forbidden, dtype, how):
    """As in IOB2: O, B-x, I-x, B-y, I-y, where an I- follows its own B- or I- only; no sequence ends with
    B-y.
    """
    case = draw(6, 4, 5, seed=2)
    case.mask[0] = True
    for inside, begin in ((2, 1), (4, 3)):
        case.between[[tag for tag in range(5) if tag not in (inside, begin)], inside] = forbidden
        case.start[inside] = forbidden
    case.end[3] = forbidden
    case.emissions[0, 1, 0] = forbidden
    for row in range(6):
        case.tags[row, case.mask[row]] = [1, 2, 2, 0][: case.mask[row].sum()]
    case = Case(*case.arrays(dtype))
    want = listed(Case(*case.arrays(np.float64)))
    found = run(case) if how == "eager" else compiled(case, how)
    assert np.isfinite(want["log_partition"]).all()
    assert (want["marginals"][case.mask] == 0).any()
    assert (want["marginals"][case.mask] > 0).any()
    assert_close(found, want, atol=1e-9 if dtype == np.float64 else 2e-5)


def test_a_row_that_no_sequence_fits_is_not_nan():
    case = draw(2, 3, 2)
    case.mask[:] = True
    case.emissions[0, 1] = -np.inf
    found = run(case)
    assert found["log_partition"][0] < -1e29
    assert found["best"][0] < -1e29
    assert np.isfinite(np.concatenate([array.ravel() for array in found.values()])).all()
    np.testing.assert_allclose(found["marginals"].sum(-1), 1)


def test_float32_over_many_positions():
    """Were scores not levelled at each step, marginals would be off by 4e-4."""
    case = draw(2, 512, 9, spread=5)
    case.mask[:] = True
    found, want = run(case, np.float32), run(case, np.float64)
    np.testing.assert_array_equal(found["viterbi"], want["viterbi"])
    for name in ("log_partition", "sequence_score", "best"):
        np.testing.assert_allclose(found[name], want[name], rtol=1e-6)
    np.testing.assert_allclose(found["marginals"], want["marginals"], atol=5e-6)
    np.testing.assert_allclose(found["lead"], want["lead"], atol=1e-4)
    np.testing.assert_allclose(found["d_emissions"], want["d_emissions"], atol=1e-4)
    np.testing.assert_allclose(found["d_between"], want["d_between"], atol=0.01)  # sums of hundreds


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    case = draw(5, 6, 4)
    emissions, *others = case.arrays()
    narrow = [tf.cast(part, dtype) for part in (emissions, *others[2:])]
    found = everything(narrow[0], *others[:2], *narrow[1:])
    wide = [tf.cast(part, tf.float32) for part in narrow]
    want = everything(wide[0], *others[:2], *wide[1:])
    assert want["viterbi"].dtype == tf.int32
    assert want["marginals"].dtype == want["best"].dtype == want["lead"].dtype == tf.float32
    for name, tensor in want.items():
        if name.startswith("d_"):  # of the two parts of the loss, each rounded
            assert found[name].dtype == dtype
            np.testing.assert_allclose(tf.cast(found[name], tf.float32), tensor, rtol=0.02, atol=0.03)
        else:
            assert found[name].dtype == tensor.dtype
            np.testing.assert_array_equal(found[name], tensor, err_msg=name)


def test_a_tag_that_there_is_not():
    case = draw(2, 3, 4)
    case.mask[:] = True
    for tag in (4, -1):
        case.tags[1, 1] = tag
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"= {tag} is not in"):
            run(case)
