"""Special tokens are data: another template than BERT's, by hand and against plain Python."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline.data import Example, TokenCache
from tfpipeline.errors import UserError
from tfpipeline.models.windows import Windows
from tfpipeline.text import Template, TokenizerOptions, Truncation, build_tokenizer
from tfpipeline.text.template import BERT

# As RoBERTa has them: <s> A </s></s> B </s>; then none behind, none in front, and two in front.
ROBERTA = Template(between=("sep_token", "sep_token"))
OPEN = Template(between=("sep_token", "mask_token"), after=())
BARE = Template((), (), ())
DOUBLE = Template(("cls_token", "mask_token"), (), ("sep_token", "sep_token", "cls_token"))
TEMPLATES = [BERT, ROBERTA, OPEN, BARE, DOUBLE]
LONG = "the a is was food film very so and good"  # 10 tokens


@functools.cache
def build(template):
    return build_tokenizer(tiny.VOCABULARY, TokenizerOptions(template=template))


def tokens_of(encoded, row=0):
    real = np.asarray(encoded["attention_mask"])[row] > 0
    return " ".join(tiny.VOCABULARY[token] for token in np.asarray(encoded["input_ids"])[row][real])


def names(roles):
    return [getattr(TokenizerOptions(), role) for role in roles]


def test_rows_by_hand():
    def rows(template, *texts, **options):
        encoded = build(template)(
            *([text] for text in texts), truncation=Truncation(**options), offsets=True, count=True
        )
        types = encoded["token_type_ids"].numpy()[0][encoded["attention_mask"].numpy()[0] > 0]
        return tokens_of(encoded), "".join(map(str, types)), int(encoded["cut"][0])

    pair = ("good film", "bad food")
    assert rows(ROBERTA, *pair) == ("[CLS] good film [SEP] [SEP] bad food [SEP]", "00000111", 0)
    assert rows(ROBERTA, "good film") == ("[CLS] good film [SEP]", "0000", 0)
    assert rows(OPEN, *pair) == ("[CLS] good film [SEP] [MASK] bad food", "0000011", 0)
    assert rows(OPEN, "good film") == ("[CLS] good film", "000", 0)
    assert rows(BARE, *pair) == ("good film bad food", "0011", 0)
    assert rows(DOUBLE, *pair) == ("[CLS] [MASK] good film bad food [SEP] [SEP] [CLS]", "000011111", 0)
    # Room for 4 and 3 tokens of texts; the odd place goes to the second of equals.
    assert rows(ROBERTA, LONG, LONG, max_length=8) == ("[CLS] the a [SEP] [SEP] the a [SEP]", "00000111", 16)
    assert rows(OPEN, LONG, LONG, max_length=8) == ("[CLS] the a [SEP] [MASK] the a is", "00000111", 15)
    tail = {"max_length": 8, "long": "head_tail", "tail": 0.5}
    assert rows(ROBERTA, LONG, "bad", **tail)[0] == "[CLS] the and good [SEP] [SEP] bad [SEP]"
    assert rows(OPEN, LONG, **tail)[0] == "[CLS] the a is very so and good"  # 4 of 7: 3.5 is rounded to even


def test_no_room_for_the_special_tokens():
    with pytest.raises(ValueError, match=r"max_length is 3; \[CLS\] and \[SEP\] alone take 4"):
        build(ROBERTA)(["a"], ["b"], max_length=3)
    assert build(ROBERTA)(["a"], ["b"], max_length=4)["input_ids"].shape == (1, 4)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("pair", [False, True])
def test_windows_follow_the_template(template, pair):
    """Each window is the prefix, a part of the last text and the end, and tokens go back to where they
    were.
    """
    tokenizer = build(template)
    cut = Truncation(12, "windows", overlap=1, max_windows=3, max_first_text=3, template=template)
    seconds = ["is was " * 20, "film " * 5, "the so", ""]
    firsts = ["good bad very", "food", "a", "very very"]
    texts = (firsts, seconds) if pair else (seconds,)
    encoded = tokenizer(*texts, truncation=cut)
    arrays = {name: encoded[name].numpy() for name in encoded}
    first = 3 if pair else 0  # tokens of the first text in the longest row
    assert arrays["attention_mask"].sum(1).max() == cut.holds(template.in_front(pair) + first, 3)
    assert cut.longest(pair) == cut.holds(template.in_front(pair), 3)
    before, *behind = (names(group) for group in template.groups(pair))

    windows = Windows(cut, pair)
    assert Windows.from_config(json.loads(json.dumps(windows.get_config()))) == windows
    parts, found, _ = windows.split(arrays, None)
    count = len(parts["input_ids"]) // len(seconds)
    for row, words in enumerate(texts[-1]):
        kept = tokens_of(encoded, row).split()
        front = before + (firsts[row].split() + behind[0] if pair else [])
        end = behind[-1]
        read = words.split()[: len(kept) - len(front) - len(end)]
        assert kept == front + read + end
        room = 12 - len(front) - len(end)
        starts = [0]
        while starts[-1] + room < len(read):
            starts.append(min(starts[-1] + room - 1, len(read) - room))
        want = [front + read[start : start + room] + end for start in starts]
        own = [tokens_of(parts, row * count + window) for window in range(len(want))]
        assert own == [" ".join(window) for window in want]
        assert found.real[row].numpy().tolist() == [window < len(want) for window in range(count)]
    # A window's output is its ids: put together, they are the row's again.
    ids = tf.cast(parts["input_ids"], tf.float32)[..., tf.newaxis]
    merged = windows.merge({"tokens": ids}, found, arrays["input_ids"].shape[1], {"tokens": "tokens"})
    real = arrays["attention_mask"] > 0
    np.testing.assert_array_equal(merged["tokens"].numpy()[..., 0][real], arrays["input_ids"][real])


@pytest.mark.parametrize("template", TEMPLATES)
def test_offsets_stay_with_their_tokens(template):
    first, second = "A badly good,film", "so  bad"
    encoded = build(template)([first], [second], offsets=True)
    plain = build(BERT)([first], [second], offsets=True)
    for name in ("offsets", "word_starts", "token_type_ids", "input_ids"):
        # What stands in texts is the same whatever stands around them.
        own = [
            np.asarray(one[name])[0][np.asarray(one["offsets"])[0, :, 1] > 0].tolist()
            for one in (encoded, plain)
        ]
        assert own[0] == own[1]
    special = np.asarray(encoded["offsets"])[0, :, 1] == 0
    assert special.sum() == template.count(pair=True)
    assert not np.asarray(encoded["word_starts"])[0][special].any()


def test_the_token_cache_counts_the_texts_own_tokens(tmp_path):
    tokenizer = build(DOUBLE)
    rows = [Example("good film", text_pair="bad"), Example("so", text_pair="very food qqq")]

    def encode(texts, max_length):
        encoded = tokenizer(texts["text"], texts["text_pair"], max_length, count=True)
        return {name: tensor.numpy() for name, tensor in encoded.items()}

    cache = TokenCache.build(
        tmp_path / "cache",
        rows,
        encode=encode,
        max_length=16,
        fingerprint="x",
        special=DOUBLE.count(pair=True),
    )
    assert (cache.text_tokens, cache.unknown) == (3 + 4, 1)
    assert cache.lengths.tolist() == [3 + 5, 4 + 5]
    assert tokens_of(cache.batch(np.array([1]))) == "[CLS] [MASK] so very food [UNK] [SEP] [SEP] [CLS]"


def test_options_keep_the_template():
    options = TokenizerOptions(template=DOUBLE)
    values = json.loads(json.dumps(options.to_dict()))
    assert TokenizerOptions.from_dict(values) == options
    assert "special_tokens_template" not in TokenizerOptions().to_dict()
    assert TokenizerOptions.from_dict(TokenizerOptions().to_dict()).template == BERT


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (["cls_token"], r"template is \['cls_token'\]; it must be a mapping of after, before, between"),
        ({"before": [], "after": []}, "it must be a mapping of after, before, between"),
        (
            {"before": ["bos"], "between": [], "after": []},
            r"template: before is \['bos'\]; it must be a list of roles, such as cls_token, sep_token",
        ),
        ({"before": [], "between": "sep_token", "after": []}, "between is 'sep_token'"),
    ],
)
def test_a_template_that_is_none_is_refused(template, said):
    with pytest.raises(UserError, match="^tokenizer_config.json: .*" + said):
        TokenizerOptions.from_dict({"special_tokens_template": template})
