"""Decoding in the graph equals a slow search in NumPy, token by token."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.models.toy_decoding import SPREAD, ToyCall, hashed, reference, toy_logits
from tfpipeline.models.decoding import CHOICES, Choices, Rules, generate
from tfpipeline.models.decoding.sampling import noise
from tfpipeline.models.decoding.search import largest

PAD, UNK, CLS, SEP, MASK = range(5)
SIZE = 13  # logits; the last two stand for no token
WIDTH, RETURNED, MOST, SOURCES = 4, 3, 9, 6
RULES = Rules(
    end=SEP, vocabulary=11, most_tokens=MOST, width=WIDTH, returned=RETURNED, never=(PAD, UNK, CLS, MASK)
)  # fmt: skip
PLAIN = Choices(max_new_tokens=MOST)


@pytest.mark.parametrize("size", [3, 127, 1536, 1537, 5000])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_the_largest_of_many_are_those_of_a_stable_sort(size, count):
    """Among equal numbers, those of lower places come first; minus infinity is a number."""
    random = np.random.default_rng(size)
    x = random.integers(0, 40, [3, 2, size]).astype(np.float32)  # many are equal
    x[0, 0] = -np.inf
    x[1, 0, :-2] = -np.inf
    x[2, 1] = random.normal(size=size)
    count = min(count, size)
    values, places = largest(tf.constant(x), tf.constant(count))
    expected = np.argsort(-x, axis=2, kind="stable")[:, :, :count]
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, axis=2))


def random_table(seed=0, spread=2.0):
    return np.random.default_rng(seed).normal(0, spread, (SOURCES, SPREAD, SIZE))


def table_of_ties(seed=0):
    """Log-probabilities that are whole numbers, computed without rounding: one token, which is never chosen,
    has all the probability, and the others have -40, -41 or -42; [SEP] is likely.
    """
    table = -40.0 - np.random.default_rng(seed).integers(0, 3, (SOURCES, SPREAD, SIZE))
    table[:, :, SEP] = np.maximum(table[:, :, SEP], -41)
    table[:, :, PAD] = 0
    return table


@functools.cache
def noise_of(seed):
    """Step -> the uniform random numbers of a seed, [W, V]."""
    seeds = tf.constant([seed])
    steps = [noise(seeds, tf.constant(step), WIDTH, SIZE)[0].numpy() for step in range(MOST)]
    return steps.__getitem__


def decode(table, rules, choices, sources=range(SOURCES), **options):
    """Decode eagerly, with the same choices for all sources."""
    return generate(ToyCall(table, list(sources)), rules, choices, **options)


class Compiled:
    """Decoding in a graph whose choices are tensors, as it is served."""

    def __init__(self, rules, dtype=tf.float64):
        specs = {name: tf.TensorSpec([None], kind) for name, kind in CHOICES.items()}

        def run(table, sources, choices):
            return generate(ToyCall(table, sources), rules, Choices(**choices))

        self._run = tf.function(
            run,
            input_signature=[
                tf.TensorSpec([SOURCES, SPREAD, SIZE], dtype),
                tf.TensorSpec([None], tf.int32),
                specs,
            ],
            autograph=False,
        )

    def __call__(self, table, asked):
        """Texts of [(source, choices)]."""
        rows = {
            name: tf.constant([getattr(choices, name) for _, choices in asked], kind)
            for name, kind in CHOICES.items()
        }
        return self._run(tf.constant(table), tf.constant([source for source, _ in asked]), rows)


def as_lists(result):
    """Per source its texts: [(score, tokens)]."""
    arrays = {name: tensor.numpy() for name, tensor in result.items()}
    assert (arrays["tokens"][np.arange(MOST) >= arrays["lengths"][:, :, None]] == 0).all()
    texts = []
    for row, count in enumerate(arrays["count"]):
        lengths = arrays["lengths"][row]
        texts.append(
            [
                (float(arrays["scores"][row, n]), tuple(arrays["tokens"][row, n, : lengths[n]].tolist()))
                for n in range(count)
            ]
        )
        assert not lengths[count:].any()
        assert not arrays["scores"][row, count:].any()
    return texts


def wanted_of(table, rules, asked):
    """What the reference finds for each [(source, choices)]."""
    return [
        reference(
            toy_logits(table, source),
            dataclasses.asdict(rules),
            dataclasses.asdict(choices),
            noise_of(choices.seed),
        )
        for source, choices in asked
    ]


def check(result, wanted, names=None):
    found = as_lists(result)
    for row, (texts, others) in enumerate(zip(found, wanted, strict=True)):
        assert [text for _, text in texts] == [text for _, text in others], names and names[row]
        np.testing.assert_allclose(
            [score for score, _ in texts], [score for score, _ in others], rtol=0, atol=1e-5
        )


SETTINGS = {
    "greedy": {},
    "beams": {"num_beams": 4},
    "pairs": {"num_beams": 2},
    "halves": {"num_beams": 3, "length_penalty": 0.5},
    "two": {"num_beams": 2, "length_penalty": 0.0},
    "long": {"num_beams": 3, "length_penalty": 2.0, "max_new_tokens": 6},
    "least": {"num_beams": 3, "min_new_tokens": 4},
    "fixed": {"num_beams": 2, "min_new_tokens": 5, "max_new_tokens": 5},
    "one": {"num_beams": 4, "max_new_tokens": 1},
    "unigrams": {"no_repeat_ngram_size": 1, "num_beams": 3, "min_new_tokens": MOST},
    "bigrams": {"no_repeat_ngram_size": 2, "num_beams": 3, "min_new_tokens": MOST},
    "trigrams": {"no_repeat_ngram_size": 3, "min_new_tokens": MOST},
    "penalty": {"repetition_penalty": 1.7, "num_beams": 3, "min_new_tokens": 5},
    "bonus": {"repetition_penalty": 0.6, "min_new_tokens": 5},
    "drawn": {"do_sample": True, "seed": 7},
    "cool": {"do_sample": True, "temperature": 0.5, "seed": 8},
    "top_k": {"do_sample": True, "top_k": 3, "temperature": 1.5, "seed": 9},
    "top_p": {"do_sample": True, "top_p": 0.7, "seed": 10},
    "top_both": {"do_sample": True, "top_k": 5, "top_p": 0.8, "temperature": 2.0, "seed": 2**31 - 1},
    "drawn_all": {
        "do_sample": True,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 6,
        "repetition_penalty": 2.0,
    },
}
FURTHER_RULES = {
    "plain": {},
    "patient": {"early_stopping": False, "banned": ((5, 6), (7, 8, 9), (10, 10))},
    "forced": {"forced": (7, 5, 9), "exempt": (5, 9)},
}
MIXED = [
    (name, (source, dataclasses.replace(PLAIN, **settings)))
    for source in range(SOURCES)
    for name, settings in SETTINGS.items()
]


@functools.cache
def compiled(rules):
    return Compiled(dataclasses.replace(RULES, **FURTHER_RULES[rules]))


@pytest.mark.parametrize("rules", FURTHER_RULES)
@pytest.mark.parametrize("make", [random_table, table_of_ties], ids=["random", "ties"])
def test_decoding_equals_the_reference(make, rules):
    table = make()
    names, asked = zip(*MIXED)
    wanted = wanted_of(table, dataclasses.replace(RULES, **FURTHER_RULES[rules]), asked)
    check(compiled(rules)(table, asked), wanted, names)


def test_texts_differ_by_what_was_chosen():
    """The settings above reach what they are for: each rule and each choice changes some text."""
    table = random_table()
    plain = wanted_of(table, RULES, [asked for _, asked in MIXED])
    for rules in ("patient", "forced"):
        own = dataclasses.replace(RULES, **FURTHER_RULES[rules])
        for rule in FURTHER_RULES[rules]:
            other = dataclasses.replace(own, **{rule: getattr(RULES, rule)})
            assert wanted_of(table, own, [a for _, a in MIXED]) != wanted_of(
                table, other, [a for _, a in MIXED]
            )
    texts = {name: [] for name, _ in MIXED}
    for (name, _), text in zip(MIXED, plain):
        texts[name].append(text)
    assert len({str(text) for text in texts.values()}) == len(SETTINGS)


def test_rows_do_not_depend_on_their_batch():
    table = random_table(3)
    _, asked = zip(*MIXED[: len(SETTINGS)])
    together = as_lists(compiled("plain")(table, asked))
    for row, one in enumerate(asked):
        assert as_lists(compiled("plain")(table, [one])) == [together[row]]
    assert as_lists(compiled("plain")(table, asked[::-1])) == together[::-1]


@pytest.mark.parametrize("name", ["greedy", "beams", "top_both"])
def test_choices_as_numbers_and_in_float32(name):
    """The graph of a model's own choices has fewer operations, and the same texts."""
    choices = dataclasses.replace(PLAIN, **SETTINGS[name])
    table = random_table(4)
    wanted = wanted_of(table, RULES, [(source, choices) for source in range(SOURCES)])
    check(decode(table.astype(np.float32), RULES, choices), wanted)


