"""Masked tokens: which ones, their words, rows cut from texts, and scores by hand."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.models.numpy_bert import ACTIVATIONS
from tests.random_runs import TASKS, random_run
from tfpipeline.data import Example
from tfpipeline.errors import UserError
from tfpipeline.models.row_noise import RowNoise
from tfpipeline.tasks import RowTokens
from tfpipeline.tasks.masked_lm import MaskedLM, MaskedLMOptions, masking, rows
from tfpipeline.tasks.masked_lm.words import jieba_segmenter, word_numbers
from tfpipeline.text import TokenizerOptions, Truncation, WordPieceTokenizer
from tfpipeline.training.augmentation import Augmentation
from tfpipeline.training.global_batch import WEIGHTS
from tfpipeline.training.initial_model import initial_model
from tfpipeline.training.run_as_checkpoint import convert

CHINESE = "我们来到北京清华大学很高兴。"


@functools.cache
def compiled(function, share):
    """A function of masking.py in the graph, for any shape; ``noise`` is made of the step."""
    words, numbers = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)

    def run(words, lengths, step):
        noise = RowNoise(3, step, tf.range(tf.shape(words)[0], dtype=tf.int64))
        return function(words, lengths, share, noise)

    return tf.function(run, input_signature=[words, numbers, tf.TensorSpec([], tf.int64)], autograph=False)


def _choose(words, lengths, share, noise):
    return masking.choose(words, words > 0, lengths, share, noise)


def _replace(ids, lengths, share, noise):
    return masking.replace(ids, ids > 0, 4, range(100, 200), noise)


def choose(words, lengths=None, share=0.15, step=0):
    words = np.asarray(words, np.int32)
    lengths = np.full(len(words), words.shape[1]) if lengths is None else lengths
    return compiled(_choose, share)(words, np.asarray(lengths, np.int32), step).numpy()


def words_of(sizes, width):
    """The numbers of words of these sizes, between two special tokens."""
    numbers = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    return np.pad(numbers, (1, width - 1 - len(numbers)))


@pytest.fixture(scope="module")
def many():
    """1,000 rows of 100 tokens in words of 1 to 4 tokens, and what is chosen of them."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        sizes = random.choice([1, 2, 3, 4], 60, p=[0.6, 0.2, 0.1, 0.1])
        found.append(words_of(sizes[: np.searchsorted(sizes.cumsum(), 98, side="right")], 100))
    words = np.stack(found)
    return words, choose(words)


def test_the_share_is_met_whatever_the_size_of_a_word(many):
    """Each token is as likely to be masked as any other, so long words are not masked less often."""
    words, chosen = many
    assert not chosen[words == 0].any()
    assert chosen.sum() / (words > 0).sum() == pytest.approx(0.15, abs=0.003)
    sizes = np.stack([np.bincount(row, minlength=101)[row] for row in words])
    for size in (1, 2, 3, 4):
        own = (sizes == size) & (words > 0)
        assert chosen[own].mean() == pytest.approx(0.15, abs=0.01), size
    assert chosen.sum(1).min() >= 1
    assert chosen.sum(1).max() <= masking.most_masked(100, 0.15)


def test_words_are_masked_whole(many):
    words, chosen = many
    for own, masked in zip(words, chosen):
        for word in np.unique(own[masked]):
            assert masked[own == word].all()


def test_masks_hang_on_the_row_and_the_step_alone():
    words = np.stack([words_of([1, 2, 1, 3, 1, 1], 12)] * 6)
    chosen = choose(words)
    wide = choose(np.pad(words, ((0, 0), (0, 20))), lengths=np.full(6, 12))
    np.testing.assert_array_equal(wide[:, :12], chosen)
    assert not wide[:, 12:].any()
    np.testing.assert_array_equal(choose(words[:2]), chosen[:2])
    assert len({tuple(row) for row in chosen}) > 1
    assert (choose(words, step=1) != chosen).any()


@pytest.mark.parametrize(
    ("sizes", "most"),
    [([1], 1), ([3], 3), ([9], 0), ([9, 1], 1), ([], 0)],
    ids=[
        "one token",
        "one word",
        "a word beyond the bound",
        "only the other one fits",
        "special tokens only",
    ],
)
def test_rows_of_a_few_tokens(sizes, most):
    """A row has at least one masked word, unless it has none that fits; whichever word is drawn first."""
    (chosen, *others) = choose(np.tile(words_of(sizes, 12), (9, 1)), share=0.15)
    assert {int(one.sum()) for one in (chosen, *others)} == {most}
    positions = masking.positions_of(tf.constant(chosen[None]), 0.15).numpy()
    assert positions.shape == (1, masking.most_masked(12, 0.15))
    assert [p for p in positions[0] if p >= 0] == np.flatnonzero(chosen).tolist()


