"""Options read and written as Hugging Face does, and checked without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.text.conftest import OPTIONS, SPECIAL, reference_tokenizer
from tfpipeline.errors import UserError
from tfpipeline.text import AddedToken, TokenizerOptions, infer_lowercase


def test_options_need_no_framework():
    code = (
        "import sys; from tfpipeline.text import TokenizerOptions, load_vocabulary, infer_lowercase; "
        "TokenizerOptions();"
        "print([m for m in ('tensorflow', 'keras', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


CUSTOM = TokenizerOptions(special_tokens=("<user>", "<url>"), mask_token="<mask>", unk_token="<unk>")


@pytest.mark.parametrize("options", [*OPTIONS.values(), CUSTOM, TokenizerOptions(mask_token=None)])
def test_options_survive_a_round_trip(options):
    assert TokenizerOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


@pytest.mark.parametrize("options", [*OPTIONS.values(), CUSTOM])
def test_reads_what_transformers_saves(tmp_path, options):
    vocabulary = [*SPECIAL, "a", "<user>", "<url>", "<mask>", "<unk>"]
    reference_tokenizer(vocabulary, options).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert TokenizerOptions.from_dict(config) == options


@pytest.mark.parametrize("options", [*OPTIONS.values(), CUSTOM])
def test_transformers_reads_what_we_write(tmp_path, options):
    from transformers import BertTokenizerFast

    vocabulary = [*SPECIAL, "a", "##B", "b", "<user>", "<url>", "<mask>", "<unk>", "é", "中国", "中"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options.to_dict()), "utf-8")
    theirs = BertTokenizerFast.from_pretrained(tmp_path)
    want = reference_tokenizer(vocabulary, options)
    for text in ["a <user>B É 中国", "aB[MASK]<mask>b", "b\u0301<url>"]:
        assert theirs(text)["input_ids"] == want(text)["input_ids"]


def test_tokens_of_older_files():
    options = TokenizerOptions.from_dict(
        {
            "do_lower_case": False,
            "mask_token": {"content": "<mask>", "lstrip": False},
            "additional_special_tokens": ["<a>", {"content": "<b>"}],
            "added_tokens_decoder": {
                "0": {"content": "[PAD]", "special": True, "normalized": False},
                "9": {"content": "<c>", "special": True, "normalized": False},
            },
            "model_max_length": 512,
        }
    )
    assert options == TokenizerOptions(
        lowercase=False, mask_token="<mask>", special_tokens=("<a>", "<b>", "<c>")
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"do_lower_case": "yes"}, "lowercase is 'yes'; it must be true or false"),
        ({"strip_accents": 1}, "strip_accents is 1; it must be true, false or null"),
        ({"unk_token": 3}, "unk_token is 3"),
        ({"cls_token": ""}, "cls_token is ''"),
        ({"extra_special_tokens": "<a>"}, "extra_special_tokens is '<a>'; it must be a list"),
        ({"extra_special_tokens": [None]}, "special_tokens is None"),
        (
            {"added_tokens_decoder": {"9": {"content": "new", "normalized": 1}}},
            'added token "new": normalized is 1; it must be true or false',
        ),
        ({"added_tokens_decoder": {"9": {"content": ""}}}, "an added token is empty"),
        ({"added_tokens_decoder": {"9": "x"}}, "an added token is 'x'; each must be a mapping with content"),
        (
            {"outside_vocabulary": ["x"]},
            "outside_vocabulary names 'x', which is not an added token; take it out",
        ),
        ({"outside_vocabulary": {"x": 1}}, "outside_vocabulary is {'x': 1}; it must be a list of tokens"),
        ({"added_tokens_decoder": ["x"]}, "added_tokens_decoder is ['x']; it must be a mapping"),
    ],
)
def test_options_of_the_wrong_type(config, message):
    with pytest.raises(UserError, match=r"^t\.json: ") as error:
        TokenizerOptions.from_dict(config, source="t.json")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_added_tokens_keep_their_options():
    """Where options are left out they are those of transformers' AddedToken."""
    config = {
        "mask_token": {"content": "<m>", "lstrip": True, "normalized": True},
        "eos_token": "<end>",
        "url_token": {"content": "<url>", "lstrip": False, "normalized": False},
        "add_bos_token": True,
        "added_tokens_decoder": {
            "7": {"content": "word"},
            "8": {"content": "<url>", "single_word": True, "special": True},
        },
    }
    options = TokenizerOptions.from_dict(config)
    assert options.mask_token == "<m>"
    assert options.special_tokens == ("<end>", "<url>")
    assert options.added_tokens == (
        AddedToken("<url>", single_word=True),
        AddedToken("<m>", lstrip=True, normalized=True),
        AddedToken("word", normalized=True, special=False),
    )
    vocabulary = ["word", "<m>", "<url>", "<end>"]
    assert TokenizerOptions.from_dict(options.to_dict(vocabulary)) == options


def test_the_unknown_token_is_of_the_vocabulary():
    """Without it transformers' WordPiece vocabulary does not work."""
    options = TokenizerOptions.from_dict({"outside_vocabulary": ["[UNK]", "[MASK]"]})
    assert options.added_tokens == (AddedToken("[MASK]", in_vocabulary=False),)


def test_special_tokens_must_be_a_list():
    with pytest.raises(UserError, match="special_tokens is 'abc'"):
        TokenizerOptions(special_tokens="abc")


@pytest.mark.parametrize(
    ("vocabulary", "lowercase"),
    [
        ([*SPECIAL, "the", "##ing", "é", "中"], True),
        ([*SPECIAL, "the", "The", "##ING", "Paris"], False),
        ([*SPECIAL, "[unused1]", "<S>", "a", "A"], True),
    ],
)
def test_case_of_a_vocabulary(vocabulary, lowercase):
    assert infer_lowercase(vocabulary) is lowercase


def test_case_of_a_real_vocabulary(english):
    assert infer_lowercase(english) is True
    assert infer_lowercase([token.capitalize() for token in english]) is False