def test_a_greedy_search_is_a_search_with_one_beam():
    table = random_table(5)
    for row, (score, tokens) in enumerate(itertools.chain(*as_lists(decode(table, RULES, PLAIN)))):
        prefix, total = [], 0.0
        while len(prefix) < MOST:
            logits = table[row, hashed(prefix)].copy()
            logits -= np.log(np.exp(logits).sum())
            logits[[PAD, UNK, CLS, MASK, 11, 12]] = -np.inf
            total += logits.max()
            if logits.argmax() == SEP:
                break
            prefix.append(int(logits.argmax()))
        assert tokens == tuple(prefix)
        length = len(prefix) + (len(prefix) < MOST)
        assert score == pytest.approx(total / length, abs=1e-6)


def test_sources_that_are_finished_leave_the_work():
    table = random_table(6)
    asked = [
        (source, dataclasses.replace(PLAIN, max_new_tokens=most))
        for source, most in enumerate([1, 9, 3, 9, 2, 5])
    ]
    call = ToyCall(table, list(range(SOURCES)))
    most = tf.constant([choices.max_new_tokens for _, choices in asked])
    result = generate(call, RULES, dataclasses.replace(PLAIN, max_new_tokens=most, num_beams=2))
    wanted = wanted_of(
        table, RULES, [(source, dataclasses.replace(choices, num_beams=2)) for source, choices in asked]
    )
    check(result, wanted)
    lengths = []
    for source, choices in asked:
        alone = ToyCall(table, [source])
        generate(alone, RULES, dataclasses.replace(choices, num_beams=2))
        lengths.append(len(alone.steps) + 1)
        assert alone.steps == [1] * (lengths[-1] - 1)
        assert alone.kept == [0]
    # The model computes the next token of those that are not finished, and of no others.
    assert call.steps == [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert sum(call.steps) == sum(lengths) - SOURCES < (max(lengths) - 1) * SOURCES


def test_a_cache_is_moved_only_where_beams_move():
    greedy = ToyCall(random_table(7), list(range(SOURCES)))
    generate(greedy, RULES, PLAIN)
    assert greedy.reordered == 0
    beams = ToyCall(random_table(7), list(range(SOURCES)))
    generate(beams, RULES, dataclasses.replace(PLAIN, num_beams=4))
    assert 0 < beams.reordered <= len(beams.steps) + 1


def test_the_width_is_what_the_batch_needs():
    widths = []

    class Call(ToyCall):
        def start(self, width):
            widths.append(int(width))
            return super().start(width)

    for beams, draws in (([1, 1], [0, 0]), ([2, 1], [0, 0]), ([1, 1], [0, 1])):
        choices = dataclasses.replace(PLAIN, num_beams=tf.constant(beams), do_sample=tf.constant(draws))
        generate(Call(random_table(), [0, 1]), RULES, choices)
    assert widths == [1, 2, RETURNED]


@pytest.mark.parametrize("returned", [1, RETURNED])
def test_a_source_that_draws_does_not_widen_the_search_of_others(returned):
    """Its number of beams, which is the run's if a request says nothing, has no meaning."""
    rules = dataclasses.replace(RULES, returned=returned)
    table, drawn = random_table(9), dataclasses.replace(PLAIN, do_sample=True, num_beams=WIDTH, seed=3)
    asked = [(0, PLAIN), (1, drawn), (2, PLAIN)]
    check(Compiled(rules)(table, asked), wanted_of(table, rules, asked))


def test_a_text_that_nothing_may_follow_ends():
    rules = dataclasses.replace(RULES, never=tuple(token for token in range(11) if token not in (SEP, 5, 6)))
    choices = dataclasses.replace(PLAIN, no_repeat_ngram_size=1, min_new_tokens=9)
    table = random_table(8)
    for own in (
        choices,
        dataclasses.replace(choices, do_sample=True),
        dataclasses.replace(choices, num_beams=2),
    ):
        result = decode(table, rules, own)
        check(result, wanted_of(table, rules, [(source, own) for source in range(SOURCES)]))
        assert {len(tokens) for _, tokens in itertools.chain(*as_lists(result))} == {2}


def test_texts_are_drawn_by_their_probability():
    """4,000 seeds: the first tokens have the frequencies of the softmax, within four standard deviations."""
    count, table = 4000, random_table(9, spread=1.0)
    rules = dataclasses.replace(RULES, never=(), vocabulary=SIZE, most_tokens=1, width=2, returned=2)
    choices = dataclasses.replace(
        PLAIN, do_sample=True, temperature=0.8, max_new_tokens=1, seed=tf.range(count)
    )
    drawn = tf.function(lambda: decode(table, rules, choices, sources=[0] * count), autograph=False)()
    tokens = np.where(drawn["lengths"].numpy() == 0, SEP, drawn["tokens"].numpy()[:, :, 0])
    logits = table[0, hashed([])] / 0.8
    wanted = np.exp(logits - logits.max())
    wanted /= wanted.sum()
    deviation = np.sqrt(wanted * (1 - wanted) / count)
    for slot in range(2):
        frequency = np.bincount(tokens[:, slot], minlength=SIZE) / count
        assert (np.abs(frequency - wanted) < 4 * deviation).all()
    # The two texts of a source are independent of each other.
    both = np.zeros((SIZE, SIZE))
    np.add.at(both, (tokens[:, 0], tokens[:, 1]), 1 / count)
    expected = wanted[:, None] * wanted
    assert (np.abs(both - expected) < 5 * np.sqrt(expected / count)).all()


def test_a_long_tail_is_searched_for_top_p():
    """More tokens than are looked at first (512) may be left by top-p."""
    size = 1500
    table = np.random.default_rng(0).normal(0, 0.01, (1, SPREAD, size))
    rules = Rules(end=SEP, vocabulary=size, most_tokens=2, width=1, returned=1)
    asked = {"do_sample": True, "top_p": 0.9, "max_new_tokens": 2, "seed": 3}
    seeds = tf.constant([3])
    for name, further in {"p": {}, "both": {"top_k": 700}, "k": {"top_k": 20, "top_p": 1.0}}.items():
        own = dataclasses.asdict(Choices(**{**asked, **further}))
        wanted = reference(
            toy_logits(table, 0),
            dataclasses.asdict(rules),
            own,
            lambda step: noise(seeds, tf.constant(step), 1, size)[0].numpy(),
        )
        result = generate(ToyCall(table, [0]), rules, Choices(**own))
        length = int(result["lengths"][0, 0])
        assert tuple(result["tokens"].numpy()[0, 0, :length].tolist()) == wanted[0][1], name


def test_an_empty_batch_has_no_texts():
    result = decode(random_table(), RULES, PLAIN, sources=[])
    assert {name: tuple(tensor.shape) for name, tensor in result.items()} == {
        "tokens": (0, RETURNED, MOST), "lengths": (0, RETURNED), "scores": (0, RETURNED), "count": (0,)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tolerance", "rows"),
    [("greedy", 0.02, 150), ("least", 0.01, 150), ("drawn", 0.05, 40), ("top_both", 0.03, 40)],
)
def test_near_ties_are_found(name, tolerance, rows):
    """Whatever small noise on the logits changes is a near tie, and most texts are none."""
    random = np.random.default_rng(0)
    table = random.normal(0, 2, (rows, SPREAD, SIZE))
    noisy = table + random.uniform(-tolerance / 2, tolerance / 2, table.shape)
    choices = dataclasses.replace(PLAIN, **{**SETTINGS[name], "max_new_tokens": 5})
    choices = dataclasses.replace(choices, seed=tf.range(rows))
    exact = decode(table, RULES, choices, range(rows), tolerance=2 * tolerance)
    other = decode(noisy, RULES, choices, range(rows))
    differs = (exact["tokens"] != other["tokens"]).numpy().any((1, 2))
    near = exact["near_ties"].numpy()
    assert differs.any()
    assert not (differs & ~near).any()
    assert near.mean() < 0.6
