"""Generation: sources, targets and dialogues, what is predicted of a row, and the loss by hand."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline import config
from tfpipeline.data import Example
from tfpipeline.data.options import DataOptions
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig
from tfpipeline.models.neutral import HEADS
from tfpipeline.models.row_noise import RowNoise
from tfpipeline.tasks import RowTokens
from tfpipeline.tasks.generation import Generation, GenerationOptions, prediction, rows
from tfpipeline.text import TokenizerOptions, Truncation, WordPieceTokenizer
from tfpipeline.text.template import Template
from tfpipeline.training.augmentation import Augmentation
from tfpipeline.training.global_batch import WEIGHTS
from tfpipeline.training.run_config import RunConfig

MASK, SEP = tiny.VOCABULARY.index("[MASK]"), tiny.VOCABULARY.index("[SEP]")


def options(**section):
    return GenerationOptions.model_validate(section)


def task(**section):
    return Generation(options(**section)).with_tokenizer(tiny.VOCABULARY, TokenizerOptions())


@functools.cache
def tokenizer():
    return WordPieceTokenizer(tiny.VOCABULARY)


# Rows of data files.


def read(folder, lines, section=None, name="rows.jsonl", **data):
    path = folder / name
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    names = {"text": "source", "label": "target", **data}
    return options(**(section or {})).read(DataOptions(train=str(path), **names), path)


def test_a_target_may_have_several_references(tmp_path):
    found = read(
        tmp_path,
        [
            {"document": "a film", "summary": " bad ", "second": "", "kept": 1},
            {"document": "a film", "summary": ["good", "", "fine"], "second": "so so", "kept": 2},
            {"document": "a film", "summary": "good", "second": ["fine", "great"], "kept": 3},
            {"document": "a film", "summary": '["good"]', "second": "", "kept": 4},
        ],
        {"references": ["second"]},
        text="document",
        label="summary",
    )
    assert [(row.text, row.text_pair, row.label) for row in found] == [
        ("a film", target, None) for target in ("bad", "good", "good", '["good"]')
    ]
    assert [row.columns["kept"] for row in found] == list("1234")
    references = task().targets(list(found))["references"].tolist()
    assert references == [("bad",), ("good", "fine", "so so"), ("good", "fine", "great"), ('["good"]',)]
    assert task().targets(list(found), training=True) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"source": " ", "target": "x"}, "rows.jsonl:2: the source is empty; complete the row or remove it"),
        ({"source": "x", "target": ""}, r'rows.jsonl:2: the target is empty \(column "target"\)'),
        ({"source": "x", "target": [" "]}, "rows.jsonl:2: the target is empty"),
        ({"source": ["x"], "target": "x"}, r'rows.jsonl:2: the source is \["x"\], a list or an object'),
        ({"source": "x", "target": {"a": 1}}, 'rows.jsonl:2: the column "target" holds .*; expected a text'),
        ({"source": "x"}, "rows.jsonl:2: .*target"),
    ],
)
def test_rows_that_cannot_be_learnt_are_named(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, [{"source": "a", "target": "b"}, line])


DIALOGUE = [
    {"speaker": "A", "text": "good ?"},
    {"speaker": "B", "text": "so bad"},
    {"speaker": "A", "text": "x"},
]


@pytest.mark.parametrize(
    ("turns", "speaker", "message"),
    [
        (["Hello"], None, "rows.jsonl:1: the dialogue has no reply: it has only one turn"),
        (DIALOGUE, "C", r'has no reply of "C" \(task.speaker\) behind another turn; its speakers are A, B'),
        (DIALOGUE[:2], "A", 'has no reply of "A"'),
        ("Hello", None, 'rows.jsonl:1: the column "talk" holds "Hello", not a list of turns'),
        (["Hello", ""], None, "turn 2 is empty"),
    ],
)
def test_dialogues_that_cannot_be_learnt_are_named(tmp_path, turns, speaker, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, [{"talk": turns}], {"speaker": speaker}, turns="talk")


def divided(found, most, **section):
    made = options(max_target_length=3, **section).fit(found)
    assert made.divides
    limits = Truncation(most + 3 + 3, "head_tail", tail=1.0, text_limits=(most, 3))
    return list(made.divide(found, RowTokens(tokenizer(), limits)))


def test_each_reply_of_a_dialogue_is_a_row(tmp_path):
    found = read(tmp_path, [{"talk": DIALOGUE, "id": "7"}, {"talk": ["a", "film"]}], turns="talk")
    assert rows.references_of(found[0]) == ()
    made = divided(found, 20)
    assert [(row.text, row.text_pair, row.line) for row in made] == [
        ("good ?", "so bad", 1),
        ("good ? [SEP] so bad", "x", 1),
        ("a", "film", 2),
    ]
    assert rows.references_of(made[1]) == ("x",)
    assert options().fit(made).fitted == {"dialogues": True}  # also when a run's own rows are read
    one = divided(found[:1], 20, speaker="B", turn_separator="|")
    assert [(row.text, row.text_pair) for row in one] == [("good ?", "so bad")]
    assert [row.text for row in divided(found[:1], 20, speaker="A", turn_separator="|")] == [
        "good ? | so bad"
    ]


def test_the_oldest_turns_are_left_out_first(tmp_path):
    """The tokenizer leaves out the rest, so that it is counted, and as a served model does."""
    turns = ["the food", "was good", "a film", "so so", "fine"]
    found = read(tmp_path, [{"talk": turns}], turns="talk")
    last = divided(found, 4)[-1]
    assert last.text == "was good [SEP] a film [SEP] so so"
    cut = Truncation(10, "head_tail", tail=1.0, text_limits=(4, 3))
    encoded = tokenizer()([last.text], [last.text_pair], truncation=cut, count=True)
    tokens = [tiny.VOCABULARY[token] for token in encoded["input_ids"][0]]
    assert tokens == ["[CLS]", "film", "[SEP]", "so", "so", "[SEP]", "fine", "[SEP]"]
    assert encoded["cut"].numpy().tolist() == [4]
    whole = tokenizer()([" [SEP] ".join(turns[:4])], truncation=cut)["input_ids"][0]
    assert whole.numpy().tolist() == encoded["input_ids"][0][:6].numpy().tolist()


# The run file.


def load(folder, **sections):
    for name in ("checkpoint", "rows.csv"):
        (folder / name).touch()
    settings = {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        **sections,
        "data": {"train": str(folder / "rows.csv"), **sections.get("data", {})},
        "task": {"name": "generation", **sections.get("task", {})},
    }
    (folder / "run.yaml").write_text(json.dumps(settings, indent=0))
    return config.load(folder / "run.yaml", RunConfig)


def test_the_source_gets_what_the_target_leaves(tmp_path):
    def limits(**sections):
        loaded = load(tmp_path, **sections)
        return loaded.task.truncation(loaded.text.truncation, loaded.data)

    found = limits()
    assert (found.max_length, found.text_limits, found.long) == (128, (61, 64), "head")
    given = limits(
        text={"long": "head_tail", "tail": 0.5}, task={"max_source_length": 20, "max_target_length": 9}
    )
    assert (given.max_length, given.text_limits, given.tail_share) == (32, (20, 9), 0.5)
    dialogue = limits(data={"turns": "talk"})
    assert (dialogue.tail_share, load(tmp_path, data={"turns": "talk"}).columns["text"]) == (1.0, "talk")
    assert load(tmp_path, task={"turn_separator": "|"}).columns == {"text": "source", "separator": " | "}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"text": {"max_length": 60}, "task": {"max_source_length": 30, "max_target_length": 28}},
            "max_length is 60, but task.max_source_length, 30, task.max_target_length, 28, and 3 special tokens "
            "take 61; raise text.max_length, or lower the others",
        ),
        (
            {"text": {"max_length": 60}},
            "max_length is 60, but a source of at least 1, task.max_target_length, 64",
        ),
        ({"text": {"long": "windows"}}, "long is windows, which the task generation cannot read"),
        ({"data": {"text_pair": "target"}}, "data.text_pair is target, but generation reads sources"),
        ({"data": {"label": None}}, "data.label is null, but generation learns from targets"),
        ({"task": {"speaker": "A"}}, "task.speaker is for dialogues"),
        (
            {"data": {"turns": "t"}, "task": {"references": ["x"]}},
            "task.references is for sources with targets",
        ),
        (
            {"data": {"turns": "t"}, "task": {"name": "classification"}},
            "the task classification reads no dialogues",
        ),
        ({"task": {"objective": "causal", "mask_share": 0.5}}, "mask_share is for the objective masked"),
        ({"task": {"decoding": {"max_new_tokens": 0}}}, "task.decoding.max_new_tokens"),
        ({"task": {"decoding": {"max_new_tokens": 65}}}, "max_new_tokens is 65, but max_target_length is 64"),
        ({"task": {"decoding": {"temperature": 0}}}, "task.decoding.temperature"),
        ({"task": {"decoding": {"num_beams": 0}}}, "task.decoding.num_beams"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_sections_that_do_not_fit_are_refused(tmp_path, sections, message):
    with pytest.raises(UserError) as caught:
        load(tmp_path, **sections)
    assert message in str(caught.value)
    assert "run.yaml:" in str(caught.value)


def test_tokenizers_and_encoders_that_cannot_be_used_are_refused():
    without = [token for token in tiny.VOCABULARY if token != "[MASK]"]
    no_mask = TokenizerOptions(mask_token=None)
    with pytest.raises(
        UserError, match=r"has no .MASK. token, which task.objective masked needs; set it to causal"
    ):
        Generation(options()).with_tokenizer(without, no_mask)
    assert Generation(options(objective="causal")).with_tokenizer(without, no_mask).mask_id is None
    other = TokenizerOptions(template=Template(between=("sep_token", "sep_token")))
    with pytest.raises(UserError, match="generation needs rows like BERT's"):
        Generation(options()).with_tokenizer(tiny.VOCABULARY, other)

    with pytest.raises(UserError, match="num_beams is 40, but the vocabulary has only"):
        task(decoding={"num_beams": 40})

    class NoCacheConfig(BertConfig):
        generates = False

    with pytest.raises(
        UserError, match="test_generation cannot write texts: its encoder has no key-value cache"
    ):
        task().check_encoder(NoCacheConfig(**SIZES))
    task().check_encoder(BertConfig(**SIZES))


SIZES = {
    "vocab_size": 50,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 4,
    "max_position_embeddings": 30,
    "type_vocab_size": 2,
    "hidden_act": "relu",
    "layer_norm_eps": 1e-6,
}


# What is predicted of a row.


def batch(sources, targets, width=None):
    encoded = tokenizer()(sources, targets, truncation=Truncation(24, text_limits=(14, 7)))
    arrays = {name: tensor.numpy() for name, tensor in encoded.items()}
    if width is not None:
        pad = width - arrays["input_ids"].shape[1]
        arrays = {name: np.pad(array, [(0, 0), (0, pad)]) for name, array in arrays.items()}
    return {**arrays, WEIGHTS: np.ones(len(sources), np.float32)}


def augmented(made, arrays, step=0):
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    change = Augmentation(made, tokenizer()).train
    if len(arrays["input_ids"]) > 10:  # many rows are drawn for one by one
        change = tf.function(change, autograph=False)
    return {name: tensor.numpy() for name, tensor in change(tensors, 5, tf.constant(step)).items()}


def words(ids):
    return " ".join(tiny.VOCABULARY[token] for token in ids)


def test_each_token_predicts_the_next_one_of_the_target():
    rows = batch(["the food", "a"], ["so good", ""])
    found = augmented(task(objective="causal", max_target_length=7), rows)
    assert words(found["input_ids"][0]) == "[CLS] the food [SEP] so good [SEP]"
    np.testing.assert_array_equal(found["input_ids"], rows["input_ids"])
    assert found["causal_mask"].tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0]]
    assert found["predicted_positions"][:, :3].tolist() == [[3, 4, 5], [2, -1, -1]]
    assert words(found["predicted_ids"][0, :3]) == "so good [SEP]"
    assert found["predicted_ids"][1, 0] == SEP
    assert (found["predicted_positions"][:, 3:] == -1).all()


def test_masked_tokens_are_of_the_target_and_as_many_as_asked():
    sources = ["the food was very good"] * 400
    targets = ["so good and fine"] * 200 + ["x"] * 200
    rows = batch(sources, targets)
    found = augmented(task(mask_share=0.5, max_target_length=7), rows)
    there = found["predicted_positions"] >= 0
    # Half of 4 words and [SEP], 2.5, and of one word and [SEP]; ties are rounded to even.
    assert there.sum(1).tolist() == [2] * 200 + [1] * 200
    is_target = (rows["token_type_ids"] == 1) & (rows["attention_mask"] == 1)
    changed = found["input_ids"] != rows["input_ids"]
    assert not changed[~is_target].any()
    row, place = np.nonzero(there)
    at = found["predicted_positions"][row, place]
    assert is_target[row, at].all()
    np.testing.assert_array_equal(found["predicted_ids"][row, place], rows["input_ids"][row, at])
    kept = found["input_ids"][row, at] == rows["input_ids"][row, at]
    masked = found["input_ids"][row, at] == MASK
    assert masked.mean() == pytest.approx(0.8, abs=0.06)
    assert kept.mean() == pytest.approx(0.1, abs=0.05)
    assert changed.sum() == (~kept).sum()
    counts = np.bincount(at[row < 200], minlength=12)[7:12]  # each of the 5 tokens alike
    np.testing.assert_allclose(counts / counts.sum(), 0.2, atol=0.05)
    assert (augmented(task(mask_share=1), rows)["predicted_positions"] >= 0).sum() == 200 * (5 + 2)


def test_what_is_masked_depends_on_the_step_and_the_row_alone():
    made = task(max_target_length=7)
    rows = batch(["the food", "a film", "so"], ["so good and", "bad", "the very x y"])
    found, wide = (
        augmented(made, rows),
        augmented(made, batch(["the food", "a film", "so"], ["so good and", "bad", "the very x y"], 20)),
    )
    for name in ("predicted_positions", "predicted_ids"):
        width = found[name].shape[1]
        np.testing.assert_array_equal(wide[name][:, :width], found[name])
        assert (wide[name][:, width:] == -1).all()
    again = augmented(made, rows)
    other = augmented(made, rows, step=1)
    assert (again["input_ids"] == found["input_ids"]).all()
    assert (other["predicted_positions"] != found["predicted_positions"]).any()

    ids, target = tf.constant(rows["input_ids"]), tf.constant(rows["token_type_ids"] == 1)
    target = tf.logical_and(target, tf.constant(rows["attention_mask"] == 1))
    chosen = [
        prediction.masked(
            ids[row : row + 1],
            target[row : row + 1],
            8,
            share=0.7,
            mask_id=MASK,
            candidates=list(range(5, 29)),
            noise=RowNoise(5, 0, tf.constant([row], tf.int64)),
        )
        for row in range(3)
    ]
    for row, (of_row, positions, _) in enumerate(chosen):
        np.testing.assert_array_equal(of_row[0], found["input_ids"][row])
        np.testing.assert_array_equal(positions[0], found["predicted_positions"][row])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_by_hand(smoothing):
    """The mean over the predicted tokens of (1 - s) * -log p(token) + s * the mean of -log p of all tokens."""
    made = task(objective="causal", label_smoothing=smoothing)
    logits = np.random.default_rng(0).normal(size=(2, 3, len(tiny.VOCABULARY)))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ids, positions = np.array([[5, 6, 3], [7, 0, 0]]), np.array([[3, 4, 5], [2, -1, -1]])
    of_ids = np.take_along_axis(log_p, ids[..., None], -1)[..., 0]
    there = positions >= 0
    outputs = {
        "log_probabilities": tf.constant(np.where(there, of_ids, 0)),
        "mean_log_probabilities": tf.constant(np.where(there, log_p.mean(-1), 0)),
    }
    targets = {"predicted_positions": tf.constant(positions, tf.int32)}
    each = -(1 - smoothing) * of_ids - smoothing * log_p.mean(-1)
    want = [each[0].mean(), each[1, 0]]
    np.testing.assert_allclose(made.loss(outputs, targets), want, rtol=1e-12)
    assert made.loss_terms(targets).numpy().tolist() == [3, 1]
    plain = [-of_ids[0].mean(), -of_ids[1, 0]]
    np.testing.assert_allclose(made.likelihood_losses(outputs, targets), plain, rtol=1e-12)
    scored = {name: value.numpy() for name, value in made.scored_predictions(outputs, targets).items()}
    np.testing.assert_allclose(scored["loss"], [-of_ids[0].sum(), -of_ids[1, 0]], rtol=1e-6)
    assert scored["tokens"].tolist() == [3, 1]
    assert scored["text"].tolist() == [b"", b""]
    assert scored["decoded"].tolist() == [False, False]


def test_the_head_is_that_of_checkpoints_for_masked_tokens():
    made = task(max_target_length=9)
    head = made.head(BertConfig(**SIZES), seed=0)
    assert (head.tokens, head.vocabulary_size, head.mask_id, head.further_positions) == (29, 50, MASK, 9)
    head.build({"sequence_output": (None, None, 4)})
    shapes = {name: tuple(variable.shape) for name, variable in made.head_variables(head).items()}
    sizes = {"H": 4, "K": 4, "V": 50}
    assert shapes == {
        name: tuple(sizes[axis] for axis in axes.split()) for name, axes in HEADS["mlm"].items()
    }
    assert made.checkpoint_head(head).tensors.keys() == HEADS["mlm"].keys()


def test_a_row_of_another_task_has_no_references():
    assert rows.references_of(Example("x")) == ()