@pytest.mark.parametrize("share", [0.01, 0.15, 0.3, 0.99])
def test_every_chosen_token_has_a_position(share):
    words = np.stack([words_of(np.ones(size, int), 130) for size in range(1, 129, 8)])
    chosen = choose(words, lengths=np.arange(3, 131, 8), share=share)
    for form in (chosen, None):
        function = tf.function(lambda tensor: masking.positions_of(tensor, share), autograph=False)
        spec = tf.TensorSpec([None, None], tf.bool)
        positions = (function.get_concrete_function(spec) if form is None else function)(
            tf.constant(chosen)
        ).numpy()
        assert positions.shape[1] <= 130
        for row, own in zip(chosen, positions):
            assert own[own >= 0].tolist() == np.flatnonzero(row).tolist()


def test_no_row_has_more_masked_tokens_than_the_bound():
    """Long words would pass it."""
    words = np.tile(words_of([1, 9] * 9, 100), (200, 1))
    counts = choose(words).sum(1)
    bound = masking.most_masked(100, 0.15)
    assert bound == 15 + masking.SLACK
    assert masking.most_masked(101, 0.15) == 16 + masking.SLACK  # 15.15, rounded up
    assert int(masking.most_masked(tf.constant(101), 0.15)) == 16 + masking.SLACK
    assert bound - 2 < counts.max() <= bound


def test_what_replaces_a_token_does_not_hang_on_its_being_chosen():
    def both(words, lengths, share, noise):
        return tf.where(_choose(words, lengths, share, noise), _replace(words, lengths, share, noise), 0)

    words = np.tile(words_of(np.ones(98, int), 100), (200, 1))
    replaced = compiled(both, 0.15)(words, np.full(200, 100), 0).numpy()
    chosen = replaced[replaced > 0]
    assert (chosen == 4).mean() == pytest.approx(0.8, abs=0.03)  # [MASK], and 1 % for word 4 itself
    assert (chosen >= 100).mean() == pytest.approx(0.1, abs=0.03)


def test_eighty_ten_ten():
    ids = np.repeat(np.array([[7, 0]], np.int32), 256, axis=1).repeat(32, axis=0)
    replaced = compiled(_replace, 0)(ids, np.zeros(32, np.int32), 0).numpy()
    assert (replaced[:, 256:] == 0).all()
    replaced = replaced[:, :256]
    shares = [(replaced == 4).mean(), (replaced >= 100).mean(), (replaced == 7).mean()]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    drawn = np.bincount(replaced[replaced >= 100] - 100, minlength=100)
    assert drawn == pytest.approx(drawn.mean(), abs=5 * np.sqrt(drawn.mean()))


# Words.


@functools.cache
def tokenizer():
    """One for all tests, as its graph takes seconds."""
    vocabulary = [*tiny.SPECIAL, "so", "bad", "##ly", ",", "a", "x", *dict.fromkeys(CHINESE)]
    return WordPieceTokenizer(vocabulary, TokenizerOptions())


def numbers_of(given_texts, **options):
    tokens = {name: tensor.numpy() for name, tensor in tokenizer()(given_texts, offsets=True).items()}
    given = [tokens[name] for name in ("offsets", "word_starts", "token_type_ids")]
    return word_numbers(*given, whole_words=True, **options), word_numbers(*given, whole_words=False)


def test_pieces_belong_to_their_word():
    whole, single = numbers_of(["so badly, x"])
    assert whole.tolist() == [[0, 1, 2, 2, 3, 4, 0]]
    assert single.tolist() == [[0, 1, 2, 3, 4, 5, 0]]


def test_chinese_words_come_from_a_word_list():
    """And the pieces of a Latin word stay together, whatever the list says of them."""
    texts = [CHINESE + "badly", CHINESE[:4]]
    found, _ = numbers_of(texts, texts=[(text, "") for text in texts], segmenter=jieba_segmenter())
    # 我们 来到 北京 清华大学 很 高兴 。 badly
    assert found[0].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 6, 6, 7, 8, 8, 0]
    assert found[1].tolist()[:6] == [0, 1, 1, 2, 2, 0]


