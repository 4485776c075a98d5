"""The losses of similarity, each against the same by hand in NumPy, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.data import Example
from tfpipeline.tasks.base import EXAMPLE_MASK, EXAMPLE_WEIGHTS, relative_weights
from tfpipeline.tasks.similarity import SimilarityOptions, losses

ROWS, SIZE = 7, 6


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def outputs(count=2, seed=0, **more):
    names = ["embedding", "text_pair/embedding", *(f"negative_{n}/embedding" for n in range(1, count - 1))]
    made = {name: vectors(ROWS, SIZE, seed=seed + number) for number, name in enumerate(names[:count])}
    return {**made, **more}


def pairs(count=ROWS, **cells):
    """Rows of different texts; ``cells`` maps a field to a value for each row."""
    return [
        Example(
            f"query {row}",
            f"document {row}",
            file="rows.csv",
            line=row + 2,
            **{name: values[row] for name, values in cells.items()},
        )
        for row in range(count)
    ]


def loss(rows, given, counted=None, weights=None, **options):
    """The task's losses, of rows whose options' ``preprocess`` has seen them."""
    options = SimilarityOptions(**options)
    rows = [options.preprocess(row) for row in rows]
    task = options.fit(rows)
    targets = {name: tf.constant(array) for name, array in task.targets(rows, training=True).items()}
    counted = np.ones(len(rows), bool) if counted is None else counted
    targets[EXAMPLE_MASK] = tf.constant(counted)
    targets[EXAMPLE_WEIGHTS] = relative_weights(
        tf.constant(counted.astype(float) if weights is None else weights)
    )
    return task.loss({name: tf.constant(array) for name, array in given.items()}, targets).numpy()


def cross_entropy(right, others):
    """-log of the share of ``right`` among the exponentials."""
    scores = np.array([right, *others])
    return np.log(np.exp(scores - scores.max()).sum()) + scores.max() - right


def infonce(queries, documents, scale, allowed, negatives=()):
    """``allowed(i, j)``: whether document j is a negative of query i; ``negatives``: the same for given ones."""
    found = []
    for i, query in enumerate(queries):
        others = [scale * query @ documents[j] for j in range(len(documents)) if j != i and allowed(i, j)]
        others += [scale * query @ vector for vector, fits in negatives if fits(i)]
        found.append(cross_entropy(scale * query @ documents[i], others))
    return np.array(found)


def test_infonce_tells_a_document_from_those_of_the_batch():
    given = outputs()
    queries, documents = unit(given["embedding"]), unit(given["text_pair/embedding"])
    want = infonce(queries, documents, 20, lambda i, j: True)
    np.testing.assert_allclose(loss(pairs(), given), want, rtol=1e-12)
    other_way = infonce(documents, queries, 20, lambda i, j: True)
    np.testing.assert_allclose(loss(pairs(), given, symmetric=True), (want + other_way) / 2, rtol=1e-12)
    want = infonce(queries, documents, 1 / 0.3, lambda i, j: True)
    np.testing.assert_allclose(loss(pairs(), given, temperature=0.3), want, rtol=1e-12)
    assert np.abs(want - other_way).max() > 0.1


def test_infonce_has_no_accidental_negatives():
    """Of the same first text (but for case and white space), second text or group; nor rows that do not
    count.
    """
    rows = pairs(group=["a", None, None, "a", None, None, None])
    rows[1] = Example("Query  2", "document 1")
    rows[4] = Example("query 4", " DOCUMENT 5 ")
    alike = {(0, 3), (1, 2), (4, 5)}
    counted = np.arange(ROWS) != 6
    given = outputs(seed=3)
    queries, documents = unit(given["embedding"]), unit(given["text_pair/embedding"])

    def allowed(i, j):
        return (i, j) not in alike and (j, i) not in alike and counted[j]

    want = infonce(queries, documents, 2, allowed)
    got = loss(rows, given, counted, temperature=0.5)
    np.testing.assert_allclose(got[counted], want[counted], rtol=1e-12)
    assert np.isfinite(got).all()
    plain = infonce(queries, documents, 2, lambda i, j: True)
    assert (np.abs(plain - want)[:6] > 1e-3).all()
    other_way = infonce(documents, queries, 2, allowed)
    both = loss(rows, given, counted, symmetric=True, temperature=0.5)
    np.testing.assert_allclose(both[counted], ((want + other_way) / 2)[counted], rtol=1e-12)


def test_infonce_may_have_negatives_in_one_direction_only():
    """Document j may be a negative of query i, and document i none of query j."""
    queries, documents = unit(vectors(ROWS, SIZE)), unit(vectors(ROWS, SIZE, seed=1))
    allowed = np.random.default_rng(4).random((ROWS, ROWS)) < 0.5
    got = losses.infonce(
        tf.constant(queries),
        tf.constant(documents),
        is_negative=tf.constant(allowed),
        scale=3.0,
        symmetric=True,
    )
    one = infonce(queries, documents, 3, lambda i, j: allowed[i, j])
    other = infonce(documents, queries, 3, lambda j, i: allowed[i, j])
    np.testing.assert_allclose(got, (one + other) / 2, rtol=1e-12)


def test_infonce_with_given_negatives_of_all_rows():
    """One is the second text of another row, for which it is none; some rows have fewer."""
    cells = [
        {"negative": f"wrong {row}", "negative_1": f"worse {row}" if row < 3 else ""} for row in range(ROWS)
    ]
    cells[2]["negative"] = "Document 5"
    counted = np.arange(ROWS) != 4
    given = outputs(4, seed=8)
    queries, documents = unit(given["embedding"]), unit(given["text_pair/embedding"])
    negatives = []
    for number, have in ((1, range(ROWS)), (2, range(3))):
        for row in have:
            if counted[row]:
                hit = 5 if (number, row) == (1, 2) else None
                vector = unit(given[f"negative_{number}/embedding"])[row]
                negatives.append((vector, lambda i, hit=hit: i != hit))
    want = infonce(queries, documents, 20, lambda i, j: counted[j], negatives)
    got = loss(pairs(columns=cells), given, counted)
    np.testing.assert_allclose(got[counted], want[counted], rtol=1e-12)


def test_a_temperature_that_is_learnt_comes_with_the_outputs():
    """Its gradient is that of the whole batch; it never gets below 0.01."""
    rows = [SimilarityOptions().preprocess(row) for row in pairs()]
    task = SimilarityOptions(temperature="learnt").fit(rows)
    given = {name: tf.constant(array) for name, array in outputs().items()}
    targets = {name: tf.constant(array) for name, array in task.targets(rows).items()}
    targets[EXAMPLE_MASK] = tf.ones([ROWS], tf.bool)
    variable = tf.Variable(np.log(1 / 0.2))
    with tf.GradientTape() as tape:
        found = task.loss({**given, "log_scale": tf.fill([ROWS], variable.value())}, targets)
        total = tf.reduce_sum(found)
    np.testing.assert_allclose(found, loss(pairs(), outputs(), temperature=0.2), rtol=1e-12)
    step = 1e-6
    up, down = (
        loss(pairs(), outputs(), temperature=float(np.exp(-(np.log(1 / 0.2) + way)))).sum()
        for way in (step, -step)
    )
    np.testing.assert_allclose(tape.gradient(total, variable), (up - down) / (2 * step), rtol=1e-6)
    sharp = task.loss({**given, "log_scale": tf.fill([ROWS], np.log(1e4))}, targets)
    np.testing.assert_allclose(sharp, loss(pairs(), outputs(), temperature=0.01), rtol=1e-12)


def test_rows_of_a_class_are_found_among_those_of_other_classes():
    labels = ["a", "b", "a", "c", "a", "b", "b"]
    counted = np.array([1, 1, 1, 1, 1, 0, 1], bool)
    rows = [Example(f"text {row}", label=label) for row, label in enumerate(labels)]
    given = outputs(1, seed=5)
    own = unit(given["embedding"])
    want = np.zeros(ROWS)
    for i in range(ROWS):
        others = [20 * own[i] @ own[j] for j in range(ROWS) if labels[j] != labels[i] and counted[j]]
        same = [j for j in range(ROWS) if j != i and labels[j] == labels[i] and counted[j]]
        if same:
            want[i] = np.mean([cross_entropy(20 * own[i] @ own[j], others) for j in same])
    got = loss(rows, given, counted)
    np.testing.assert_allclose(got[counted], want[counted], rtol=1e-12)
    assert want[3] == 0  # alone in its class
    alike = loss(
        [*rows[:1], *rows[2:3], Example("x", label="b")], {"embedding": given["embedding"][:3]}, counted[:3]
    )
    assert np.isfinite(alike).all()


def test_a_batch_of_one_class_has_no_loss_and_no_gradient():
    task = SimilarityOptions().fit([Example("x", label="a"), Example("y", label="b")])
    given = tf.constant(outputs(1)["embedding"])
    targets = {"label_key": tf.zeros([ROWS], tf.int64), EXAMPLE_MASK: tf.ones([ROWS], tf.bool)}
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = task.loss({"embedding": given}, targets)
    assert found.numpy().tolist() == [0] * ROWS
    assert not tape.gradient(found, given).numpy().any()


SCORES = [0.5, 3, 3, 0, 5, 2.5, 1]


def test_cosent_orders_cosines_as_the_scores_are():
    given = outputs(seed=2)
    counted = ~np.isin(np.arange(ROWS), [np.argmin(SCORES), np.argmax(SCORES)])  # neither as i nor as j
    cosines = np.sum(unit(given["embedding"]) * unit(given["text_pair/embedding"]), -1)
    terms = [
        np.exp((cosines[j] - cosines[i]) / 0.5)
        for i in range(ROWS)
        for j in range(ROWS)
        if SCORES[i] > SCORES[j] and counted[i] and counted[j]
    ]
    rows = pairs(label=[str(score) for score in SCORES])
    got = loss(rows, given, counted, temperature=0.5)
    np.testing.assert_allclose(got, np.full(ROWS, np.log1p(np.sum(terms))), rtol=1e-12)
    everything = loss(rows, given, temperature=0.5)
    assert abs(everything[0] - got[0]) > 0.1
    # Only the order of scores counts.
    doubled = pairs(label=[str(score**2) for score in SCORES])
    np.testing.assert_allclose(loss(doubled, given, temperature=0.5), everything, rtol=1e-12)


def test_cosent_weights_a_pair_by_both_of_its_rows():
    """Only the proportions of the weights count."""
    given, weights = outputs(seed=2), np.array([2, 1, 0.5, 3, 0, 1, 1])
    cosines = np.sum(unit(given["embedding"]) * unit(given["text_pair/embedding"]), -1)
    relative = weights * 6 / weights.sum()
    terms = [
        relative[i] * relative[j] * np.exp((cosines[j] - cosines[i]) / 0.5)
        for i in range(ROWS)
        for j in range(ROWS)
        if SCORES[i] > SCORES[j]
    ]
    rows = pairs(label=[str(score) for score in SCORES])
    for factor in (1, 100):
        got = loss(rows, given, weights > 0, weights * factor, temperature=0.5)
        np.testing.assert_allclose(got, np.full(ROWS, np.log1p(np.sum(terms))), rtol=1e-12)
    assert abs(loss(rows, given, weights > 0, temperature=0.5)[0] - got[0]) > 0.1


def test_cosine_regression():
    given = outputs(seed=2)
    cosines = np.sum(unit(given["embedding"]) * unit(given["text_pair/embedding"]), -1)
    rows = pairs(label=[str(score) for score in SCORES])
    got = loss(rows, given, loss="cosine", score_range=[0.0, 5.0])
    np.testing.assert_allclose(got, (cosines - np.array(SCORES) / 5) ** 2, rtol=1e-5)
    rows = pairs(label=[str(score / 10) for score in SCORES])
    np.testing.assert_allclose(
        loss(rows, given, loss="cosine"), (cosines - np.array(SCORES) / 10) ** 2, rtol=1e-5
    )


def test_triplets_lack_the_margin():
    cells = [{"negative": "wrong", "negative_1": "worse" if row < 3 else " "} for row in range(ROWS)]
    given = outputs(4, seed=1)
    query, right, one, two = (unit(array) for array in given.values())
    lacks = [
        np.maximum(0, 0.3 - np.sum(query * right, -1) + np.sum(query * wrong, -1)) for wrong in (one, two)
    ]
    want = np.where(np.arange(ROWS) < 3, np.mean(lacks, 0), lacks[0])
    assert (want == 0).any()
    got = loss(pairs(columns=cells), given, loss="triplet", margin=0.3)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_margin_mse_learns_the_margins_of_a_teacher(normalize):
    teacher = np.random.default_rng(4).uniform(-0.9, 0.9, (3, ROWS)).round(4)
    cells = [
        {
            "score": str(teacher[0, row]),
            "negative": "wrong",
            "negative_score": str(teacher[1, row]),
            "negative_1": "worse" if row else "",
            "negative_1_score": str(teacher[2, row]) if row else "",
        }
        for row in range(ROWS)
    ]
    given = outputs(4, seed=6)
    query, right, *wrong = (unit(array) if normalize else array for array in given.values())
    errors = [
        (np.sum(query * right, -1) - np.sum(query * own, -1) - (teacher[0] - teacher[number])) ** 2
        for number, own in enumerate(wrong, 1)
    ]
    want = np.where(np.arange(ROWS) > 0, np.mean(errors, 0), errors[0])
    got = loss(pairs(columns=cells), given, loss="margin_mse", normalize=normalize)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"symmetric": True},
        {"loss": "cosine", "label": True},
        {"loss": "cosent", "label": True},
        {"loss": "triplet", "negative": True},
        {"loss": "margin_mse", "negative": True},
    ],
)
def test_dimensions_train_the_mean_of_the_losses_of_all_prefixes(options):
    cells = {"label": [str(score / 10) for score in SCORES]} if options.pop("label", False) else {}
    negative = options.pop("negative", False)
    if negative:
        cells["columns"] = [{"negative": "no", "score": "0.7", "negative_score": "0.1"}] * ROWS
    given = outputs(3 if negative else 2)
    got = loss(pairs(**cells), given, dimensions=[6, 4, 1], **options)
    parts = [
        loss(pairs(**cells), {name: array[:, :size] for name, array in given.items()}, **options)
        for size in (6, 4, 1)
    ]
    np.testing.assert_allclose(got, np.mean(parts, 0), rtol=1e-10)
    assert np.abs(got - parts[0]).max() > 1e-3


def test_scored_pairs_are_scored_with_vectors_of_each_size():
    given = outputs()
    task = SimilarityOptions(dimensions=[6, 4, 1]).fit(pairs(label=[str(score) for score in SCORES]))
    found = task.scored_predictions({name: tf.constant(array) for name, array in given.items()}, {})
    assert list(found) == ["score", "dim_4/score", "dim_1/score"]
    for array, size in zip(found.values(), (6, 4, 1)):
        one, other = (unit(vector[:, :size]) for vector in given.values())
        np.testing.assert_allclose(array, np.sum(one * other, -1), atol=1e-6)