def test_words_of_two_texts_are_apart():
    """Of the one text 北京 they would be one word."""
    offsets = np.array([[[0, 0], [0, 1], [0, 0], [0, 1], [0, 0]]])
    starts, types = np.array([[0, 1, 0, 1, 0]]), np.array([[0, 0, 0, 1, 1]])
    options = {"texts": [("北", "京")], "segmenter": lambda text: np.zeros(len(text), np.int64)}
    assert word_numbers(offsets, starts, types, whole_words=True, **options).tolist() == [[0, 1, 0, 2, 0]]


def test_without_jieba_one_sentence_says_what_to_install(monkeypatch):
    jieba_segmenter.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "jieba", None)
    with pytest.raises(
        UserError, match=r"task.words is jieba, which is not installed; .*tfpipeline\[chinese\]"
    ):
        MaskedLMOptions(words="jieba").fitter()


# Rows.


class Characters(RowTokens):
    """A tokenizer of this file: each character but a blank is a token, and letters in a row are a word."""

    def _encode(self, texts):
        for text in texts:
            yield np.array(
                [
                    (
                        at,
                        at + 1,
                        not (character.isascii() and character.isalpha() and text[at - 1 : at].isalpha()),
                    )
                    for at, character in enumerate(text)
                    if character > " "
                ],
                np.int32,
            ).reshape(-1, 3)


def row_tokens(length):
    return Characters(None, Truncation(max_length=length))


def cut(texts, length, **options):
    tokens = row_tokens(length)
    examples = [Example(text, file="f", line=line, **options) for line, text in enumerate(texts, 1)]
    return list(rows.cut(examples, tokens)), tokens


def test_sentences_fill_rows():
    found, tokens = cut(["a b. c. d d d. a\nb b b b b c x."], 8)
    assert [row.text for row in found] == ["a b. c.", "d d d. a", "b b b b b c", "x."]
    assert [row.line for row in found] == [1] * 4
    assert not tokens.left_out


def test_chinese_sentences_need_no_blank():
    assert [row.text for row in cut(["好好。好好好。好！好"], 9)[0]] == ["好好。好好好。", "好！好"]


def test_a_long_sentence_is_cut_before_a_word_and_a_long_word_before_a_token():
    assert [row.text for row in cut(["a a a aeee a"], 7)[0]] == ["a a a", "aeee a"]
    assert [row.text for row in cut(["aeeeeeee b"], 7)[0]] == ["aeeee", "eee b"]


def test_texts_without_a_token_are_counted():
    found, tokens = cut(["", "a", " \u0000 "], 8)
    assert [row.text for row in found] == ["a"]
    assert tokens.texts_left_out == {"without a token": 2}


def test_texts_of_special_tokens_only_are_left_out():
    """There is nothing to mask in them."""
    tokens = row_tokens(8)
    found = list(rows.cut([Example("a a"), Example("a b"), Example("a")], tokens, {"a"}))
    assert [row.text for row in found] == ["a b"]
    assert tokens.left_out == {"of special tokens only": 3}


def test_rows_of_a_group_are_packed_together():
    found, _ = cut(["a b.", "c", "d d d d."], 8, group="g")
    assert [(row.text, row.line) for row in found] == [("a b.\nc", 1), ("d d d d.", 3)]
    found, _ = cut(["a b.", "c"], 8)
    assert [row.text for row in found] == ["a b.", "c"]
    examples = [Example("a", group="g", weight=weight) for weight in (1.0, 2.0, 2.0)]
    found = list(rows.cut(examples, row_tokens(8)))
    assert [(row.text, row.weight) for row in found] == [("a", 1.0), ("a\na", 2.0)]


def test_no_token_is_lost():
    random = np.random.default_rng(0)
    texts = [
        " ".join(random.choice(["a", "bee", "c.", "好", "。", "d"], size))
        for size in random.integers(0, 90, 60)
    ]
    found, tokens = cut(texts, 16)

    def count(texts):
        return sum(len(own) for _, (own,) in row_tokens(16).of(map(Example, texts), lambda one: [one.text]))

    assert count([row.text for row in found]) == count(texts)
    lengths = [len(own) for _, (own,) in tokens.of(found, lambda one: [one.text])]
    assert max(lengths) == 14
    # A row ends early only where the next sentence, or word, did not fit.
    assert np.mean(lengths) > 8


def test_tokens_of_several_texts_a_row():
    """As generation needs them, of each turn of a dialogue; in the order of the rows, whatever their length."""
    examples = [Example("so badly|ax|"), Example("x")]
    tokens = RowTokens(tokenizer(), Truncation(max_length=8))
    found = list(tokens.of(examples, lambda one: one.text.split("|")))
    assert [one for one, _ in found] == examples
    assert [[own.tolist() for own in texts] for _, texts in found] == [
        [[[0, 2, 1], [3, 6, 1], [6, 8, 0]], [[0, 2, 1]], []],
        [[[0, 1, 1]]],
    ]
    assert (tokens.room(), tokens.room(pair=True)) == (6, 5)


@pytest.mark.parametrize("ordered", [False, True])
def test_pairs_are_half_as_they_were(ordered):
    random = np.random.default_rng(1)
    letters = ["a", "b", "c", "d"]
    texts = [
        " ".join(f"{letters[doc % 4]} {'x ' * int(random.integers(1, 4))}." for _ in range(12))
        for doc in range(80)
    ]
    tokens = row_tokens(20)
    found = list(
        rows.cut_pairs([Example(text, group=str(n)) for n, text in enumerate(texts)], tokens, ordered=ordered)
    )
    labels = [row.label for row in found]
    one, two = (rows.ORDERED, rows.SWAPPED) if ordered else (rows.NEXT, rows.OTHER)
    assert labels.count(one) + labels.count(two) == len(found) > 100
    assert 0.35 < labels.count(two) / len(found) < 0.65
    sizes = [len(own[0]) + len(own[1]) for _, own in tokens.of(found, lambda row: [row.text, row.text_pair])]
    assert max(sizes) <= 17
    for row in found:
        text = texts[int(row.group)]
        first, second = row.text, row.text_pair
        assert first in text
        if row.label in (rows.ORDERED, rows.NEXT):
            assert f"{first} {second}" in text
        elif row.label == rows.SWAPPED:
            assert f"{second} {first}" in text
        else:
            assert sum(second in other for number, other in enumerate(texts) if str(number) != row.group)


def test_sentences_without_a_partner_are_counted():
    tokens = row_tokens(20)
    found = list(rows.cut_pairs([Example("a b c."), Example("a. b.")], tokens, ordered=True))
    assert [{row.text, row.text_pair} for row in found] == [{"a.", "b."}]
    assert tokens.left_out == {"of a single sentence": 4}


# The task.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("mlm"), *TASKS["masker"])


def test_logits_by_hand(run):
    """Of NumPy alone, from the encoder's states on: arXiv:1810.04805, section 3.1."""
    tokens = run.encode(["the [MASK] was [MASK] .", "a good [MASK]"])
    model = run.model()
    head = {name: v.astype(np.float64) for name, v in run.task.head_tensors(model.head).items()}
    states = model.encode({name: tokens[name] for name in ("input_ids", "token_type_ids", "attention_mask")})
    outputs = model({name: tokens[name] for name in ("input_ids", "token_type_ids", "attention_mask")})
    assert outputs["positions"].numpy()[:, :3].tolist() == [[2, 4, -1], [3, -1, -1]]
    x = states["sequence_output"].numpy()[[0, 0, 1], [2, 4, 3]].astype(np.float64)
    x = ACTIVATIONS["gelu_erf"](x @ head["mlm/dense/kernel"] + head["mlm/dense/bias"])
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * head["mlm/norm/scale"] + head["mlm/norm/bias"]
    logits = x @ model.encoder.tensors()["embeddings/word"].T.astype(np.float64) + head["mlm/bias"]
    got = outputs["logits"].numpy()[[0, 0, 1], [0, 1, 0]]
    np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-4)
    relation = states["pooled_output"].numpy() @ head["nsp/kernel"] + head["nsp/bias"]
    np.testing.assert_allclose(outputs["relation"], relation, rtol=1e-4, atol=1e-4)
    answers = run.predict(model, ["the [MASK] was [MASK] .", "a good [MASK]"])
    share = np.exp(logits - logits.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    best = np.argsort(-share, axis=-1)[:, :5]
    assert [token.decode() for token in answers["tokens"][0, 1]] == [run.vocabulary[i] for i in best[1]]
    np.testing.assert_allclose(answers["scores"][1, 0], share[2, best[2]], rtol=1e-4)


def test_the_loss_is_the_mean_over_masked_tokens(run):
    """Rows with many masked tokens weigh more; the relation's loss is weighted alike."""
    examples = list(run.examples("train"))
    tokens = run.encode([one.text for one in examples], [one.text_pair for one in examples])
    given = {**tokens, **run.task.targets(examples), **run.task.token_targets(examples, tokens)}
    batch = {name: tf.constant(array) for name, array in given.items()}
    batch = Augmentation(run.task, run.tokenizer).train(
        {**batch, WEIGHTS: tf.ones(len(examples))}, 0, tf.constant(0)
    )
    ids, positions = batch["masked_ids"].numpy(), batch["predicted_positions"].numpy()
    changed, original = batch["input_ids"].numpy(), tokens["input_ids"]
    assert (ids >= 0).sum() == (positions >= 0).sum() > len(examples)
    np.testing.assert_array_equal(original[np.nonzero(ids >= 0)[0], positions[ids >= 0]], ids[ids >= 0])
    moved = np.zeros_like(original, bool)
    moved[np.nonzero(ids >= 0)[0], positions[ids >= 0]] = True
    np.testing.assert_array_equal(changed[~moved], original[~moved])
    assert (changed[moved] == run.task.mask_id).mean() > 0.6
    outputs = run.model()(
        {
            name: batch[name]
            for name in ("input_ids", "token_type_ids", "attention_mask", "predicted_positions")
        }
    )
    assert outputs["logits"].shape[1] == ids.shape[1] < original.shape[1]
    logs = tf.nn.log_softmax(tf.cast(outputs["logits"], tf.float64)).numpy()
    relation = tf.nn.log_softmax(tf.cast(outputs["relation"], tf.float64)).numpy()
    terms = (ids >= 0).sum(1)
    want = (
        -np.where(ids >= 0, np.take_along_axis(logs, np.maximum(ids, 0)[..., None], 2)[..., 0], 0).sum(1)
        / terms
    )
    want -= relation[np.arange(len(ids)), given["relation"]]
    np.testing.assert_allclose(run.task.loss(outputs, batch), want, rtol=1e-4)
    np.testing.assert_array_equal(run.task.loss_terms(batch), terms)
    scored = run.task.scored_predictions(outputs, batch)
    arrays = {name: tensor.numpy() for name, tensor in scored.items()}
    weights = np.arange(1.0, len(ids) + 1)
    found = run.task.scorer.metrics(arrays, {}, weights)
    nll = -np.where(ids >= 0, np.take_along_axis(logs, np.maximum(ids, 0)[..., None], 2)[..., 0], 0)
    assert found["perplexity"] == pytest.approx(np.exp((nll.sum(1) @ weights) / (terms @ weights)), rel=1e-5)
    right = (logs.argmax(-1) == ids) & (ids >= 0)
    assert found["accuracy"] == pytest.approx(right.sum(1) @ weights / (terms @ weights))
    correct = relation.argmax(-1) == given["relation"]
    assert found["sentence_order_accuracy"] == pytest.approx(np.average(correct, weights=weights))
    low, high = run.task.scorer.intervals(arrays, {}, weights)["perplexity"]
    assert low < found["perplexity"] < high


def test_frequencies_of_tokens_as_a_baseline(run):
    ids = np.array([[7, 8, -1], [8, 2, -1]])
    counts = np.zeros(len(run.vocabulary), np.int64)
    counts[[2, 7, 8]] = 50, 3, 5
    predictions = {"masked_ids": ids, "masked": np.array([2, 2]), "relation": np.ones(2)}
    title, found = run.task.scorer.token_baseline(lambda: counts, predictions)
    ordinary = len(run.vocabulary) - len(tiny.SPECIAL)
    total = 3 + 5 + ordinary  # one more of each; [CLS] and its like are never masked
    assert title == "unigram frequencies"
    assert found["loss"][0] == pytest.approx(-np.log(4 / total) - np.log(6 / total))
    assert found["right"].tolist() == [1, 1]
    assert "relation" not in found


def test_heads_under_google_s_names(run, tmp_path):
    """google-research/bert, run_pretraining.py; the output weights are the embeddings, which are there once."""
    convert(run.path, tmp_path / "out", to="google")
    reader = tf.train.load_checkpoint(str(tmp_path / "out" / "bert_model.ckpt"))
    head = run.task.head_tensors(run.model().head)
    names = {
        "cls/predictions/transform/dense/kernel": "mlm/dense/kernel",
        "cls/predictions/transform/dense/bias": "mlm/dense/bias",
        "cls/predictions/transform/LayerNorm/gamma": "mlm/norm/scale",
        "cls/predictions/transform/LayerNorm/beta": "mlm/norm/bias",
        "cls/predictions/output_bias": "mlm/bias",
        "cls/seq_relationship/output_bias": "nsp/bias",
    }
    for theirs, ours in names.items():
        np.testing.assert_array_equal(reader.get_tensor(theirs), head[ours])
    theirs = reader.get_tensor("cls/seq_relationship/output_weights")
    np.testing.assert_array_equal(theirs, head["nsp/kernel"].T)
    assert {name for name in reader.get_variable_to_shape_map() if name.startswith("cls/")} == {
        *names,
        "cls/seq_relationship/output_weights",
    }


def test_training_continues_with_the_heads_of_a_run(run, tmp_path, capfd):
    again = random_run(tmp_path / "mlm", *TASKS["masker"], checkpoint=str(run.path))
    model, before = initial_model(again), run.model()
    for name, tensor in run.task.head_tensors(before.head).items():
        np.testing.assert_array_equal(again.task.head_tensors(model.head)[name], tensor, name)
    assert "the mlm head is the checkpoint's" in capfd.readouterr().err
    alone = random_run(tmp_path / "alone", *TASKS["masker"])
    fresh = alone.task.head_tensors(initial_model(alone).head)
    assert "the mlm head is new: the checkpoint has none" in capfd.readouterr().err
    assert np.abs(fresh["mlm/dense/kernel"]).max() < 0.05
    tagger = random_run(tmp_path / "tags", *TASKS["tagger"], checkpoint=str(run.path))
    encoder = initial_model(tagger).encoder.tensors()
    for name, tensor in before.encoder.tensors().items():
        np.testing.assert_array_equal(encoder[name], tensor, name)


def test_a_text_may_have_no_mask_or_more_than_are_filled(run):
    found = run.predict(run.model(), ["good", "", "[MASK] " * 11])
    assert found["count"].tolist() == [0, 0, 11]
    assert found["tokens"].shape == (3, 8, 5)
    assert (found["tokens"][:2] == b"").all()
    assert (found["starts"][:2] == -1).all()
    assert found["starts"][2].tolist() == [7 * n for n in range(8)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": {"mask_share": 0}}, "task.mask_share.*greater than 0"),
        ({"task": {"mask_share": 1}}, "task.mask_share.*less than 1"),
        ({"task": {"words": "jieba", "whole_words": False}}, "words is jieba, but whole_words is false"),
        ({"data": {"text_pair": "other"}}, "masked_lm reads one column of texts"),
        (
            {"text": {"long": "windows", "overlap": 2}},
            "long is windows, which the task masked_lm cannot read",
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path, changes, says):
    _, columns, cells = TASKS["masker"]
    settings = {"task": {"name": "masked_lm", **changes.get("task", {})}}
    more = {section: values for section, values in changes.items() if section != "task"}
    if "text" in more:
        more["text"]["max_length"] = 24
    with pytest.raises(UserError, match=says):
        random_run(tmp_path, settings["task"], columns, cells, **more)


def test_no_text_at_all(tmp_path):
    for cells, says in (
        ([[" "], [""]], "no training row has any text"),
        ([["\u0001"], ["[SEP] [CLS]"]], "texts of special tokens only"),
    ):
        with pytest.raises(UserError, match=says):
            random_run(tmp_path / says, {"name": "masked_lm"}, ["text"], cells * 4)
        assert not (tmp_path / says / "run").exists()


def test_one_document_has_no_other(tmp_path):
    cells = [["the food . good .", "g"]] * 4
    data = {"group": "document", "validation": None, "split": {"validation": 0.5, "by": "random"}}
    with pytest.raises(UserError, match="the training rows are one document; use sentence_order"):
        random_run(
            tmp_path,
            {"name": "masked_lm", "objective": "next_sentence"},
            ["text", "document"],
            cells,
            data=data,
        )


def test_a_vocabulary_without_mask():
    with pytest.raises(UserError, match=r"vocabulary has no \[MASK\] token, which masked_lm needs"):
        MaskedLM(MaskedLMOptions()).with_tokenizer(["[PAD]", "x"], TokenizerOptions(mask_token=None))


def test_a_checkpoint_without_pooler_has_no_sentence_order(tmp_path):
    tiny.write_checkpoint(tmp_path / "checkpoint", pooler=False)
    with pytest.raises(UserError, match=r"no pooler, which task\.objective needs"):
        random_run(tmp_path, *TASKS["masker"])


def test_the_run_keeps_where_its_rows_come_from(run):
    lines = [json.loads(line) for line in (run.path / "data" / "train.jsonl").read_text().splitlines()]
    assert {"text", "text_pair", "label", "file", "line"} <= set(lines[0])
    assert all(line["file"].endswith("rows.csv") for line in lines)
